// The strip's stores without a page: rows in order, branches on what they share.

import assert from "node:assert/strict";
import { test } from "node:test";
import { bitsOf, levelOf, measuresOf } from "../../exsa_lab/widgets/strip_heat.js";
import { cutAt, makeFamily, positionOf, takeDelta, takeSnapshot } from "../../exsa_lab/widgets/strip_store.js";

const token = (kind, text, round = 0) => [kind, 1, text, 0.5, null, null, round];
const rows = [
  token("t", "The"),
  ["R", 0, 0, 0, 1, 0.1, "", null, 1, null],
  token("a", " sky", 1),
  token("x", " was", 1),
  token("d", " not", 1),
  token("r", " is", 1),
  ["R", 1, 3, 1, 1, 0.2, "", "model", 1, null],
  token("t", " blue", 2),
];
const head = { state: "running", final: false };
const delta = (start, part, more = {}) => ({ type: "delta", start, rows: part, head, ...more });
const texts = (store) => store.tokens.map((row) => row[2]).join("");

test("a branch begins with what it shares, refused tokens at its place excepted", () => {
  const family = makeFamily();
  assert.equal(takeDelta(family, delta(0, rows)), null);
  const branch = { parent: 0, position: 2, label: " was" };
  assert.equal(takeDelta(family, delta(0, [token("c", " was", 1)], { strand: 1, branch })), null);
  assert.equal(texts(family.stores[1]), "The sky was");
  assert.equal(family.stores[1].shared, 2);
  assert.equal(texts(family.stores[0]), "The sky was not is blue");
  takeDelta(family, delta(1, [token("t", " red", 2)], { strand: 1, branch }));
  assert.equal(texts(family.stores[1]), "The sky was red");
  assert.equal(family.stores[1].counts.a, 1);
  assert.equal(family.stores[1].rounds.get(1), rows[6]);
});

test("a branch of a branch, and one at the very beginning", () => {
  const family = makeFamily();
  takeDelta(family, delta(0, rows));
  takeDelta(
    family,
    delta(0, [token("c", " X"), token("t", " Y")], { strand: 1, branch: { parent: 0, position: 1, label: "" } }),
  );
  takeDelta(family, delta(0, [token("c", " Z")], { strand: 2, branch: { parent: 1, position: 2, label: "" } }));
  takeDelta(family, delta(0, [token("c", "A")], { strand: 3, branch: { parent: 2, position: 0, label: "" } }));
  assert.deepEqual(family.stores.map(texts), ["The sky was not is blue", "The X Y", "The X Z", "A"]);
});

test("gaps are asked for: a branch's own, and its parent's", () => {
  const family = makeFamily();
  const branch = { parent: 0, position: 2, label: "" };
  assert.deepEqual(takeDelta(family, delta(3, rows.slice(3))), { strand: 0, have: 0 });
  assert.deepEqual(takeDelta(family, delta(0, [token("c", "!")], { strand: 1, branch })), { strand: 0, have: 0 });
  takeDelta(family, delta(0, rows));
  assert.deepEqual(takeDelta(family, delta(1, [token("t", "?")], { strand: 1, branch })), { strand: 1, have: 0 });
  takeDelta(family, delta(0, [token("c", "!"), token("t", "?")], { strand: 1, branch }));
  assert.equal(texts(family.stores[1]), "The sky!?");
});

test("a snapshot has all texts, also where its first rows are not kept", () => {
  const family = makeFamily();
  const branches = [delta(0, [token("c", "!")], { strand: 1, branch: { parent: 0, position: 102, label: "" } })];
  takeSnapshot(family, { start: 50, before: 100, rows, head, branches });
  assert.equal(family.stores[0].skipped, 50);
  assert.equal(positionOf(family.stores[0], 4), 102);
  assert.equal(cutAt(family.stores[0], 104), 8 - 2);
  assert.equal(cutAt(family.stores[0], 105), null);
  assert.equal(texts(family.stores[1]), "The sky!");
});

test("what is out of order or unknown changes nothing", () => {
  const family = makeFamily();
  assert.equal(takeDelta(family, delta(0, rows, { strand: 5 })), null);
  assert.equal(takeDelta(family, delta(0, rows, { strand: 2, branch: { parent: 9, position: 0 } })), null);
  assert.equal(family.stores.length, 1);
});

test("bits of a token, and their level", () => {
  const row = [...token("t", "a"), [[1, "a", 0.25, 0.5, null]], 2, 1.5];
  assert.equal(bitsOf(row, "surprisal"), 2);
  assert.equal(bitsOf(row, "entropy"), 1.5);
  assert.equal(bitsOf(token("t", "a"), "surprisal"), 1);
  assert.equal(bitsOf(token("t", "a"), "entropy"), null);
  assert.equal(bitsOf(token("x", "a"), "surprisal"), null);
  assert.equal(bitsOf(row, "none"), null);
  assert.deepEqual(
    [0, 0.49, 0.5, 1, 2, 3.9, 4, 40].map((bits) => levelOf([...row.slice(0, 8), bits], "surprisal")),
    [0, 0, 1, 2, 3, 3, 4, 4],
  );
  assert.equal(measuresOf(row), "surprisal 2.00 bits, entropy 1.50 bits");
});
