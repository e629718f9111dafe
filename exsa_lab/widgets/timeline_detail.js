// The panel below the timeline: who shared the step that is looked at, and the KV cache by slot.

import { make } from "./common.js";
import { describeMember, describeSlot, describeStep, membersOf, slotsOf } from "./timeline_step.js";

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

/** The cells of a slot as a bar; a beginning that another slot has too is an outline. */
function makeCells({ shared, prompt, text, isShared }, most) {
  const bar = make("div", "exsa-tl-cells");
  bar.ariaHidden = "true";
  for (const [kind, number] of [
    [isShared ? "cached shared" : "cached", shared],
    ["prompt", prompt],
    ["own", text],
  ])
    if (number) bar.appendChild(make("i", kind)).style.width = `${(100 * number) / most}%`;
  return bar;
}

function addRow(table, name, boxes, did, cells, has) {
  const row = table.insertRow();
  const head = row.appendChild(make("th", "", name));
  head.scope = "row";
  head.title = name;
  row.insertCell().append(boxes, did);
  row.insertCell().append(cells, has);
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
    const { slots, kept } = slotsOf(store, step);
    const held = new Map(slots.map((slot) => [slot.lane.id, slot]));
    const sizes = [...slots.map(({ shared, prompt, text }) => shared + prompt + text), kept];
    const most = Math.max(1, ...[...store.lanes.values()].map((lane) => lane.prompt + lane.tokens), ...sizes);
    table.replaceChildren();
    const head = table.createTHead().insertRow();
    for (const title of ["request", "its tokens in this step", "its cells after it"]) {
      head.appendChild(make("th", "", title)).scope = "col";
    }
    const body = table.createTBody();
    for (const lane of store.lanes.values()) {
      const [member, slot] = [members.get(lane.id), held.get(lane.id)];
      if (!member && !slot) continue;
      const did = member ? describeMember(member) : "no token in this step";
      const bar = slot ? makeCells(slot, most) : "";
      addRow(
        body,
        `#${lane.id} ${lane.label}`,
        member ? makeBoxes(member) : "",
        did,
        bar,
        slot ? describeSlot(slot) : "given back",
      );
    }
    if (kept) {
      const bar = makeCells({ shared: kept, prompt: 0, text: 0 }, most);
      addRow(
        body,
        "kept",
        "",
        "of requests that are over, for prompts that begin alike",
        bar,
        `${kept.toLocaleString("en")} cells`,
      );
    }
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
