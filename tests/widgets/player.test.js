// The player without a page: frames come when the test says so.

import assert from "node:assert/strict";
import test from "node:test";

import { makePlayer } from "../../exsa_lab/widgets/player.js";

function play(options) {
  const shown = [];
  const waiting = [];
  const player = makePlayer({ show: (at) => shown.push(at), request: (tick) => waiting.push(tick), ...options });
  const frame = (now) => waiting.splice(0).forEach((tick) => tick(now));
  return { player, shown, frame };
}

test("a position moves with the time of the frames, times the speed", () => {
  const { player, shown, frame } = play({ end: 1, speed: 2 });
  player.play();
  frame(5000);
  frame(5050);
  frame(5100);
  assert.deepEqual(shown, [0.1, 0.2]);
});

test("it stops at its end, and plays from the beginning again", () => {
  const { player, shown, frame } = play({ end: 0.1 });
  player.play();
  frame(0);
  frame(90);
  frame(180);
  assert.equal(player.isPlaying, false);
  assert.deepEqual(shown, [0.09, 0.1]);
  player.play();
  assert.equal(shown.at(-1), 0);
});

test("a page that was hidden goes on where it was", () => {
  const { player, frame } = play({ end: 100 });
  player.play();
  frame(0);
  frame(60_000);
  assert.equal(player.at, 0.1);
});

test("whole positions are shown once each", () => {
  const { player, shown, frame } = play({ end: 9, speed: 20, isWhole: true });
  player.play();
  for (let now = 0; now <= 200; now += 10) frame(now);
  assert.deepEqual(shown, [1, 2, 3, 4]);
});

test("a jump stops it, and stays within", () => {
  const { player, shown } = play({ end: 9 });
  player.play();
  player.jump(-4);
  player.jump(12);
  assert.deepEqual([player.isPlaying, ...shown], [false, 0, 9]);
});
