// The panel below the timeline: who shared the step that is looked at, and the KV cache by slot.

import { make } from "./common.js";
import { describeMember, describeSlot, describeStep, membersOf, slotsOf } from "./timeline_step.js";

const TITLES = ["slot", "request", "its tokens in this step", "its cells after it"];
const MAX_BOXES = 48; // tokens of one sequence drawn one by one

/** One box a token: what a sequence put into the step's batch. */
function makeBoxes({ prompt, own, drafted, accepted }) {
  const box = make("div", "exsa-tl-boxes");
  box.ariaHidden = "true";
  const add = (kind, number) => {
    for (let i = 0; i < Math.min(number, MAX_BOXES); i++) box.append(make("i", kind));
    if (number > MAX_BOXES) box.append(make("span", "", `+${number - MAX_BOXES}`));
  };
  add("prompt", prompt);
  add("own", own);
  add("accepted", accepted);
  add("rejected", drafted - accepted);
  return box;
}

/** The cells of a slot as a bar; a beginning that lies in another slot is an outline. */
function makeCells({ lane, shared, prompt, text }, most) {
  const bar = make("div", "exsa-tl-cells");
  bar.ariaHidden = "true";
  for (const [kind, number] of [
    ["cached shared", shared],
    ["prompt", prompt],
    [lane ? "own" : "cached", text],
  ])
    if (number) bar.appendChild(make("i", kind)).style.width = `${(100 * number) / most}%`;
  return bar;
}

/** Who has a slot, in words. */
function nameOf({ id, lane }) {
  if (lane) return `#${id} ${lane.label}`;
  return id ? `#${id}, another request` : "kept: its request is over";
}

const didOf = (member) => (member ? [makeBoxes(member), describeMember(member)] : ["no token in this step"]);

function addRow(table, slot, name, did, has) {
  const row = table.insertRow();
  row.insertCell().append(slot);
  const head = row.appendChild(make("th", "", name));
  head.scope = "row";
  head.title = name;
  row.insertCell().append(...did);
  row.insertCell().append(...has);
}

/** The panel and its slider. `onPick(index)` is called when the reader moves to another step. */
export function makeDetail(getStore, onPick) {
  const root = make("div", "exsa-tl-detail");
  const line = root.appendChild(make("label", "exsa-tl-step"));
  line.append("Step ");
  const slider = line.appendChild(make("input"));
  Object.assign(slider, { type: "range", min: 0, step: 1 });
  slider.ariaLabel = "Step of the engine";
  const words = root.appendChild(make("div", "exsa-tl-words"));
  const table = root.appendChild(make("table"));
  slider.addEventListener("input", () => onPick(Number(slider.value)));
  slider.addEventListener("focus", () => onPick(Number(slider.value)));
  slider.addEventListener("keydown", (event) => event.stopPropagation()); // arrows go by steps here, not by time

  function fill(store, index) {
    const step = store.steps[index];
    const members = new Map(membersOf(store, step).map((member) => [member.lane.id, member]));
    const slots = slotsOf(store, step);
    const sizes = slots.map(({ cells }) => cells);
    const most = Math.max(1, ...[...store.lanes.values()].map((lane) => lane.prompt + lane.tokens), ...sizes);
    table.replaceChildren();
    const head = table.createTHead().insertRow();
    for (const title of TITLES) head.appendChild(make("th", "", title)).scope = "col";
    const body = table.createTBody();
    for (const slot of slots) {
      const did = slot.id ? didOf(members.get(slot.id)) : [];
      addRow(body, String(slot.slot), nameOf(slot), did, [makeCells(slot, most), describeSlot(slot)]);
    }
    const held = new Set(slots.map(({ id }) => id));
    for (const [id, member] of members)
      if (!held.has(id)) addRow(body, "–", nameOf({ id, lane: member.lane }), didOf(member), ["slot given back"]);
  }

  /** Show a step; null shows none. */
  function show(index) {
    const store = getStore();
    const number = store.steps.length;
    root.hidden = !number;
    if (!number) return;
    slider.max = number - 1;
    if (index === null || index >= number) {
      table.replaceChildren();
      words.textContent =
        "Point at a step, or move the slider, to see which requests shared it and what the KV cache held.";
      [slider.value, slider.ariaValueText] = [0, "none chosen"];
      return;
    }
    slider.value = index;
    words.textContent = describeStep(store, index);
    slider.ariaValueText = `${words.textContent}. ${[...membersOf(store, store.steps[index])].map((m) => `#${m.lane.id}: ${describeMember(m)}`).join("; ")}`;
    fill(store, index);
  }
  return { root, show };
}
