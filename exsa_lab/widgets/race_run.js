// A recorded run as one lane of a race: what is committed, drafted or refused at a moment, and where the time went until
// then. Times are milliseconds since submission. Knows nothing of the page; `time_parts` in trace/time_parts.py is the same
// sum in Python.

import { toRounds } from "./step_run.js";

export const PARTS = ["prompt", "draft", "verify", "sample", "gap"];

export function toLane(run) {
  const rounds = toRounds(run);
  let [end, sample, tokens] = [0, 0, 0];
  const sums = Object.fromEntries(PARTS.map((part) => [part, 0]));
  for (const [i, round] of rounds.entries()) {
    const left = Math.max(0, round.endMs - end);
    round.begin = end;
    round.parts = i ? split(left, round.ms, sample) : { prompt: left, draft: 0, verify: 0, sample: 0, gap: 0 };
    round.before = tokens;
    round.sums = { ...sums };
    for (const part of PARTS) sums[part] += round.parts[part];
    tokens += round.committed.length;
    [end, sample] = [round.begin + left, round.ms.sample];
    round.end = end;
  }
  return { ...run, rounds, tokens, end, sums };
}

/** The time since the round before: its sampling, a gap, and then this round's draft and verification up to its end. */
function split(left, ms, sampleBefore) {
  const verify = Math.min(ms.verify, left);
  const draft = Math.min(ms.draft, left - verify);
  const sample = Math.min(sampleBefore, left - verify - draft);
  return { prompt: 0, draft, verify, sample, gap: left - verify - draft - sample };
}

/** Number of rounds that are over at `t`. */
export function roundsUntil(lane, t) {
  let [low, high] = [0, lane.rounds.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (lane.rounds[middle].end <= t + 1e-6) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What a lane shows at `t`: rounds that are over, tokens committed, how many draft tokens are out, and the phase. */
export function stateAt(lane, t) {
  const done = roundsUntil(lane, t);
  const round = lane.rounds[done];
  const tokens = round ? round.before : lane.tokens;
  if (!round) return { done, tokens, drafted: 0, phase: "over" };
  if (!done) return { done, tokens, drafted: 0, phase: "prompt" };
  const verifyFrom = round.end - round.parts.verify;
  const draftFrom = verifyFrom - round.parts.draft;
  if (t >= verifyFrom) return { done, tokens, drafted: round.k, phase: "verify" };
  if (t < draftFrom) return { done, tokens, drafted: 0, phase: "gap" };
  const drafted = Math.min(round.k, Math.ceil((round.k * (t - draftFrom)) / (round.parts.draft || 1)));
  return { done, tokens, drafted, phase: round.k ? "draft" : "gap" };
}

/** Where the time went until `t`. */
export function partsAt(lane, t) {
  const round = lane.rounds[roundsUntil(lane, t)];
  if (!round) return lane.sums;
  let left = Math.max(0, t - round.begin);
  const sums = { ...round.sums };
  for (const part of ["prompt", "sample", "gap", "draft", "verify"]) {
    const spent = Math.min(left, round.parts[part]);
    sums[part] += spent;
    left -= spent;
  }
  return sums;
}

/** Tokens per second after the first round, as the engine counts them; 0 before. */
export function speedAt(lane, t) {
  const first = lane.rounds[0];
  const { tokens, done } = stateAt(lane, t);
  const last = lane.rounds[done - 1];
  if (done < 2 || last.end <= first.end) return 0;
  return (1000 * (tokens - 1)) / (last.end - first.end);
}

/** Places by the time of the end: 1, 2, ...; equal times share one. */
export function placesOf(lanes) {
  return lanes.map((lane) => 1 + lanes.filter((other) => other.end < lane.end).length);
}
