// The sampling chain of exsa_lab/speculation/sampling.py on a condensed position (exsa_lab/trace/condensed.py): tokens
// with their logits, and bins of all others. Knows nothing of the page.

/** Everything that can be drawn, the most probable first: tokens one by one, the others bin by bin. */
function entriesOf(ids, logits, rest) {
  const entries = [];
  for (const [i, id] of ids.entries()) {
    if (logits[i] !== null) entries.push({ id, count: 1, logit: logits[i], variance: 0 });
  }
  for (const [count, logit, variance] of rest) entries.push({ id: null, count, logit, variance });
  return entries.sort((a, b) => b.logit - a.logit || (a.id ?? Infinity) - (b.id ?? Infinity));
}

/** Weights at a temperature, the best token's being 1. A bin weighs as its mean does, corrected for its spread. */
function weigh(entries, temperature, peak = entries[0].logit) {
  return entries.map((entry) => {
    const spread = 1 + entry.variance / (2 * temperature ** 2);
    return { ...entry, weight: entry.count * Math.exp((entry.logit - peak) / temperature) * spread };
  });
}

/** The most probable `share` of a bin's tokens, which lie evenly between its ends. */
function headOf(bin, share) {
  const width = Math.sqrt(12 * bin.variance);
  const logit = bin.logit + ((1 - share) * width) / 2;
  return { ...bin, logit, count: Math.max(1, Math.round(bin.count * share)), variance: bin.variance * share ** 2 };
}

/** The first `count` tokens. */
function keepFirst(entries, count) {
  const kept = [];
  for (let [i, left] = [0, count]; i < entries.length && left > 0; i++) {
    kept.push(entries[i].count <= left ? entries[i] : headOf(entries[i], left / entries[i].count));
    left -= entries[i].count;
  }
  return kept;
}

/** The smallest head whose share is at least `share`. */
function keepShare(entries, share) {
  let left = share * entries.reduce((sum, { weight }) => sum + weight, 0);
  const kept = [];
  for (const entry of entries) {
    const isPart = entry.id === null && entry.weight > left;
    kept.push(isPart ? { ...headOf(entry, left / entry.weight), weight: left } : entry);
    left -= entry.weight;
    if (left <= 0) break;
  }
  return kept;
}

/** Those of at least `min_p` times the best token's probability. */
function keepAbove(entries, min_p, temperature, peak) {
  const logit = peak + temperature * Math.log(min_p) - 1e-9;
  const kept = [];
  for (const entry of entries) {
    const half = Math.sqrt(3 * entry.variance);
    if (entry.logit - half >= logit) kept.push(entry);
    else if (entry.logit + half > logit) {
      const head = headOf(entry, (entry.logit + half - logit) / (2 * half));
      kept.push(...weigh([head], temperature, peak));
    }
  }
  return kept;
}

/** What remains, normalised: `probs` by token, the probability of all other tokens together, how many tokens. */
function normalised(entries) {
  const total = entries.reduce((sum, { weight }) => sum + weight, 0);
  const probs = new Map();
  let [rest, count] = [0, 0];
  for (const entry of entries) {
    count += entry.count;
    if (entry.id === null) rest += entry.weight / total;
    else probs.set(entry.id, entry.weight / total);
  }
  return { probs, rest, count };
}

/** Temperature, top-k (0: off), top-p (1: off), min-p (0: off), in this order. */
export function applyChain(ids, logits, rest, { temperature, top_k, top_p, min_p }) {
  const entries = entriesOf(ids, logits, rest);
  if (temperature === 0 || top_k === 1) return normalised([{ ...entries[0], weight: 1 }]);
  const peak = entries[0].logit;
  let kept = weigh(top_k > 0 ? keepFirst(entries, top_k) : entries, temperature, peak);
  // As in Python, top-p counts on what top-k left; of two heads the shorter one is the result.
  if (top_p < 1) kept = keepShare(kept, top_p);
  if (min_p > 0) kept = keepAbove(kept, min_p, temperature, peak);
  return normalised(kept);
}

const OWN = { temperature: 1, top_k: 0, top_p: 1, min_p: 0 };

/** All that is shown of a position: both models before the chain, both after it, and how much they have in common. */
export function readPlace(place, params) {
  const p = applyChain(place.ids, place.target, place.target_rest, params);
  const own = applyChain(place.ids, place.target, place.target_rest, OWN);
  if (!place.draft) return { p, own, q: null, common: null };
  const q = applyChain(place.ids, place.draft, place.draft_rest, params);
  let low = 0;
  for (const [id, share] of q.probs) low += Math.min(share, p.probs.get(id) ?? 0);
  // What the others have in common is not known: anything up to the smaller of their shares.
  return { p, own, q, common: { low, high: Math.min(1, low + Math.min(p.rest, q.rest)) } };
}

/** The rows to show: the tokens that matter most by any of the three, those in `always` among them. */
export function rowsOf(place, read, most, always = []) {
  const rows = place.ids.map((id, i) => ({
    id,
    label: place.labels[i],
    own: read.own.probs.get(id) ?? 0,
    p: read.p.probs.get(id) ?? 0,
    q: read.q ? (read.q.probs.get(id) ?? 0) : null,
  }));
  const weightOf = ({ id, own, p, q }) => Math.max(own, p, q ?? 0) + (always.includes(id) ? 2 : 0);
  rows.sort((a, b) => weightOf(b) - weightOf(a) || a.id - b.id);
  const shown = rows.slice(0, most).sort((a, b) => b.own - a.own || a.id - b.id);
  return shown.map((row) => ({ ...row, isCut: row.p === 0 && row.own > 0 }));
}
