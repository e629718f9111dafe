// The batch view's rows, without a page.

import assert from "node:assert/strict";
import test from "node:test";

import {
  describe,
  describeAll,
  firstAfter,
  isFinal,
  laneTextAt,
  makeStore,
  makeWindow,
  stepTextAt,
  take,
} from "../../exsa_lab/widgets/timeline_store.js";

const ROWS = [
  ["lane", 1, 0.0, "why is the sky blue"],
  ["state", 1, 0.2, "running", ""],
  ["prefill", 1, 0.2, 0.3, 30, 0, 30],
  ["rounds", 1, 0.3, 0.35, 1, 0, 0, 1],
  ["rounds", 1, 0.35, 0.5, 1, 3, 2, 3],
  ["step", 0.2, 0.3, 1, 1, 30, 30, 0, 0],
];

function filled() {
  const store = makeStore();
  assert.ok(take(store, { seq: 0, reset: true, rows: ROWS }));
  return store;
}

test("rows add up in their lane", () => {
  const lane = filled().lanes.get(1);
  assert.deepEqual([lane.state, lane.tokens, lane.drafted, lane.accepted, lane.prompt], ["running", 4, 3, 2, 30]);
  assert.deepEqual(lane.waits, [[0.0, 0.2]]);
  assert.equal(lane.end, 0.5);
  assert.ok(!isFinal(lane));
  assert.match(
    describe(lane),
    /^request 1, why is the sky blue, running, 4 tokens, 2 of 3 drafted accepted, 20.0 tokens/,
  );
});

test("a message after a missed one is not taken, a fresh start is", () => {
  const store = filled();
  assert.ok(!take(store, { seq: 2, reset: false, rows: [] }));
  assert.ok(take(store, { seq: 7, reset: true, rows: [] }));
  assert.equal(store.lanes.size, 0);
  assert.match(describeAll(store), /^No generations yet/);
});

test("what lies at a moment is said in words", () => {
  const store = filled();
  const lane = store.lanes.get(1);
  assert.equal(laneTextAt(lane, 0.1, 0), "waiting for a slot");
  assert.equal(laneTextAt(lane, 0.25, 0), "30 of 30 prompt tokens in 100 ms");
  assert.equal(laneTextAt(lane, 0.4, 0), "round: 3 tokens, 2 of 3 drafted accepted, 150 ms");
  assert.equal(laneTextAt(lane, 9, 0), "");
  assert.match(stepTextAt(store, 0.25), /^step of 100 ms: 1 slots, 30 cells/);
  assert.equal(stepTextAt(store, 5), "");
  assert.equal(describeAll(store), "1 running · 4 tokens");
});

test("the first row that ends after a moment", () => {
  const rows = [1, 2, 3].map((end) => [end]);
  assert.deepEqual(
    [0, 1, 2.5, 3].map((t) => firstAfter(rows, 0, t)),
    [0, 1, 2, 3],
  );
});

test("the window shows everything, zooms about its middle and follows time at its end", () => {
  const store = filled();
  const shown = makeWindow(store);
  assert.deepEqual(shown.range(), [0, 0.515]);
  shown.zoom(0.5);
  const [from, to] = shown.range();
  assert.ok(Math.abs(to - from - 0.2575) < 1e-9);
  assert.ok(!shown.isAll());
  shown.last(0.1);
  store.end = 2;
  assert.deepEqual(shown.range(), [1.9, 2]);
});
