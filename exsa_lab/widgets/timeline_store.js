// The rows that the kernel sent (see timeline_rows.py), what they add up to, and what is said of them. Knows nothing of
// the page.

import { STATES } from "./common.js";

export const count = (number) => Math.round(number).toLocaleString("en");
export const seconds = (s) => (s < 1 ? `${Math.round(1000 * s)} ms` : `${s.toFixed(2)} s`);

// ---- What the kernel sent ----------------------------------------------------------------------------------------

export function makeStore() {
  return { lanes: new Map(), steps: [], idles: [], end: 0, most: 1, next: 0, limits: {}, views: new Set() };
}

function clear(store) {
  Object.assign(store, { lanes: new Map(), steps: [], idles: [], end: 0, most: 1 });
}

/** Take a message; false where one before it was missed. */
export function take(store, { seq, reset, rows }) {
  if (!reset && seq !== store.next) return false;
  if (reset) clear(store);
  store.next = seq + 1;
  for (const row of rows) addRow(store, row);
  for (const view of store.views) view.update();
  return true;
}

function addRow(store, row) {
  const [kind, id, t] = row;
  if (kind === "lane") {
    const sums = { tokens: 0, drafted: 0, accepted: 0, cached: 0, prompt: 0, first: null, firstTokens: 0 };
    store.lanes.set(id, {
      id,
      begin: t,
      end: t,
      label: row[3],
      state: "waiting",
      detail: "",
      waits: [[t, null]],
      prefills: [],
      rounds: [],
      held: [],
      ...sums,
    });
  } else if (kind === "step") {
    store.steps.push(row);
    store.end = Math.max(store.end, row[2]);
  } else if (kind === "idle") store.idles.push(row);
  else if (store.lanes.has(id)) addToLane(store, store.lanes.get(id), row);
}

function addToLane(store, lane, row) {
  const [kind, , t0, t1] = row;
  if (kind === "held") lane.held.push(row);
  else if (kind === "state") {
    lane.state = t1;
    lane.detail = row[4];
    const wait = lane.waits.at(-1);
    if (t1 === "waiting" && wait[1] !== null) lane.waits.push([t0, null]);
    else if (t1 !== "waiting" && wait[1] === null) wait[1] = t0;
    lane.end = Math.max(lane.end, t0);
  } else if (kind === "prefill") {
    lane.prefills.push(row);
    lane.prompt = row[6];
    if (row[5]) lane.cached += row[4];
    lane.end = Math.max(lane.end, t1);
  } else {
    const [, , , , rounds, drafted, accepted, committed] = row;
    if (lane.first === null) [lane.first, lane.firstTokens] = [t1, committed];
    lane.rounds.push(row);
    lane.tokens += committed;
    lane.drafted += drafted;
    lane.accepted += accepted;
    lane.end = Math.max(lane.end, t1);
    store.most = Math.max(store.most, (drafted + Math.max(0, committed - accepted)) / rounds);
  }
  store.end = Math.max(store.end, lane.end);
}

/** Tokens per second after the first; 0 while there is none. */
export const speed = (lane) =>
  lane.first !== null && lane.end > lane.first ? (lane.tokens - lane.firstTokens) / (lane.end - lane.first) : 0;

export function describe(lane) {
  const parts = [`request ${lane.id}`, lane.label, lane.state, `${lane.tokens} tokens`];
  if (lane.detail && !["stop", lane.state].includes(lane.detail)) parts.push(lane.detail);
  if (lane.drafted) parts.push(`${lane.accepted} of ${lane.drafted} drafted accepted`);
  if (lane.cached) parts.push(`${lane.cached} of ${lane.prompt} prompt tokens cached`);
  if (speed(lane)) parts.push(`${speed(lane).toFixed(1)} tokens per second`);
  return parts.join(", ");
}

export const isFinal = (lane) => !["waiting", "running"].includes(lane.state);

/** Index of the first row whose end is after t. */
export function firstAfter(rows, endColumn, t) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle][endColumn] <= t) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What a panel shows of a step; of several steps in one row their mean, or their highest value. */
export const total = ({ means, parts }, row) =>
  parts.reduce((sum, [, column]) => sum + row[column], 0) / (means ? row[3] : 1);
export const highest = (panel, rows) => rows.reduce((most, row) => Math.max(most, total(panel, row)), 0);

