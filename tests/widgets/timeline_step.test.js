// What shared a step, and the cells of each slot, without a page.

import assert from "node:assert/strict";
import test from "node:test";

import {
  cellsAt,
  describeMember,
  describeSlot,
  describeStep,
  membersOf,
  slotsOf,
  stepIndexAt,
} from "../../exsa_lab/widgets/timeline_step.js";
import { makeStore, take } from "../../exsa_lab/widgets/timeline_store.js";

// Request 1 decodes; request 2 begins alike, takes 20 cells of it, reads 10 more and joins.
const ROWS = [
  ["lane", 1, 0.0, "first"],
  ["lane", 2, 0.15, "second"],
  ["state", 1, 0.0, "running", ""],
  ["prefill", 1, 0.0, 0.1, 30, 0, 30, 0],
  ["rounds", 1, 0.1, 0.1, 1, 0, 0, 1],
  ["step", 0.0, 0.1, 1, 1, 30, 30, 0, 0],
  ["rounds", 1, 0.1, 0.2, 1, 3, 2, 3],
  ["step", 0.1, 0.2, 1, 1, 33, 0, 3, 1],
  ["state", 2, 0.2, "running", ""],
  ["prefill", 2, 0.2, 0.2, 20, 1, 30, 1],
  ["prefill", 2, 0.2, 0.3, 10, 0, 30, 0],
  ["rounds", 2, 0.3, 0.3, 1, 0, 0, 1],
  ["rounds", 1, 0.2, 0.3, 1, 0, 0, 1],
  ["step", 0.2, 0.3, 1, 2, 49, 10, 0, 1],
  ["state", 1, 0.3, "finished", "stop"],
  ["rounds", 2, 0.5, 0.6, 1, 0, 0, 1],
  ["step", 0.5, 0.6, 1, 1, 50, 0, 0, 1],
];

function filled() {
  const store = makeStore();
  take(store, { seq: 0, reset: true, rows: ROWS });
  return store;
}

test("the step at a moment, or the nearest one", () => {
  const store = filled();
  assert.deepEqual(
    [0.05, 0.15, 0.32, 0.45, 9].map((t) => stepIndexAt(store, t)),
    [0, 1, 2, 3, 3],
  );
  assert.equal(stepIndexAt(makeStore(), 1), -1);
});

test("members of a step and what each put into it", () => {
  const store = filled();
  const said = store.steps.map((step) => membersOf(store, step).map((m) => `${m.lane.id}: ${describeMember(m)}`));
  assert.deepEqual(said, [
    ["1: 30 prompt tokens, 1 new in the text"],
    ["1: 1 token of its own, 3 draft tokens, 2 accepted, 3 new in the text"],
    ["1: 1 token of its own, 1 new in the text", "2: 10 prompt tokens, 1 new in the text"],
    ["2: 1 token of its own, 1 new in the text"],
  ]);
  for (const step of store.steps) {
    const members = membersOf(store, step);
    const sum = (name) => members.reduce((total, member) => total + member[name], 0);
    assert.deepEqual([sum("prompt"), sum("drafted"), sum("own")], step.slice(6), "as the engine counted");
  }
});

test("cells follow prompt and text, and the newest token has none yet", () => {
  const store = filled();
  const [first, second] = store.lanes.values();
  assert.deepEqual(cellsAt(first, 0.1), { shared: 0, donor: 0, prompt: 30, text: 0 });
  assert.deepEqual(cellsAt(first, 0.2), { shared: 0, donor: 0, prompt: 30, text: 3 });
  assert.deepEqual(cellsAt(second, 0.18), { shared: 0, donor: 0, prompt: 0, text: 0 });
  assert.deepEqual(cellsAt(second, 0.3), { shared: 20, donor: 1, prompt: 10, text: 0 });
  assert.deepEqual(cellsAt(first, 0.6), { shared: 0, donor: 0, prompt: 0, text: 0 });
});

test("a shared beginning counts once, and the rest is kept for later", () => {
  const store = filled();
  const together = slotsOf(store, store.steps[2]);
  assert.deepEqual(together.slots.map(describeSlot), ["34 cells", "30 cells, 20 shared with #1"]);
  assert.equal(together.kept, 5); // 49 in use, 34 and 10 of them of requests that run
  const alone = slotsOf(store, store.steps[3]);
  assert.deepEqual(alone.slots.map(describeSlot), ["31 cells, 20 from the cache"]);
  assert.equal(alone.kept, 19);
});

test("a preempted request has no cells until it runs again", () => {
  const store = filled();
  take(store, {
    seq: 1,
    reset: false,
    rows: [
      ["state", 2, 0.7, "waiting", "preempted"],
      ["state", 2, 0.9, "running", ""],
    ],
  });
  const second = store.lanes.get(2);
  assert.equal(cellsAt(second, 0.8).prompt, 0);
  assert.deepEqual(cellsAt(second, 0.95), { shared: 0, donor: 0, prompt: 0, text: 0 });
});

test("a step in words", () => {
  assert.equal(
    describeStep(filled(), 2),
    "step 3 of 4, at 0.200 s, 100 ms: 2 slots, 11 tokens (10 prompt, 1 own, 0 draft), 49 cells",
  );
});
