// The step-through's run, without a page.

import assert from "node:assert/strict";
import test from "node:test";

import { openingFrame, roundStart, sumUp, toFrames, toRounds } from "../../exsa_lab/widgets/step_run.js";

// A first token of the target's own, then a round of three: one accepted, one refused, one never tested.
const RUN = {
  prompt_tokens: 10,
  times: { 0: [0, 20, 1, 1], 1: [5, 25, 1, 4] },
  rows: [
    ["t", 1, "The", 0.9, null, null],
    ["R", 0, 0, 0, 20, 0.1, "first token", null, 1],
    ["a", 2, " sky", 0.8, 0.7, 0.1],
    ["x", 3, " sea", 0.1, 0.6, 0.9],
    ["d", 4, " is", null, 0.5, null],
    ["r", 5, " cloud", 0.4, null, 0.3],
    ["R", 1, 3, 1, 30, 0.2, "fixed", "model", 1],
  ],
};

test("rows become rounds with their drafts and the target's own token", () => {
  const [first, second] = toRounds(RUN);
  assert.deepEqual(first.draft, []);
  assert.equal(first.own.text, "The");
  assert.deepEqual(second.draft.map(({ kind }) => kind).join(""), "axd");
  assert.equal(second.own.text, " cloud");
  assert.deepEqual([second.before, second.k, second.accepted], [1, 3, 1]);
});

test("caches hold what was computed, and give refused tokens back", () => {
  const [first, second] = toRounds(RUN);
  assert.deepEqual(first.cells.target, { before: 0, most: 10, after: 10 });
  assert.deepEqual(second.cells.target, { before: 10, most: 14, after: 12 });
  assert.deepEqual(second.cells.draft, { before: 0, most: 13, after: 12 });
});

test("a round is drafted token by token, verified at once, tested one by one and rolled back", () => {
  const phases = toFrames(toRounds(RUN)).map(({ i, phase }) => `${i} ${phase}`);
  const second = ["draft", "draft", "draft", "verify", "test", "test", "own", "rollback"].map((phase) => `1 ${phase}`);
  assert.deepEqual(phases, ["0 verify", "0 own", ...second]);
});

test("a run without rows has no rounds", () => {
  assert.deepEqual(toRounds({ prompt_tokens: 1, times: {} }), []);
});

test("clocks add up", () => {
  assert.deepEqual(sumUp(toRounds(RUN)), [
    { draft: 0, verify: 20 },
    { draft: 5, verify: 45 },
  ]);
});

test("rounds are found from any frame, and the ends stay where they are", () => {
  const frames = toFrames(toRounds(RUN));
  assert.equal(roundStart(frames, 4, -1), 2); // to the beginning of this round
  assert.equal(roundStart(frames, 2, -1), 0); // to that of the one before
  assert.equal(roundStart(frames, 0, -1), 0);
  assert.equal(roundStart(frames, 0, 1), 2);
  assert.equal(roundStart(frames, 2, 1), frames.length - 1); // there is none: to the end
});

test("forced tokens are committed with their round", () => {
  const rows = [
    ["t", 1, "{", 0.9, null, null],
    ["f", 2, '"a"', null, null, null],
    ["R", 0, 0, 0, 20, 0.1, "first token", null, 1],
  ];
  const [round] = toRounds({ prompt_tokens: 1, times: {}, rows });
  assert.deepEqual(
    round.committed.map(({ kind }) => kind),
    ["t", "f"],
  );
});

test("it opens at the first draft, and at the beginning where nothing was drafted", () => {
  const rounds = toRounds(RUN);
  assert.equal(openingFrame(rounds, toFrames(rounds)), 2);
  assert.equal(openingFrame(rounds.slice(0, 1), toFrames(rounds.slice(0, 1))), 0);
});
