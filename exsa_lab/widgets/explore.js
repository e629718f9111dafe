// The what-if explorer: sliders, the curve they give, and what was measured. It needs nothing of the kernel once it is
// there. Names of models and machines are foreign text: text nodes only.

import { make, makeWidget } from "./common.js";
import { drawCurve } from "./explore_chart.js";
import { bestOf, breakEven, curveOf, MAX_LENGTH, ownDraftCost } from "./explore_model.js";
import { bindSlider } from "./slider.js";

const SEQUENCES = [1, 2, 4, 8, 16];
const THIS_MACHINE = "this machine";
const percent = (share) => `${Math.round(100 * share)} %`;
const times = (ratio) => `x${ratio.toFixed(2)}`;
const ms = (value) => `${value.toFixed(value < 10 ? 2 : 1)} ms`;

/** What the sliders say, as numbers that can be trusted: a saved state may hold anything. */
function settingOf(model) {
  const machines = model.get("machines");
  const machine = machines.find(({ name }) => name === model.get("machine")) ?? machines[0];
  const within = (name, low, high) => Math.min(high, Math.max(low, Number(model.get(name)) || low));
  return {
    machine,
    acceptance: within("acceptance", 0, 1),
    length: Math.round(within("draft_length", 0, MAX_LENGTH)),
    draftCost: within("draft_cost", 0, 1e6),
    sequences: Math.round(within("sequences", 1, SEQUENCES.at(-1))),
  };
}

/** The recorded runs are of this machine and of one sequence. */
const pointsOf = (model, { machine, sequences }) =>
  machine.name === THIS_MACHINE && sequences === 1 ? model.get("points") : [];

function makeMachines(model) {
  const row = make("label", "exsa-slider");
  const select = make("select");
  select.append(
    ...model.get("machines").map(({ name }) => {
      const option = make("option", "", name);
      option.value = name;
      return option;
    }),
  );
  const note = make("span", "exsa-ex-note");
  select.addEventListener("change", () => {
    const machine = model.get("machines").find(({ name }) => name === select.value);
    model.set({ machine: machine.name, draft_cost: ownDraftCost(machine) });
    model.save_changes();
  });
  select.addEventListener("keydown", (event) => event.stopPropagation());
  row.append(make("span", "exsa-slider-name", "cost curve of"), select);
  const show = ({ machine }) => {
    select.value = machine.name;
    note.textContent = machine.note;
  };
  return { row, note, show };
}

function makeSliders(model) {
  const at = (value) =>
    Math.max(
      0,
      SEQUENCES.findLastIndex((n) => n <= value),
    );
  return [
    bindSlider(model, "acceptance", { label: "acceptance rate a", min: 0, max: 1, step: 0.01, show: percent }),
    bindSlider(model, "draft_length", { label: "draft length k", min: 0, max: MAX_LENGTH, step: 1 }),
    bindSlider(model, "draft_cost", {
      label: "draft cost c",
      min: 0,
      max: 1,
      step: 0.005,
      show: (value) => `${value.toFixed(3)} steps`,
    }),
    bindSlider(model, "sequences", {
      label: "sequences at once",
      min: 0,
      max: SEQUENCES.length - 1,
      step: 1,
      show: (index) => String(SEQUENCES[index]),
      toModel: (index) => SEQUENCES[index],
      toSlider: at,
    }),
  ];
}

/** Tokens per round, time per round and speed-up at k, in words. */
function describe(setting, curve) {
  const round = curve[setting.length];
  const best = bestOf(curve);
  const needed = setting.length ? breakEven(setting.machine, setting) : 0;
  const of = setting.sequences > 1 ? " of each sequence" : "";
  return {
    tokens: `${round.tokens.toFixed(2)} tokens${of}`,
    time: `${ms(round.verifyMs + round.draftMs)} = ${round.cost.toFixed(2)} plain steps`,
    speed: times(round.speedUp),
    best: best.length ? `k = ${best.length} (${times(best.speedUp)})` : "k = 0: plain decoding",
    needed: needed === null ? "not even 100 %" : setting.length ? percent(needed) : "–",
  };
}

