// The token strip. A store per widget model holds what the kernel sent; any number of views show it. Model output is
// untrusted: text nodes only.

import { make, makeWidget, STATES } from "./common.js";
import { KINDS, makeText, makeToken } from "./strip_text.js";
import { makePointer, makeTip } from "./strip_tip.js";

const STOP_HELP =
  "Stops this generation. It works while the kernel is free, so for cells that run in the background. While a cell is " +
  "running its clicks wait: stop that cell with the kernel's interrupt (the ■ of the toolbar, or I twice).";
const TOGGLES = [
  ["rejected", "rejected tokens", true],
  ["marks", "marks", true],
  ["mono", "monospace", false],
];

// ---- What the kernel sent ----------------------------------------------------------------------------------------

function makeStore() {
  const counts = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, 0]));
  const shown = { scroll: null, isFollowing: true, isUnfolded: false }; // kept when the output is drawn anew
  return { tokens: [], rounds: new Map(), counts, head: null, have: 0, skipped: 0, views: new Set(), ...shown };
}

/** Take a delta or a snapshot; false where rows between what we have and its start are missing. */
function take(store, { start, rows, head }, isSnapshot) {
  if (start > store.have) {
    if (!isSnapshot) return false;
    store.skipped = start - store.have;
    store.have = start;
  }
  for (const row of rows.slice(store.have - start)) {
    if (row[0] === "R") store.rounds.set(row[1], row);
    else if (KINDS[row[0]]) {
      store.tokens.push(row);
      store.counts[row[0]] += 1;
    }
  }
  store.have = Math.max(store.have, start + rows.length);
  // An answer to a late view may be older than what was sent since.
  if (!store.head?.final) store.head = head;
  for (const view of store.views) view.update();
  return true;
}

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

function makeHeader(store, stop) {
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
      if (!store.head?.final)
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
    const head = store.head ?? { state: "waiting" };
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
    if (head.tok_s) items.push(number(head.tok_s.toFixed(1), "tok/s", "Tokens generated per second, after the first"));
    if (typeof head.acceptance === "number")
      items.push(
        number(
          `${Math.round(100 * head.acceptance)} %`,
          "accepted",
          "Acceptance rate: draft tokens accepted, of those drafted",
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
    button.hidden = Boolean(head.final);
    if (head.final) hint.textContent = "";
  }

  return { bar, hint, update };
}

function makeFooter(store, root) {
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

  function update() {
    const seen = items.filter(({ kind }) => store.counts[kind]);
    for (const { kind, count } of seen) count.textContent = store.counts[kind].toLocaleString("en");
    if (legend.childElementCount !== seen.length) legend.replaceChildren(...seen.map(({ item }) => item));
  }

  return { foot, update };
}

// ---- One view ----------------------------------------------------------------------------------------------------

/** Show the store in `el`; returns how to take the view away. */
function mount(store, el, stop) {
  const root = make("div", "exsa exsa-strip mathjax_ignore tex2jax_ignore");
  const text = makeText(store);
  const tip = makeTip();
  const header = makeHeader(store, stop);
  const footer = makeFooter(store, root);
  const note = make("div", "exsa-note");
  const summary = make("div", "exsa-summary");
  summary.setAttribute("role", "status");
  root.append(header.bar, header.hint, note, text.fold, text.box, footer.foot, summary, tip.tip);
  const release = makePointer(store, text, tip);

  const view = {
    update() {
      header.update();
      text.update();
      footer.update();
      const skipped = store.skipped ? `The first ${store.skipped.toLocaleString("en")} entries are not kept.` : "";
      note.textContent = [store.head?.notes, skipped].filter(Boolean).join(" ");
      summary.textContent = store.head?.summary ?? "";
      root.classList.toggle("running", !store.head?.final);
    },
  };
  el.append(root);
  view.update();
  if (store.scroll !== null) text.box.scrollTop = store.scroll;
  store.views.add(view);
  return () => {
    store.views.delete(view);
    release();
    text.release();
    root.remove();
  };
}

/** Show a recorded run, `{ rows, head }`, without a kernel. */
export function mountStrip(run, el) {
  const store = makeStore();
  take(store, { start: 0, rows: run.rows, head: run.head }, true);
  return mount(store, el, () => {});
}

// ---- The widget --------------------------------------------------------------------------------------------------

export default () => {
  const store = makeStore();

  function initialize(model) {
    const takeSnapshot = () => {
      const snapshot = model.get("snapshot");
      if (snapshot?.rows) take(store, snapshot, true);
    };
    model.on("change:snapshot", takeSnapshot);
    model.on("msg:custom", (message) => {
      if (message?.type === "delta" && !take(store, message, false)) model.send({ type: "hello", have: store.have });
    });
    takeSnapshot();
  }

  return makeWidget((model, el) => mount(store, el, () => model.send({ type: "stop" })), initialize);
};
