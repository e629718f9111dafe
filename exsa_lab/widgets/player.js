// Plays a recorded run in the page: play and pause, speed, scrub, and the keys for all of it. It knows a position from 0
// to an end and nothing of what is shown there.

import { make } from "./common.js";

const MAX_PAUSE_MS = 100; // a page that was hidden goes on where it was

/** A position that moves on by `speed` a second while it plays. `show(at)` draws it; with `isWhole` only whole numbers
 *  are shown. */
export function makePlayer({ end, show, speed = 1, isWhole = false, at = 0, request = requestFrame }) {
  const player = { at, speed, isPlaying: false, onState: () => {} };
  let [exact, last] = [at, null];

  function move(to) {
    exact = Math.min(Math.max(0, to), end);
    player.at = isWhole ? Math.floor(exact) : exact;
  }
  function tick(now) {
    if (!player.isPlaying) return;
    const before = player.at;
    move(exact + (player.speed * Math.min(MAX_PAUSE_MS, now - (last ?? now))) / 1000);
    last = now;
    if (player.at !== before) show(player.at);
    if (exact >= end) player.stop();
    else request(tick);
  }
  player.go = (to) => {
    move(to);
    show(player.at);
  };
  player.stop = () => {
    player.isPlaying = false;
    player.onState();
  };
  player.play = () => {
    if (exact >= end) player.go(0);
    [player.isPlaying, last] = [true, null];
    player.onState();
    request(tick);
  };
  player.toggle = () => (player.isPlaying ? player.stop() : player.play());
  /** Stop and go there. */
  player.jump = (to) => {
    player.stop();
    player.go(to);
  };
  return player;
}

const requestFrame = (tick) => requestAnimationFrame(tick);

/** Buttons, slider and speeds of a player. `jumps` are the buttons before and after Play: [text, label, act]; `describe`
 *  says a position in words, `name` shortly beside the slider. */
export function makeControls(player, { end, step, before, after, speeds, describe, name }) {
  const bar = make("div", "exsa-pl-controls");
  const addButton = ([text, label, act]) => {
    const node = bar.appendChild(make("button", "", text));
    node.type = "button";
    node.title = node.ariaLabel = label;
    node.addEventListener("click", act);
    return node;
  };
  before.forEach(addButton);
  const play = addButton(["Play", "Play or pause (space)", player.toggle]);
  play.classList.add("play");
  after.forEach(addButton);
  const slider = bar.appendChild(make("input"));
  Object.assign(slider, { type: "range", min: 0, max: end, step, value: player.at, ariaLabel: "Position in the run" });
  slider.addEventListener("input", () => player.jump(Number(slider.value)));
  const where = bar.appendChild(make("span", "exsa-pl-where"));
  const select = bar.appendChild(make("select"));
  select.ariaLabel = "Speed";
  for (const [label, speed] of speeds) {
    const isNow = speed === player.speed;
    select.append(new Option(label, speed, isNow, isNow));
  }
  select.addEventListener("change", () => (player.speed = Number(select.value)));

  player.onState = () => {
    play.textContent = player.isPlaying ? "Pause" : "Play";
    bar.dispatchEvent(new CustomEvent("exsa-state", { detail: player.isPlaying }));
  };
  function update() {
    slider.value = player.at;
    slider.ariaValueText = describe(player.at);
    where.textContent = name(player.at);
  }
  return { bar, update };
}

/** Let keys act on the player: space, the arrows, page up and down, home and end. `by(n)` and `byPage(n)` tell where n
 *  steps, and n larger ones, lead. */
export function listenToKeys(root, player, { end, by, byPage }) {
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    const isOperable = ["BUTTON", "SUMMARY"].includes(event.target.tagName);
    const act = {
      " ": isOperable ? null : player.toggle,
      ArrowRight: () => player.jump(by(1)),
      ArrowLeft: () => player.jump(by(-1)),
      PageDown: () => player.jump(byPage(1)),
      PageUp: () => player.jump(byPage(-1)),
      Home: () => player.jump(0),
      End: () => player.jump(end),
    }[event.key];
    if (!act) return;
    act();
    event.preventDefault();
    event.stopPropagation(); // the notebook would move to another cell
  });
}
