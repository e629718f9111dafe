// The formula of docs/speculative-decoding.md, as exsa_lab/trace/what_if.py has it. Knows nothing of the page.

export const MAX_LENGTH = 16;

/** Tokens a round of k draft tokens gives where each is accepted with probability a: 1 + a + ... + a^k. */
export function expectedTokens(a, k) {
  let [sum, power] = [1, 1];
  for (let j = 0; j < k; j++) sum += power *= a;
  return sum;
}

/** What one round gives and takes. `machine` has milliseconds by tokens: `target` and `draft` (null: no model), and what
 *  each further sequence adds; `draft_start` is what the first decode of a draft takes more, in decodes of the draft. */
export function roundOf(machine, { acceptance, length, draftCost, sequences }) {
  const extra = machine.per_sequence * (sequences - 1);
  const grows = machine.draft ? machine.draft[sequences] / machine.draft[1] : 1;
  const plainMs = machine.target[sequences] + extra;
  const verifyMs = machine.target[sequences * (1 + length)] + extra;
  const decodes = length && length + (machine.draft_start ?? 0);
  const draftMs = decodes * draftCost * machine.target[1] * grows;
  const cost = (verifyMs + draftMs) / plainMs;
  const tokens = expectedTokens(acceptance, length);
  return { length, tokens, verifyMs, draftMs, plainMs, cost, speedUp: tokens / cost };
}

/** The rounds of all draft lengths. */
export function curveOf(machine, setting) {
  return Array.from({ length: MAX_LENGTH + 1 }, (_, length) => roundOf(machine, { ...setting, length }));
}

/** The round with the largest speed-up; the shortest among equals. */
export function bestOf(curve) {
  return curve.reduce((best, round) => (round.speedUp > best.speedUp ? round : best));
}

/** The acceptance from which this draft length pays; null where not even 1 is enough. */
export function breakEven(machine, setting) {
  const { cost } = roundOf(machine, setting);
  if (cost > setting.length + 1) return null;
  let [low, high] = [0, 1];
  for (let i = 0; i < 40; i++) {
    const middle = (low + high) / 2;
    if (expectedTokens(middle, setting.length) < cost) low = middle;
    else high = middle;
  }
  return high;
}

/** One decode of the machine's own draft in single-token decodes of its target; 0 where it has none. */
export const ownDraftCost = (machine) => (machine.draft ? machine.draft[1] / machine.target[1] : 0);
