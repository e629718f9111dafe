// The explorer's formula, against the numbers of exsa_lab/trace/what_if.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { gridStep } from "../../exsa_lab/widgets/explore_chart.js";
import {
  bestOf,
  breakEven,
  curveOf,
  expectedTokens,
  ownDraftCost,
  roundOf,
} from "../../exsa_lab/widgets/explore_model.js";

const { machines, cases } = JSON.parse(readFileSync(new URL("explore_vectors.json", import.meta.url), "utf8"));

const near = (found, wanted, what) =>
  assert.ok(Math.abs(found - wanted) <= 1e-4 * Math.max(1, Math.abs(wanted)), `${what}: ${found} is not ${wanted}`);

test("rounds, break-even and best length are those of Python", () => {
  assert.ok(cases.length > 100);
  for (const [name, acceptance, length, cost, sequences, tokens, roundCost, speedUp, needed, best] of cases) {
    const machine = machines.find((one) => one.name === name);
    const setting = { acceptance, length, draftCost: cost ?? ownDraftCost(machine), sequences };
    const round = roundOf(machine, setting);
    near(round.tokens, tokens, "tokens");
    near(round.cost, roundCost, "cost");
    near(round.speedUp, speedUp, "speed-up");
    const even = breakEven(machine, setting);
    if (needed === null) assert.equal(even, null);
    else near(even, needed, "break-even");
    assert.equal(bestOf(curveOf(machine, setting)).length, best);
  }
});

test("a round gives at least one token and at most k + 1", () => {
  assert.equal(expectedTokens(0, 5), 1);
  assert.equal(expectedTokens(1, 5), 6);
});

test("without a draft model drafts cost nothing and grow with nothing", () => {
  const machine = { target: [0, 10, 12, 14, 16], draft: null, per_sequence: 0 };
  assert.equal(ownDraftCost(machine), 0);
  near(roundOf(machine, { acceptance: 1, length: 3, draftCost: 0.1, sequences: 1 }).draftMs, 3, "draft");
});

test("the first decode of a draft takes longer", () => {
  const machine = { target: [0, 10, 12, 14, 16], draft: [0, 1], draft_start: 1.5, per_sequence: 0 };
  const setting = { acceptance: 1, draftCost: 0.1, sequences: 1 };
  near(roundOf(machine, { ...setting, length: 3 }).draftMs, 4.5, "draft");
  assert.equal(roundOf(machine, { ...setting, length: 0 }).draftMs, 0);
});

test("grid lines are few", () => {
  for (const top of [1.2, 2, 5, 17]) assert.ok(top / gridStep(top) <= 7 || top > 70);
});