function makeReadout() {
  const box = make("div", "exsa-ex-readout");
  const values = {};
  const names = {
    tokens: "tokens per round",
    time: "time per round",
    speed: "speed-up",
    best: "best draft length",
    needed: "k breaks even at a =",
  };
  for (const [key, name] of Object.entries(names)) {
    const pair = box.appendChild(make("div"));
    pair.append(make("span", "", name), (values[key] = make("b")));
  }
  return {
    box,
    show: (words) => Object.entries(words).forEach(([key, text]) => (values[key].textContent = text)),
  };
}

/** Where a round's time goes: one bar for the target's pass, one after it for the draft's. */
function showParts(box, round, longest) {
  const track = make("div", "exsa-ex-parts");
  for (const [name, value] of [
    ["verify", round.verifyMs],
    ["draft", round.draftMs],
  ]) {
    const part = track.appendChild(make("i", name));
    part.style.width = `${(100 * value) / longest}%`;
  }
  track.ariaHidden = "true";
  box.replaceChildren(
    track,
    make(
      "span",
      "",
      `target's pass ${ms(round.verifyMs)}, draft ${ms(round.draftMs)}; a plain step ${ms(round.plainMs)}`,
    ),
  );
}

function showTable(table, curve) {
  const head = make("tr");
  for (const name of ["k", "tokens per round", "time per round", "speed-up"])
    head.appendChild(make("th", "", name)).scope = "col";
  const rows = curve.map(({ length, tokens, verifyMs, draftMs, speedUp }) => {
    const row = make("tr");
    for (const cell of [length, tokens.toFixed(2), ms(verifyMs + draftMs), times(speedUp)])
      row.append(make("td", "", String(cell)));
    return row;
  });
  table.replaceChildren(head, ...rows);
}

const runsOf = ({ runs, low, high }) =>
  runs === 1 ? "1 run" : `${low.toFixed(2)} to ${high.toFixed(2)} in ${runs} runs`;

/** What the squares are, in words, for those who do not see them. */
function describePoints(model, points) {
  if (!model.get("points").length) return "No recorded run drafted anything yet: run some cells, then this one again.";
  if (!points.length) return "The recorded runs are of this machine, one sequence at a time: choose that to see them.";
  const each = points.map(
    (point) =>
      `${point.name} ${times(point.speed_up)} (${runsOf(point)}, ${percent(point.acceptance)} of tested accepted)`,
  );
  return `□ measured against ${model.get("compared_with")}: ${each.join("; ")}.`;
}

function mountExplorer(model, el) {
  const root = el.appendChild(make("section", "exsa exsa-explore"));
  root.ariaLabel = "What-if explorer for speculative decoding";
  const machines = makeMachines(model);
  const sliders = makeSliders(model);
  const readout = makeReadout();
  const said = make("div", "exsa-ex-said");
  said.setAttribute("role", "status");
  const [parts, points] = [make("div", "exsa-ex-time"), make("div", "exsa-ex-points")];
  const chart = make("div", "exsa-ex-chart");
  const details = make("details");
  const table = make("table", "exsa-ex-table");
  details.append(make("summary", "", "All draft lengths as a table"), table);
  const controls = make("div", "exsa-ex-controls");
  controls.append(machines.row, machines.note, ...sliders.map(({ element }) => element), readout.box, parts);
  const right = make("div", "exsa-ex-right");
  right.append(chart, points, details);
  root.append(controls, right, said);

  const choose = (length) => model.get("draft_length") !== length && model.set("draft_length", length);
  function show() {
    const setting = settingOf(model);
    const curve = curveOf(setting.machine, setting);
    const shown = pointsOf(model, setting);
    const words = describe(setting, curve);
    machines.show(setting);
    readout.show(words);
    said.textContent = `k = ${setting.length}: ${words.tokens} per round, ${words.time}, speed-up ${words.speed}. Best: ${words.best}.`;
    showParts(parts, curve[setting.length], Math.max(...curve.map((round) => round.verifyMs + round.draftMs)));
    points.textContent = describePoints(model, shown);
    showTable(table, curve);
    drawCurve(chart, { curve, setting, points: shown, choose, done: () => model.save_changes() });
  }
  const watched = ["machine", "acceptance", "draft_length", "draft_cost", "sequences", "points"];
  for (const name of watched) model.on(`change:${name}`, show);
  const resized = new ResizeObserver(show);
  resized.observe(chart);
  show();
  return () => {
    resized.disconnect();
    for (const name of watched) model.off(`change:${name}`, show);
    for (const slider of sliders) slider.release();
    root.remove();
  };
}

export default () => makeWidget(mountExplorer);
