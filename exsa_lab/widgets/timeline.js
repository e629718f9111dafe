// The batch view. A store per widget model holds the rows the kernel sent; views draw it on a canvas between a column of
// labels and one of numbers. Prompts are untrusted: text nodes only.

import { make, makeWidget, STATES } from "./common.js";
import { makeDetail } from "./timeline_detail.js";
import {
  AXIS,
  drawIdles,
  drawLane,
  drawPanel,
  drawStep,
  drawTicks,
  GAP,
  LANE,
  makePaint,
  PANEL,
} from "./timeline_draw.js";
import { stepIndexAt } from "./timeline_step.js";
import {
  count,
  describe,
  describeAll,
  highest,
  isFinal,
  laneTextAt,
  makeStore,
  makeWindow,
  speed,
  stepTextAt,
  take,
  total,
} from "./timeline_store.js";

const PANELS = [
  { title: "slots in use", limit: "slots", isOfLimit: true, means: false, parts: [["own", 4]] },
  { title: "KV cells in use", limit: "cells", means: false, parts: [["own", 5]] },
  {
    title: "tokens per step",
    limit: null,
    means: true,
    parts: [
      ["own", 8],
      ["accepted", 7],
      ["target", 6],
    ],
  },
];
const LEGEND = [
  ["prompt", "prompt", "A chunk of the prompt was computed (prefill)"],
  ["cached", "from the cache", "Prompt tokens taken from the prefix cache instead of being computed"],
  ["own", "target's own", "A round's own token of the target"],
  ["accepted", "accepted", "Draft tokens that the target accepted; below, draft tokens of the step"],
  ["rejected", "rejected", "Draft tokens that were refused or discarded"],
  ["waiting", "waiting", "Waiting for a slot"],
  ["held", "slot held until the batch ends", "Static batching: the request is done, and nobody else gets its slot yet"],
];
const HELP = "Arrow up and down: lanes. Arrow left and right: move in time. + and −: zoom. 0: everything.";

// ---- One view ----------------------------------------------------------------------------------------------------

function makeLegend() {
  const legend = make("div", "exsa-tl-legend");
  for (const [kind, name, meaning] of LEGEND) {
    const item = legend.appendChild(make("span"));
    item.title = meaning;
    item.append(make("i", kind), name);
  }
  return legend;
}

function makeLabels(root, getStore) {
  const left = make("div", "exsa-tl-labels");
  const right = make("div", "exsa-tl-facts");
  left.setAttribute("role", "list");
  left.setAttribute("aria-label", `Requests. ${HELP}`);
  const rows = new Map();

  function add(lane) {
    const label = make("div", "exsa-tl-lane");
    label.setAttribute("role", "listitem");
    label.tabIndex = rows.size ? -1 : 0;
    const state = make("b");
    label.append(state, ` #${lane.id} `, make("span", "", lane.label));
    label.title = lane.label;
    const facts = make("div", "exsa-tl-lane");
    facts.ariaHidden = "true";
    const row = { label, state, facts, seen: "" };
    left.insertBefore(label, left.querySelector(".exsa-tl-panel"));
    right.insertBefore(facts, right.querySelector(".exsa-tl-panel"));
    rows.set(lane.id, row);
    return row;
  }

  function refresh(lane) {
    const row = rows.get(lane.id) ?? add(lane);
    const drafts = lane.drafted ? ` · ${lane.accepted}/${lane.drafted}` : "";
    const rate = speed(lane) ? ` · ${speed(lane).toFixed(0)}/s` : "";
    const facts = `${count(lane.tokens)} tok${drafts}${rate}`;
    if (row.seen === facts + lane.state) return;
    row.seen = facts + lane.state;
    row.facts.textContent = facts;
    row.facts.title = describe(lane);
    row.state.textContent = STATES[lane.state];
    row.label.dataset.state = lane.state;
    row.label.ariaLabel = describe(lane);
  }

  const panels = PANELS.map((panel) => {
    left.append(make("div", "exsa-tl-panel", panel.title));
    return right.appendChild(make("div", "exsa-tl-panel"));
  });

  function update() {
    const store = getStore();
    for (const [id, row] of rows) {
      if (store.lanes.has(id)) continue;
      row.label.remove();
      row.facts.remove();
      rows.delete(id);
    }
    store.lanes.forEach(refresh);
    const last = store.steps.at(-1);
    const isBusy = [...store.lanes.values()].some((lane) => !isFinal(lane));
    PANELS.forEach((panel, i) => {
      const of = store.limits[panel.limit] ? ` of ${count(store.limits[panel.limit])}` : "";
      if (isBusy && last) panels[i].textContent = `${count(total(panel, last))}${of} now`;
      else panels[i].textContent = last ? `${count(highest(panel, store.steps))}${of} at most` : "";
    });
  }

  left.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const lanes = [...left.querySelectorAll(".exsa-tl-lane")];
    const next = lanes[lanes.indexOf(document.activeElement) + (by ?? 0)];
    if (!by || !lanes.includes(document.activeElement)) return;
    event.preventDefault();
    event.stopPropagation();
    if (!next) return;
    document.activeElement.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  root.append(left);
  return { left, right, update };
}

