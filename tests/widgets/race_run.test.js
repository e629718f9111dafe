// A lane of a race, without a page.

import assert from "node:assert/strict";
import test from "node:test";

import { partsAt, placesOf, speedAt, stateAt, toLane } from "../../exsa_lab/widgets/race_run.js";

// The first token after 100 ms; a round of two drafts, one accepted, from 100 to 140; a plain one until 160.
const RUN = {
  prompt_tokens: 10,
  times: { 0: [0, 90, 2, 1, 100], 1: [10, 20, 1, 3, 140], 2: [0, 15, 1, 1, 160] },
  rows: [
    ["t", 1, "The", 0.9, null, null],
    ["R", 0, 0, 0, 20, 0.1, "first token", null, 1],
    ["a", 2, " sky", 0.8, 0.7, 0.1],
    ["x", 3, " sea", 0.1, 0.6, 0.9],
    ["r", 5, " cloud", 0.4, null, 0.3],
    ["R", 1, 2, 1, 30, 0.2, "fixed", "model", 1],
    ["t", 6, ".", 0.4, null, 0.3],
    ["R", 2, 0, 0, 30, 0.2, "not worth it now", null, 1],
  ],
};
const lane = toLane(RUN);
const total = (parts) => Object.values(parts).reduce((sum, part) => sum + part, 0);

test("parts add up to the end", () => {
  assert.equal(lane.end, 160);
  assert.deepEqual(lane.sums, { prompt: 100, draft: 10, verify: 35, sample: 3, gap: 12 });
  for (const t of [0, 55, 100, 101, 117, 125, 139, 150, 160, 500])
    assert.ok(Math.abs(total(partsAt(lane, t)) - Math.min(t, 160)) < 1e-9, `at ${t}`);
});

test("tokens are committed at the end of their round", () => {
  assert.deepEqual(
    [0, 99, 100, 139, 140, 160].map((t) => stateAt(lane, t).tokens),
    [0, 0, 1, 1, 3, 4],
  );
});

test("a round waits, drafts token by token and verifies", () => {
  const at = (t) => {
    const { phase, drafted } = stateAt(lane, t);
    return `${phase} ${drafted}`;
  };
  assert.deepEqual([50, 105, 112, 118, 121, 150, 160].map(at), [
    "prompt 0",
    "gap 0",
    "draft 1",
    "draft 2",
    "verify 2",
    "verify 0",
    "over 0",
  ]);
});

test("the speed is that of the tokens after the first", () => {
  assert.equal(speedAt(lane, 100), 0);
  assert.equal(speedAt(lane, 160), 3000 / 60);
});

test("places go by the end, equal ones share one", () => {
  assert.deepEqual(placesOf([{ end: 3 }, { end: 1 }, { end: 3 }]), [2, 1, 2]);
});

test("times that cannot be are cut to the time there was", () => {
  const odd = toLane({ ...RUN, times: { 0: [0, 9, 9, 1, 10], 1: [50, 90, 0, 3, 30], 2: [0, 5, 0, 1, 20] } });
  assert.equal(total(odd.sums), odd.end);
  assert.ok(Object.values(odd.sums).every((part) => part >= 0));
});
