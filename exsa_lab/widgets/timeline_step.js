// What shared one step of the engine, and whose cells the KV cache held at its end. Knows nothing of the page; rows are
// those of timeline_rows.py.

import { count, firstAfter, seconds } from "./timeline_store.js";

const SAME = 2e-4; // times are rounded to 0.1 ms

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

/** The cells of a lane at `t`: those it shares with another one, its prompt's, and its text's. */
export function cellsAt(lane, t) {
  const none = { shared: 0, donor: 0, prompt: 0, text: 0 };
  const isWaiting = lane.waits.some(([from, to]) => from <= t && (to === null || t < to));
  if (isWaiting || t < lane.begin || (isOver(lane) && t > endOfHold(lane) + SAME)) return none;
  const since = Math.max(lane.begin, ...lane.waits.map(([, to]) => to ?? 0).filter((to) => to <= t));
  const chunks = lane.prefills.filter((row) => row[2] >= since - SAME && row[3] <= t + SAME);
  const rounds = lane.rounds.filter((row) => row[3] <= t + SAME);
  const cached = chunks.filter((row) => row[5]);
  const shared = sum(cached, 4);
  const isRead = rounds.length && rounds.at(-1)[3] >= since;
  const prompt = isRead ? lane.prompt : sum(chunks, 4);
  // The newest token has no cell yet.
  const text = isRead ? Math.max(0, sum(rounds, 7) - 1) : 0;
  return { shared, donor: cached[0]?.[7] ?? 0, prompt: Math.max(0, prompt - shared), text };
}

const isOver = (lane) => !["waiting", "running"].includes(lane.state);
const endOfHold = (lane) => Math.max(lane.end, ...lane.held.map((row) => row[3]));

/** The cells of each slot in use at the end of a step, and how many are kept of requests that are over. A shared beginning
 *  counts once: with the lane it is shared with where that still runs, else with the first that has it. */
export function slotsOf(store, step) {
  const t = step[2];
  const slots = [];
  for (const lane of store.lanes.values()) {
    const cells = cellsAt(lane, t);
    if (cells.shared + cells.prompt + cells.text) slots.push({ lane, ...cells });
  }
  const running = new Map(slots.map((slot) => [slot.lane.id, slot]));
  let used = 0;
  const seen = new Set();
  for (const slot of slots) {
    slot.isShared = slot.shared > 0 && (running.has(slot.donor) || seen.has(slot.donor));
    if (slot.shared) seen.add(slot.donor);
    used += slot.prompt + slot.text + (slot.isShared ? 0 : slot.shared);
  }
  return { slots, kept: Math.max(0, step[5] - used) };
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

export function describeSlot({ shared, donor, prompt, text, isShared }) {
  const parts = [plural(shared + prompt + text, "cell")];
  if (shared) parts.push(isShared ? `${count(shared)} shared with #${donor}` : `${count(shared)} from the cache`);
  return parts.join(", ");
}

/** A step in one line. */
export function describeStep(store, index) {
  const [, t0, t1, steps, slots, cells, prefill, draft, decode] = store.steps[index];
  const which = steps > 1 ? `${steps} short steps` : "step";
  const tokens = `${plural(prefill + draft + decode, "token")} (${prefill} prompt, ${decode} own, ${draft} draft)`;
  return `${which} ${index + 1} of ${store.steps.length}, at ${t0.toFixed(3)} s, ${seconds((t1 - t0) / steps)}: ${plural(slots, "slot")}, ${tokens}, ${plural(cells, "cell")}`;
}
