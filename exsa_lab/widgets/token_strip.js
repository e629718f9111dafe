// The token strip. A family of stores per widget model holds what the kernel sent; any number of views show it. Model
// output is untrusted: text nodes only.

import { make, makeWidget, STATES } from "./common.js";
import { makeHeatChoice } from "./strip_heat.js";
import { makePointer } from "./strip_pointer.js";
import { makeRejectedChoice } from "./strip_runs.js";
import { makeFamily, takeDelta, takeSnapshot } from "./strip_store.js";
import { makeTabs } from "./strip_tabs.js";
import { KINDS, makeText, makeToken } from "./strip_text.js";
import { makeTip } from "./strip_tip.js";

const STOP_HELP =
  "Stops this generation. It works while the kernel is free, so for cells that run in the background. While a cell is " +
  "running its clicks wait: stop that cell with the kernel's interrupt (the ■ of the toolbar, or I twice).";
const TOGGLES = [
  ["marks", "marks", true],
  ["mono", "monospace", false],
  ["whole", "whole text", false],
];

// ---- Settings, remembered by the browser -----------------------------------------------------------------------

const settings = {
  get(name, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`exsa_lab.strip.${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`exsa_lab.strip.${name}`, JSON.stringify(value));
    } catch {
      // Private windows may refuse; the setting then lasts as long as the view.
    }
  },
};

// ---- Header and footer -------------------------------------------------------------------------------------------

/** `current()` is the store of the text that is shown. */
function makeHeader(current, stop) {
  const bar = make("div", "exsa-head");
  const state = bar.appendChild(make("span", "exsa-state"));
  const numbers = bar.appendChild(make("span", "exsa-numbers"));
  const button = bar.appendChild(make("button", "exsa-stop", "Stop"));
  button.type = "button";
  button.title = STOP_HELP;
  const hint = make("div", "exsa-hint");
  hint.setAttribute("role", "status");
  button.addEventListener("click", () => {
    button.disabled = true;
    button.textContent = "Stopping";
    stop();
    setTimeout(() => {
      if (!current().head?.final)
        hint.textContent = "Still running: the kernel is busy with a cell. Interrupt the kernel to stop it now.";
    }, 1500);
  });

  function number(value, unit, title) {
    const item = make("span");
    item.title = title;
    item.append(make("b", "", value), ` ${unit}`);
    return item;
  }

  function update() {
    const head = current().head ?? { state: "waiting" };
    state.replaceChildren(make("i", "", STATES[head.state] ?? "○"), ` ${head.state}`);
    bar.dataset.state = head.state;
    const items = [];
    if (head.prefill) items.push(number(`${head.prefill[0]} of ${head.prefill[1]}`, "prompt tokens read", "Prefill"));
    if (head.cached)
      items.push(
        number(
          `${head.cached[0]} of ${head.cached[1]}`,
          "cached",
          "Prompt tokens that were found in the prefix cache, so that they need not be computed",
        ),
      );
    if (head.tok_s) {
      const unit = head.sure ? `tok/s (${head.sure})` : "tok/s";
      items.push(number(head.tok_s.toFixed(1), unit, "Tokens generated per second, after the first"));
    }
    if (head.drafted)
      items.push(
        number(
          `${head.drafted[0]} of ${head.drafted[1]}`,
          "drafted accepted",
          `Acceptance rate: ${Math.round(100 * head.acceptance)} % of the draft tokens`,
        ),
      );
    if (head.per_round)
      items.push(
        number(head.per_round.toFixed(2), "tok/round", "Tokens per round: what one pass of the target yields"),
      );
    if (typeof head.k === "number" && !head.final)
      items.push(number(`k = ${head.k}`, "now", `Draft length of the last round: ${head.reason}`));
    if (head.generated) items.push(number(head.generated.toLocaleString("en"), "tokens", "Tokens generated"));
    if (head.ttft_s) items.push(number(`${head.ttft_s.toFixed(2)} s`, "TTFT", "Time to first token, from submission"));
    numbers.replaceChildren(...items);
    button.hidden = Boolean(head.final) || !stop;
    if (button.disabled && head.final) hint.textContent = "";
    if (head.final) {
      button.disabled = false;
      button.textContent = "Stop";
    }
  }

  return { bar, hint, update };
}

function makeFooter(current, root, onHeat) {
  const foot = make("div", "exsa-foot");
  const legend = foot.appendChild(make("div", "exsa-legend"));
  const items = Object.entries(KINDS).map(([kind, [name, meaning]]) => {
    const item = make("span", "exsa-key");
    item.title = meaning;
    const count = make("b");
    item.append(makeToken(kind, name), " ", count);
    return { kind, item, count };
  });
  const toggles = foot.appendChild(make("div", "exsa-toggles"));
  const setRejected = (mode) => settings.set("rejected", mode);
  toggles.append(makeRejectedChoice(settings.get("rejected", "marks"), root, setRejected));
  for (const [name, label, otherwise] of TOGGLES) {
    const field = toggles.appendChild(make("label"));
    const input = field.appendChild(make("input"));
    input.type = "checkbox";
    input.checked = settings.get(name, otherwise);
    field.append(` ${label}`);
    const apply = () => root.classList.toggle(`show-${name}`, input.checked);
    input.addEventListener("change", () => {
      settings.set(name, input.checked);
      apply();
    });
    apply();
  }
  const heat = makeHeatChoice(
    settings.get("heat", "none"),
    () => current().hasEntropy,
    (mode) => {
      settings.set("heat", mode);
      onHeat(mode);
    },
  );
  toggles.append(heat.field);
  foot.append(heat.scale);

  function update() {
    const { counts } = current();
    const seen = items.filter(({ kind }) => counts[kind]);
    for (const { kind, count } of seen) count.textContent = counts[kind].toLocaleString("en");
    const shown = [...legend.children];
    if (shown.length !== seen.length || seen.some(({ item }, at) => item !== shown[at]))
      legend.replaceChildren(...seen.map(({ item }) => item));
    heat.update();
  }

  return { foot, update, mode: heat.mode };
}

// ---- One view ----------------------------------------------------------------------------------------------------

const WAITING_MS = 1500;
const WAITING = "The kernel is busy with a cell: the branch begins when that is over.";

/** Asking for branches: `send` reaches the kernel, `hint` shows what became of it. */
function makeBranching(family, send, hint, onBegun) {
  let expected = null; // how many texts there are once the branch is there
  const ask = (position, token) => {
    expected = family.stores.length + 1;
    const wanted = expected;
    send({ type: "branch", strand: family.shown, position, token });
    hint.textContent = "Branching …";
    setTimeout(() => {
      if (expected === wanted) hint.textContent = WAITING;
    }, WAITING_MS);
  };
  const settle = () => {
    if (expected === null || family.stores.length < expected) return;
    const begun = expected - 1;
    expected = null; // it is shown now, which comes back here
    hint.textContent = `Branch ${begun} begins.`;
    onBegun(begun);
  };
  const giveUp = () => {
    if (expected !== null) hint.textContent = "";
    expected = null;
  };
  return { ask, settle, giveUp };
}

/** Show the family in `el`; returns how to take the view away. `send` is null where there is no kernel. */
function mount(family, el, send) {
  const root = make("div", "exsa exsa-strip mathjax_ignore tex2jax_ignore");
  const current = () => family.stores[family.shown];
  const header = makeHeader(current, send && (() => send({ type: "stop", strand: family.shown })));
  const tip = makeTip();
  const tabs = makeTabs(family, select);
  const place = make("div", "exsa-pane");
  const footer = makeFooter(current, root, recolour);
  const note = make("div", "exsa-note");
  const summary = make("div", "exsa-summary");
  summary.setAttribute("role", "status");
  root.append(header.bar, header.hint, note, tabs.bar, place, footer.foot, summary, tip.tip);
  const branching = makeBranching(family, send, header.hint, (number) => {
    select(number);
    tabs.focus();
  });
  const panes = new Map(); // number of a text -> what shows it

  function paneOf(number) {
    if (!panes.has(number)) {
      const store = family.stores[number];
      const text = makeText(store, footer.mode());
      panes.set(number, { text, store, release: makePointer(store, text, tip, send && branching.ask) });
    }
    return panes.get(number);
  }

  function showPane() {
    const { text, store } = paneOf(family.shown);
    place.replaceChildren(text.fold, text.box);
    text.update();
    if (store.scroll !== null) text.box.scrollTop = store.scroll;
  }

  function select(number) {
    family.shown = number;
    for (const view of family.views) view.change();
  }

  function recolour(mode) {
    root.classList.toggle("heat", mode !== "none");
    for (const { text } of panes.values()) text.recolour(mode);
  }

  const view = {
    update() {
      branching.settle();
      header.update();
      tabs.update();
      paneOf(family.shown).text.update();
      footer.update();
      const { skipped, head } = current();
      const missing = skipped ? `The first ${skipped.toLocaleString("en")} entries are not kept.` : "";
      note.textContent = [head?.notes, missing].filter(Boolean).join(" ");
      summary.textContent = head?.summary ?? "";
      root.classList.toggle("running", !head?.final);
    },
    change() {
      showPane();
      view.update();
    },
    giveUp: branching.giveUp,
  };
  el.append(root);
  recolour(footer.mode());
  showPane();
  view.update();
  family.views.add(view);
  return () => {
    family.views.delete(view);
    for (const { text, release } of panes.values()) {
      release();
      text.release();
    }
    root.remove();
  };
}

/** Show a recorded run, `{ rows, head }`, without a kernel. */
export function mountStrip(run, el) {
  const family = makeFamily();
  takeSnapshot(family, { start: 0, rows: run.rows, head: run.head });
  return mount(family, el, null);
}

// ---- The widget --------------------------------------------------------------------------------------------------

export default () => {
  const family = makeFamily();

  function initialize(model) {
    const take = () => {
      const snapshot = model.get("snapshot");
      if (snapshot?.rows) takeSnapshot(family, snapshot);
    };
    model.on("change:snapshot", take);
    model.on("change:problem", () => family.views.forEach((view) => view.giveUp()));
    model.on("msg:custom", (message) => {
      const missing = message?.type === "delta" ? takeDelta(family, message) : null;
      if (missing) model.send({ type: "hello", ...missing });
    });
    take();
  }

  return makeWidget((model, el) => mount(family, el, (message) => model.send(message)), initialize);
};
