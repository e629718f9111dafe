// What a token strip was told by its kernel: a store for each of its texts. The first is the generation's own, the others
// are branches, which begin with what they share of their parent.

import { bitsOf } from "./strip_heat.js";
import { isRejected } from "./strip_runs.js";
import { KINDS } from "./strip_text.js";

function makeStore(branch = null) {
  const counts = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, 0]));
  const shown = { scroll: null, isFollowing: true, isUnfolded: false, opened: new Set() }; // kept when the output is drawn anew
  const rows = { tokens: [], rounds: new Map(), counts, head: null, have: 0, skipped: 0, before: 0, shared: 0 };
  return { ...rows, ...shown, branch, hasEntropy: false };
}

/** The stores of a strip, and its views. `shown` is the number of the text that is looked at. */
export function makeFamily() {
  return { stores: [makeStore()], shown: 0, views: new Set() };
}

function addRows(store, rows) {
  for (const row of rows) {
    if (row[0] === "R") store.rounds.set(row[1], row);
    else if (KINDS[row[0]]) {
      store.tokens.push(row);
      store.counts[row[0]] += 1;
      store.hasEntropy ||= bitsOf(row, "entropy") !== null;
    }
  }
}

/** How many tokens of the text come before the one at an index. */
export function positionOf(store, index) {
  let position = store.before;
  for (let at = 0; at < index; at += 1) if (!isRejected(store.tokens[at])) position += 1;
  return position;
}

/** The index behind the first `position` tokens of the text; null where not all of them are there. */
export function cutAt(store, position) {
  let left = position - store.before;
  if (left <= 0) return 0;
  for (const [index, row] of store.tokens.entries()) if (!isRejected(row) && --left === 0) return index + 1;
  return null;
}

/** A store that begins with what a branch shares of its parent; null where the parent has not come so far. */
function makeBranch(family, branch) {
  const parent = family.stores[branch.parent];
  const cut = parent ? cutAt(parent, branch.position) : null;
  if (cut === null) return null;
  const store = makeStore(branch);
  addRows(store, parent.tokens.slice(0, cut));
  store.rounds = new Map(parent.rounds);
  store.before = parent.before;
  store.shared = cut;
  const thought = parent.head?.thought;
  store.thought = thought && thought.rows <= cut ? thought : null;
  return store;
}

/** Take a delta or the part of a snapshot; returns what to ask the kernel for where something before it is missing. */
function takePart(family, message, isSnapshot) {
  const { strand = 0, start, rows, head, branch } = message;
  let store = family.stores[strand];
  if (!store) {
    if (!branch || strand !== family.stores.length) return null;
    store = makeBranch(family, branch);
    if (!store) return { strand: branch.parent, have: family.stores[branch.parent]?.have ?? 0 };
    family.stores.push(store);
  }
  if (start > store.have) {
    if (!isSnapshot) return { strand, have: store.have };
    store.skipped = start - store.have;
    store.before += message.before ?? 0;
    store.have = start;
  }
  addRows(store, rows.slice(store.have - start));
  store.have = Math.max(store.have, start + rows.length);
  // An answer to a late view may be older than what was sent since.
  if (!store.head?.final) store.head = store.branch ? { ...head, thought: store.thought } : head;
  return null;
}

function update(family) {
  for (const view of family.views) view.update();
}

/** Take a message of the kernel; returns what to ask it for, or null. */
export function takeDelta(family, message) {
  const missing = takePart(family, message, false);
  if (!missing) update(family);
  return missing;
}

export function takeSnapshot(family, snapshot) {
  takePart(family, snapshot, true);
  for (const branch of snapshot.branches ?? []) takePart(family, branch, true);
  update(family);
}