// ---- What is shown -----------------------------------------------------------------------------------------------

/** The part of time that is shown, and how it is moved. `span` null shows everything. */
export function makeWindow(store) {
  const shown = (store.shown ??= { span: null, end: null }); // kept when the output is drawn anew

  function range() {
    const all = Math.max(store.end, 0.05);
    const first = Math.min(...[...store.lanes.values()].map((lane) => lane.begin), all);
    if (shown.span === null) return [first, first + (all - first) * 1.03];
    const end = shown.end ?? all;
    return [end - shown.span, end];
  }

  function zoom(factor, at = null) {
    const [t0, t1] = range();
    const span = Math.min(Math.max((t1 - t0) * factor, 0.02), Math.max(store.end, 0.05) * 1.03);
    const middle = at ?? (shown.end === null && shown.span !== null ? t1 : (t0 + t1) / 2);
    shown.end = middle + (t1 - middle) * (span / (t1 - t0));
    shown.span = span;
    follow();
  }

  function move(fraction) {
    const [t0, t1] = range();
    shown.span = t1 - t0;
    shown.end = Math.max(t1 + fraction * (t1 - t0), shown.span * 0.5);
    follow();
  }

  /** At the right end the window goes on with time. */
  function follow() {
    if (shown.end >= store.end) shown.end = null;
  }

  function last(span) {
    shown.span = span;
    shown.end = null;
  }

  return { range, zoom, move, last, isAll: () => shown.span === null };
}

// ---- In words ----------------------------------------------------------------------------------------------------

/** Seconds from the first submission to the last end, and to the first token on average. */
export function summarize(lanes) {
  const started = lanes.filter((lane) => lane.first !== null);
  const mean = started.reduce((sum, lane) => sum + lane.first - lane.begin, 0) / (started.length || 1);
  const begin = Math.min(...lanes.map((lane) => lane.begin));
  return { all: Math.max(...lanes.map((lane) => lane.end)) - begin, first: mean, number: started.length };
}

export function describeAll(store) {
  const lanes = [...store.lanes.values()];
  if (!lanes.length) return "No generations yet. What other cells submit appears here.";
  const states = Object.keys(STATES).map((state) => [lanes.filter((lane) => lane.state === state).length, state]);
  const tokens = lanes.reduce((sum, lane) => sum + lane.tokens, 0);
  const parts = [
    `${states
      .filter(([n]) => n)
      .map(([n, state]) => `${n} ${state}`)
      .join(", ")} · ${count(tokens)} tokens`,
  ];
  const { all, first, number } = summarize(lanes);
  if (number && lanes.every(isFinal)) parts.push(`in ${seconds(all)}, first token after ${seconds(first)} on average`);
  return parts.join(" ");
}

function roundText([, , t0, t1, rounds, drafted, accepted, committed]) {
  const which = rounds > 1 ? `${rounds} rounds` : "round";
  const drafts = drafted ? `, ${accepted} of ${drafted} drafted accepted` : ", nothing drafted";
  return `${which}: ${committed} token${committed === 1 ? "" : "s"}${drafts}, ${seconds(t1 - t0)}`;
}

export function laneTextAt(lane, t, slack) {
  const round = lane.rounds[firstAfter(lane.rounds, 3, t)];
  if (round && round[2] <= t) return roundText(round);
  const prefill = lane.prefills.find(([, , t0, t1]) => t >= t0 - slack && t <= t1 + slack);
  if (prefill)
    return `${count(prefill[4])} of ${count(prefill[6])} prompt tokens ${prefill[5] ? "from the cache" : `in ${seconds(prefill[3] - prefill[2])}`}`;
  if (lane.waits.some(([from, to]) => t >= from && (to === null || t <= to))) return "waiting for a slot";
  return "";
}

export function stepTextAt(store, t) {
  const row = store.steps[firstAfter(store.steps, 2, t)];
  if (!row || row[1] > t) return "";
  const [, t0, t1, steps, slots, cells, prefill, draft, decode] = row;
  const which = steps > 1 ? `${steps} steps` : "step";
  return `${which} of ${seconds((t1 - t0) / steps)}: ${slots} slots, ${count(cells)} cells, tokens: ${count(prefill / steps)} prompt, ${count(draft / steps)} draft, ${count(decode / steps)} own`;
}