/** The switch between what happened and what a static batcher would have done. */
function makeSwitch(stores, choose) {
  const group = make("div", "exsa-tl-switch");
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", "Batching");
  const buttons = [
    ["recorded", "continuous, recorded", "What the engine did"],
    [
      "computed",
      "static, computed",
      "How a static batcher would have served the same requests: computed from recorded step times",
    ],
  ].map(([name, text, title]) => {
    const button = group.appendChild(make("button", "", text));
    button.type = "button";
    button.title = title;
    button.addEventListener("click", () => choose(name));
    return [name, button];
  });
  function update(chosen) {
    group.hidden = !stores.computed.lanes.size;
    for (const [name, button] of buttons) button.ariaPressed = String(name === chosen);
  }
  return { group, update };
}

function makeControls(getShown, redraw) {
  const bar = make("div", "exsa-tl-controls");
  const add = (text, label, act) => {
    const button = bar.appendChild(make("button", "", text));
    button.type = "button";
    button.title = button.ariaLabel = label;
    button.addEventListener("click", () => {
      act();
      redraw();
    });
  };
  add("all", "Show everything", () => getShown().last(null));
  add("5 s", "Follow the last 5 seconds", () => getShown().last(5));
  add("1 s", "Follow the last second", () => getShown().last(1));
  add("−", "Zoom out", () => getShown().zoom(1.6));
  add("+", "Zoom in", () => getShown().zoom(1 / 1.6));
  return bar;
}

function makeTip(root) {
  const tip = root.appendChild(make("div", "exsa-tl-tip"));
  tip.popover = "manual"; // the top layer: no output area clips it
  return {
    show(text, x, y) {
      tip.textContent = text;
      tip.showPopover?.();
      tip.style.left = `${Math.max(8, Math.min(x + 12, innerWidth - tip.offsetWidth - 8))}px`;
      tip.style.top = `${y + 16 + tip.offsetHeight < innerHeight ? y + 16 : y - tip.offsetHeight - 8}px`;
    },
    hide: () => tip.isConnected && tip.hidePopover?.(),
  };
}

