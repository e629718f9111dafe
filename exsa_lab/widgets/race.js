// The race. The page has all runs (see race.py) and plays them together by itself, on one clock. Texts are model output
// and untrusted: text nodes only.

import { make, makeWidget } from "./common.js";
import { makeMarked } from "./marked.js";
import { listenToKeys, makeControls, makePlayer } from "./player.js";
import { PARTS, partsAt, placesOf, roundsUntil, speedAt, stateAt, toLane } from "./race_run.js";

const SPEEDS = [
  ["1/20 of real time", 0.05],
  ["1/5 of real time", 0.2],
  ["1/2 of real time", 0.5],
  ["real time", 1],
  ["2 times real time", 2],
  ["5 times real time", 5],
];
const MEANINGS = {
  prompt: "Until the first token: waiting, and reading the prompt",
  draft: "Proposing draft tokens",
  verify: "Passes of the target",
  sample: "Choosing tokens, accepting and refusing drafts",
  gap: "What is left: scheduling, bookkeeping, events",
};
const PHASES = { prompt: "reads the prompt", draft: "drafts", verify: "verifies", gap: "", over: "" };
const KEYS = "Space: play or pause. Left and right arrow: one step. Page up and down: ten steps. Home and End.";
const STEPS = 200; // arrow presses from one end to the other
const MAX_TEXT = 400; // rounds of a lane's text that stay on the page

const seconds = (ms, digits = 2) => (ms / 1000).toFixed(digits);

// ---- A lane ------------------------------------------------------------------------------------------------------

/** A round's tokens; those that were refused stand struck where they would have been, and leave after a few rounds. */
function makeRound({ draft, committed }) {
  const part = make("span");
  for (const { kind, text } of draft) {
    if (kind === "a") part.append(makeMarked(kind, text));
    else part.appendChild(make("span", "exsa-rc-gone")).append(makeMarked(kind, text));
  }
  for (const { kind, text } of committed) if (kind !== "a") part.append(makeMarked(kind, text));
  return part;
}

/** The text of a lane: what is committed grows and shrinks with the clock, and the draft stands pale after it. */
function makeText(lane) {
  const box = make("div", "exsa-rc-text");
  box.dir = "auto";
  const committed = box.appendChild(make("span", "exsa-rc-committed"));
  const tail = box.appendChild(make("span", "exsa-rc-tail"));
  let [shown, drafting] = [0, null];

  function showCommitted(done) {
    const isNear = done >= shown && done - shown < MAX_TEXT;
    if (!isNear) committed.replaceChildren();
    const first = isNear ? shown : Math.max(0, done - MAX_TEXT);
    committed.append(...lane.rounds.slice(first, done).map(makeRound));
    while (committed.childNodes.length > MAX_TEXT) committed.firstChild.remove();
    box.classList.toggle("cut", done > MAX_TEXT);
    shown = done;
  }

  function showDraft({ done, drafted }) {
    const there = drafting === done ? tail.dataset.count : 0;
    if (Number(there) === drafted && drafting === done) return;
    const first = there <= drafted ? Number(there) : 0;
    if (!first) tail.replaceChildren();
    for (const { text } of lane.rounds[done]?.draft.slice(first, drafted) ?? [])
      tail.append(makeMarked("open", text, "fly"));
    [drafting, tail.dataset.count] = [done, drafted];
  }

  function update(state) {
    if (state.done !== shown) showCommitted(state.done);
    showDraft(state);
    box.scrollTop = box.scrollHeight;
  }
  return { box, update };
}

function makeLane(lane, place, most) {
  const node = make("div", "exsa-rc-lane");
  node.setAttribute("role", "listitem");
  const head = node.appendChild(make("div", "exsa-rc-head"));
  const facts = make("span", "exsa-rc-facts");
  head.append(make("b", "", lane.name), make("span", "exsa-rc-settings", lane.settings), facts);
  const track = node.appendChild(make("div", "exsa-rc-track"));
  track.ariaHidden = "true";
  const out = track.appendChild(make("i", "out"));
  const fill = track.appendChild(make("i", "fill"));
  track.appendChild(make("i", "finish")).style.left = `${(100 * lane.tokens) / most}%`;
  const text = makeText(lane);
  node.append(text.box);

  function update(t) {
    const state = stateAt(lane, t);
    const speed = speedAt(lane, t);
    fill.style.width = `${(100 * state.tokens) / most}%`;
    out.style.left = fill.style.width;
    out.style.width = `${(100 * Math.min(state.drafted, lane.tokens - state.tokens)) / most}%`;
    const isOver = state.phase === "over";
    const parts = [`${state.tokens} of ${lane.tokens} tokens`];
    if (speed) parts.push(`${speed.toFixed(1)} tok/s`);
    parts.push(isOver ? `⚑ place ${place}, after ${seconds(lane.end)} s` : PHASES[state.phase]);
    facts.textContent = parts.filter(Boolean).join(" · ");
    node.classList.toggle("over", isOver);
    node.ariaLabel = `${lane.name}: ${facts.textContent}`;
    text.update(state);
  }
  return { node, update };
}

