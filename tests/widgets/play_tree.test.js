// The playground's tree, without a page.

import assert from "node:assert/strict";
import test from "node:test";

import { branchesOf, followerOf, pathTo } from "../../exsa_lab/widgets/play_tree.js";

const nodes = new Map([1, 2, 3, 4].map((id) => [id, { id, parent: [0, 1, 2, 1][id - 1] }]));

test("a path leads from the prompt to a token", () => {
  assert.deepEqual(
    pathTo(nodes, 3).map(({ id }) => id),
    [1, 2, 3],
  );
  assert.deepEqual(pathTo(nodes, 0), []);
  assert.deepEqual(pathTo(nodes, 99), []);
});

test("what follows depends on the branch", () => {
  assert.equal(followerOf(nodes, 1, 3).id, 2);
  assert.equal(followerOf(nodes, 1, 4).id, 4);
  assert.equal(followerOf(nodes, 4, 4), undefined);
});

test("branches are the ends", () => {
  assert.deepEqual(branchesOf(nodes), [3, 4]);
});
