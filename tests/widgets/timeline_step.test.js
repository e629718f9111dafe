// What shared a step, and the cells of each slot, without a page.

import assert from "node:assert/strict";
import test from "node:test";

import {
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
  ["step", 0.0, 0.1, 1, 1, 30, 30, 0, 0, [[0, 1, 30, 0, 0]]],
  ["rounds", 1, 0.1, 0.2, 1, 3, 2, 3],
  ["step", 0.1, 0.2, 1, 1, 33, 0, 3, 1, [[0, 1, 33, 0, 0]]],
  ["state", 2, 0.2, "running", ""],
  ["prefill", 2, 0.2, 0.2, 20, 1, 30, 1],
  ["prefill", 2, 0.2, 0.3, 10, 0, 30, 0],
  ["rounds", 2, 0.3, 0.3, 1, 0, 0, 1],
  ["rounds", 1, 0.2, 0.3, 1, 0, 0, 1],
  [
    ...["step", 0.2, 0.3, 1, 2, 44, 10, 0, 1],
    [
      [0, 1, 34, 0, 0],
      [2, 2, 30, 20, 0],
    ],
  ],
  ["state", 1, 0.3, "finished", "stop"],
  ["rounds", 2, 0.5, 0.6, 1, 0, 0, 1],
  [
    ...["step", 0.5, 0.6, 1, 1, 45, 0, 0, 1],
    [
      [0, 0, 34, 0, 0],
      [2, 2, 31, 20, 0],
    ],
  ],
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
    assert.deepEqual([sum("prompt"), sum("drafted"), sum("own")], step.slice(6, 9), "as the engine counted");
  }
});

test("slots hold what was recorded, and a shared beginning is counted once", () => {
  const store = filled();
  const parts = store.steps.map((step) => slotsOf(store, step).map((s) => [s.slot, s.id, s.shared, s.prompt, s.text]));
  assert.deepEqual(parts, [
    [[0, 1, 0, 30, 0]],
    [[0, 1, 0, 30, 3]],
    [
      [0, 1, 0, 30, 4],
      [2, 2, 20, 10, 0],
    ],
    [
      [0, 0, 0, 0, 34], // kept: its request is over
      [2, 2, 20, 10, 1],
    ],
  ]);
  for (const step of store.steps)
    assert.equal(
      slotsOf(store, step).reduce((total, { prompt, text }) => total + prompt + text, 0),
      step[5],
      "as many as were in use",
    );
  assert.deepEqual(slotsOf(store, store.steps[3]).map(describeSlot), [
    "34 cells",
    "31 cells, the first 20 are those of slot 0",
  ]);
});

test("a slot of a request that is not shown has a number and no parts", () => {
  const [slot] = slotsOf(filled(), ["step", 0, 1, 1, 1, 9, 0, 0, 1, [[1, 77, 9, 0, 0]]]);
  assert.deepEqual([slot.id, slot.lane, slot.prompt, slot.text], [77, null, 0, 9]);
});

test("steps of older rows have no slots", () => {
  assert.deepEqual(slotsOf(filled(), ["step", 0, 1, 1, 1, 9, 0, 0, 1]), []);
});

test("a step in words", () => {
  assert.equal(
    describeStep(filled(), 2),
    "step 3 of 4, at 0.200 s, 100 ms: 2 slots, 11 tokens (10 prompt, 1 own, 0 draft), 44 cells",
  );
});