// ---- Where the time went -----------------------------------------------------------------------------------------

function makeTimes(lanes, end) {
  const table = make("table", "exsa-rc-times");
  const head = table.createTHead().insertRow();
  const addHead = (...content) => {
    const cell = head.appendChild(make("th"));
    cell.scope = "col";
    cell.append(...content);
    return cell;
  };
  addHead("seconds");
  addHead("where the time went").className = "wide";
  for (const part of PARTS) addHead(make("i", `exsa-rc-part ${part}`), part).title = MEANINGS[part];
  addHead("all");
  const body = table.createTBody();
  const rows = lanes.map((lane) => {
    const row = body.insertRow();
    const name = row.appendChild(make("th", "", lane.name));
    name.scope = "row";
    const bar = row.insertCell().appendChild(make("div", "exsa-rc-bar"));
    bar.ariaHidden = "true";
    const pieces = PARTS.map((part) => bar.appendChild(make("i", `exsa-rc-part ${part}`)));
    return { lane, pieces, cells: [...PARTS, "all"].map(() => row.insertCell()) };
  });

  function update(t) {
    for (const { lane, pieces, cells } of rows) {
      const sums = partsAt(lane, t);
      PARTS.forEach((part, i) => {
        pieces[i].style.width = `${(100 * sums[part]) / end}%`;
        cells[i].textContent = seconds(sums[part], 3);
      });
      cells.at(-1).textContent = seconds(Math.min(t, lane.end), 3);
    }
  }
  return { table, update };
}

// ---- The view ----------------------------------------------------------------------------------------------------

export function mountRace(race, el) {
  const root = el.appendChild(make("div", "exsa exsa-race mathjax_ignore tex2jax_ignore"));
  const lanes = (race.lanes ?? []).map(toLane);
  const end = Math.ceil(Math.max(0, ...lanes.map((lane) => lane.end)));
  if (!end) {
    root.textContent = "There are no runs to race.";
    return () => root.remove();
  }
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `A race of ${lanes.length} settings on one clock. ${KEYS}`);
  const verdict = make("div", "exsa-rc-verdict");
  race.verdict.forEach((sentence) => verdict.append(make("div", "", sentence)));
  const places = placesOf(lanes);
  const most = Math.max(...lanes.map((lane) => lane.tokens));
  const list = make("div", "exsa-rc-lanes");
  list.setAttribute("role", "list");
  const views = lanes.map((lane, i) => makeLane(lane, places[i], most));
  list.append(...views.map(({ node }) => node));
  const times = makeTimes(lanes, end);
  const said = make("div", "exsa-rc-said");
  said.setAttribute("role", "status");
  let controls = null;

  function show(t) {
    for (const view of views) view.update(t);
    times.update(t);
    controls?.update();
  }
  const describe = (t) =>
    `${seconds(t)} of ${seconds(end)} seconds. ${lanes.map((lane) => `${lane.name} ${tokensAt(lane, t)} tokens`).join(", ")}`;

  const player = makePlayer({ end, show, speed: 1000, at: end });
  controls = makeControls(player, {
    end,
    step: 1,
    before: [["|◀", "To the start (home)", () => player.jump(0)]],
    after: [["▶|", "To the finish (end)", () => player.jump(end)]],
    speeds: SPEEDS.map(([name, speed]) => [name, 1000 * speed]),
    describe,
    name: (t) => `${seconds(t)} of ${seconds(end)} s`,
  });
  controls.bar.addEventListener("exsa-state", ({ detail: isPlaying }) => {
    root.classList.toggle("playing", isPlaying);
    said.textContent = isPlaying ? "" : describe(player.at);
  });
  const by = (n) => player.at + (n * end) / STEPS;
  listenToKeys(root, player, { end, by, byPage: (n) => by(10 * n) });
  root.append(verdict, controls.bar, list, times.table, said);
  if (lanes.some((lane) => lane.left_out)) root.append(make("div", "exsa-rc-note", "Only the first rounds are shown."));
  show(end);
  return () => {
    player.stop();
    root.remove();
  };
}

const tokensAt = (lane, t) => lane.rounds[roundsUntil(lane, t)]?.before ?? lane.tokens;

export default () => makeWidget((model, el) => mountRace(model.get("race"), el));
