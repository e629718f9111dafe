// What shared one step of the engine, and what the slots of the KV cache held at its end, as it was recorded. Knows nothing
// of the page; rows are those of timeline_rows.py.

import { count, firstAfter, seconds } from "./timeline_store.js";

const SAME = 2e-4; // times are rounded to 0.1 ms
const USES = 9; // what the slots held, in a step's row

/** Index of the step at `t`, the nearest one where none is there; -1 without steps. */
export function stepIndexAt(store, t) {
  const after = firstAfter(store.steps, 2, t);
  const [before, next] = [store.steps[after - 1], store.steps[after]];
  if (!next) return after - 1;
  return before && next[1] > t && t - before[2] < next[1] - t ? after - 1 : after;
}

/** Whether a lane's row belongs to a step: it ended in it, or, being several rounds in one, it covers its middle. */
function isIn([, , from, to], [, t0, t1]) {
  const middle = (t0 + t1) / 2;
  return (to > t0 + SAME && to <= t1 + SAME) || (from <= middle && middle < to && to > t1);
}

function rowsIn(rows, step) {
  const first = firstAfter(rows, 3, step[1]);
  const found = [];
  for (let i = first; i < rows.length && rows[i][2] <= step[2] + SAME; i++)
    if (isIn(rows[i], step)) found.push(rows[i]);
  return found;
}

const sum = (rows, column) => rows.reduce((total, row) => total + row[column], 0);

/** What each sequence computed in a step: tokens of its prompt, its own last tokens, draft tokens and how many held. */
export function membersOf(store, step) {
  const members = [];
  for (const lane of store.lanes.values()) {
    const prompt = sum(
      rowsIn(
        lane.prefills.filter((row) => !row[5]),
        step,
      ),
      4,
    );
    const rounds = rowsIn(lane.rounds, step);
    if (!prompt && !rounds.length) continue;
    // The first round is that of the prompt's last chunk: no token of its own is computed for it.
    const isFirst = rounds[0] && rounds[0] === lane.rounds[0];
    const own = Math.max(0, sum(rounds, 4) - (isFirst ? 1 : 0));
    const [drafted, accepted] = [sum(rounds, 5), sum(rounds, 6)];
    members.push({ lane, prompt, own, drafted, accepted, committed: sum(rounds, 7) });
  }
  return members;
}

/** What each slot held at the end of a step. A beginning that several slots share is counted in one of them: `shared` says
 *  how many cells of a slot are those of the slot `sameAs`. Without a lane they are kept of a request that is over. */
export function slotsOf(store, step) {
  return (step[USES] ?? []).map(([slot, id, cells, shared, sameAs]) => {
    const lane = store.lanes.get(id) ?? null;
    const prompt = lane ? Math.max(0, Math.min(cells, lane.prompt) - shared) : 0;
    return { slot, id, lane, cells, shared, sameAs, prompt, text: cells - shared - prompt };
  });
}

const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

export function describeMember({ prompt, own, drafted, accepted, committed }) {
  const parts = [];
  if (prompt) parts.push(plural(prompt, "prompt token"));
  if (own) parts.push(`${plural(own, "token")} of its own`);
  if (drafted) parts.push(`${plural(drafted, "draft token")}, ${accepted} accepted`);
  if (committed) parts.push(`${committed} new in the text`);
  return parts.join(", ");
}

export function describeSlot({ cells, shared, sameAs }) {
  return `${plural(cells, "cell")}${shared ? `, the first ${count(shared)} are those of slot ${sameAs}` : ""}`;
}

/** A step in one line. */
export function describeStep(store, index) {
  const [, t0, t1, steps, slots, cells, prefill, draft, decode] = store.steps[index];
  const which = steps > 1 ? `${steps} short steps` : "step";
  const tokens = `${plural(prefill + draft + decode, "token")} (${prefill} prompt, ${decode} own, ${draft} draft)`;
  return `${which} ${index + 1} of ${store.steps.length}, at ${t0.toFixed(3)} s, ${seconds((t1 - t0) / steps)}: ${plural(slots, "slot")}, ${tokens}, ${plural(cells, "cell")}`;
}
