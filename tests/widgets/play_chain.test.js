// The playground's chain on positions in short, against Python's on the whole ones.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { applyChain, readPlace, rowsOf } from "../../exsa_lab/widgets/play_chain.js";

const { places, cases } = JSON.parse(readFileSync(new URL("play_vectors.json", import.meta.url), "utf8"));
const OPEN = { temperature: 1, top_k: 0, top_p: 1, min_p: 0 };

const near = (found, wanted, by, what) =>
  assert.ok(Math.abs(found - wanted) <= by, `${what}: ${found} is not ${wanted}`);

for (const [index, chain, probs, kept, common] of cases) {
  test(`place ${index}, ${JSON.stringify(chain)}`, () => {
    const read = readPlace(places[index], chain);
    for (const [token, p, q] of probs) {
      near(read.p.probs.get(token) ?? 0, p, 2e-4, `p of ${token}`);
      near(read.q.probs.get(token) ?? 0, q, 2e-4, `q of ${token}`);
    }
    // Where a cut falls among the others, the bin's share of tokens is an estimate.
    near(read.p.count, kept, 0.02 * kept, "tokens left");
    assert.ok(read.common.low <= common + 1e-3 && common - 1e-3 <= read.common.high);
    near(
      [...read.p.probs.values()].reduce((a, b) => a + b, read.p.rest),
      1,
      1e-9,
      "sum",
    );
  });
}

test("a cut that falls among the kept tokens is exact", () => {
  const read = readPlace(places[0], { ...OPEN, top_k: 5 });
  assert.equal(read.p.count, 5);
  assert.equal(read.p.rest, 0);
  assert.equal(read.common.low, read.common.high);
});

test("among equals the lower token comes first, and impossible tokens never", () => {
  const { probs } = applyChain([3, 5, 7, 9], [1, 2, 2, null], [], { ...OPEN, top_k: 2 });
  assert.deepEqual([...probs.keys()], [5, 7]);
  assert.deepEqual([...applyChain([3, 5, 7], [1, 2, 2], [], { ...OPEN, temperature: 0 }).probs], [[5, 1]]);
});

test("cut tokens are still shown, and so is a chosen one", () => {
  const place = {
    ids: [0, 1, 2],
    labels: ["a", "b", "c"],
    target: [3, 2, -9],
    draft: null,
    target_rest: [],
    draft_rest: null,
  };
  const read = readPlace(place, { ...OPEN, top_k: 1 });
  assert.deepEqual(
    rowsOf(place, read, 2, [2]).map(({ label, isCut }) => [label, isCut]),
    [
      ["a", false],
      ["c", true],
    ],
  );
  assert.equal(read.q, null);
});