function mount(stores, el) {
  let store = stores.recorded;
  let [shown, picked] = [makeWindow(store), store.picked ?? null]; // kept when the output is drawn anew
  const root = make("div", "exsa exsa-timeline mathjax_ignore tex2jax_ignore");
  const head = root.appendChild(make("div", "exsa-tl-head"));
  const summary = head.appendChild(make("span"));
  const body = root.appendChild(make("div", "exsa-tl-body"));
  const labels = makeLabels(body, () => store);
  const canvas = body.appendChild(make("canvas"));
  canvas.setAttribute("role", "img");
  canvas.title = "";
  body.append(labels.right);
  const detail = makeDetail(() => store, pick);
  const batching = makeSwitch(stores, choose);
  root.append(makeLegend(), detail.root);
  const pen = canvas.getContext("2d");
  const getPaint = makePaint(root, pen);
  const tip = makeTip(root);
  let frame = 0;
  let view = null;

  function draw() {
    frame = 0;
    const width = canvas.clientWidth;
    const lanes = [...store.lanes.values()];
    const lanesEnd = AXIS + lanes.length * (LANE + GAP);
    const height = lanesEnd + PANELS.length * (PANEL + GAP) + 2;
    if (!width) return;
    canvas.style.height = `${height}px`;
    const [w, h] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    pen.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = `11px ${getComputedStyle(root).fontFamily}`;
    const [t0, t1] = shown.range();
    view = { t0, t1, width, now: store.end, lanes, lanesEnd, x: (t) => ((t - t0) / (t1 - t0)) * width };
    const paint = getPaint();
    drawTicks(pen, paint, view, lanesEnd - AXIS);
    lanes.forEach((lane, i) => drawLane(pen, paint, view, store, lane, AXIS + i * (LANE + GAP)));
    drawIdles(pen, paint, view, store, lanesEnd - AXIS);
    PANELS.forEach((panel, i) => drawPanel(pen, paint, view, store, panel, lanesEnd + i * (PANEL + GAP)));
    if (picked !== null && store.steps[picked]) drawStep(pen, paint, view, store.steps[picked], height - AXIS);
    canvas.ariaLabel = `Timeline from ${t0.toFixed(2)} to ${t1.toFixed(2)} seconds. ${describeAll(store)}`;
  }

  const redraw = () => (frame ||= requestAnimationFrame(draw));

  function update() {
    summary.textContent = (store === stores.computed ? "Computed, not run: " : "") + describeAll(store);
    labels.update();
    batching.update(store === stores.computed ? "computed" : "recorded");
    root.classList.toggle("computed", store === stores.computed);
    detail.show(picked);
    redraw();
  }

  function pick(index) {
    if (index === picked) return;
    store.picked = picked = index;
    detail.show(picked);
    redraw();
  }

  function choose(name) {
    store = stores[name];
    [shown, picked] = [makeWindow(store), store.picked ?? null];
    update();
  }

  function onMove(event) {
    if (!view) return;
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const t = view.t0 + (x / view.width) * (view.t1 - view.t0);
    const lane = y < view.lanesEnd ? view.lanes[Math.floor((y - AXIS) / (LANE + GAP))] : null;
    const text = lane
      ? laneTextAt(lane, t, (3 / view.width) * (view.t1 - view.t0))
      : y >= view.lanesEnd
        ? stepTextAt(store, t)
        : "";
    if (store.steps.length) pick(stepIndexAt(store, t));
    const at = `${t.toFixed(3)} s`;
    if (text) tip.show(lane ? `#${lane.id} at ${at}\n${text}` : `at ${at}\n${text}`, event.clientX, event.clientY);
    else tip.hide();
    if (event.buttons === 1 && event.movementX) {
      shown.move(-event.movementX / view.width);
      redraw();
    }
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "BUTTON") return;
    const act = { ArrowLeft: () => shown.move(-0.15), ArrowRight: () => shown.move(0.15), 0: () => shown.last(null) }[
      event.key
    ];
    const zoom = { "+": 1 / 1.6, "=": 1 / 1.6, "-": 1.6 }[event.key];
    if (!act && !zoom) return;
    if (zoom) shown.zoom(zoom);
    else act();
    redraw();
    event.preventDefault();
    event.stopPropagation(); // the notebook would move to another cell
  }

  head.append(
    batching.group,
    makeControls(() => shown, redraw),
  );
  canvas.addEventListener("pointermove", onMove);
  canvas.addEventListener("pointerleave", tip.hide);
  body.addEventListener("keydown", onKey);
  const resizes = new ResizeObserver(redraw);
  const themes = new MutationObserver(redraw);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  themes.observe(document.body, { attributes: true });
  scheme.addEventListener("change", redraw);
  el.append(root);
  resizes.observe(canvas);
  const entry = { update };
  for (const each of Object.values(stores)) each.views.add(entry);
  update();
  return () => {
    for (const each of Object.values(stores)) each.views.delete(entry);
    resizes.disconnect();
    themes.disconnect();
    scheme.removeEventListener("change", redraw);
    cancelAnimationFrame(frame);
    root.remove();
  };
}

// ---- The widget --------------------------------------------------------------------------------------------------

export default () => {
  const stores = { recorded: makeStore(), computed: makeStore() };

  function initialize(model) {
    for (const store of Object.values(stores)) store.limits = model.get("limits") ?? {};
    let isAsking = false;
    const ask = () => {
      if (!isAsking) model.send({ type: "hello" });
      isAsking = true;
    };
    model.on("msg:custom", (message) => {
      if (message?.type === "computed") take(stores.computed, { seq: 0, reset: true, rows: message.rows });
      if (message?.type !== "rows") return;
      if (take(stores.recorded, message)) isAsking = false;
      else ask();
    });
    ask();
  }

  return makeWidget((_model, el) => mount(stores, el), initialize);
};
