// The token strip. A store per widget model holds what the kernel sent; any number of views show it, in a widget
// output or in place of an <exsa-strip> element of a static output. Model output is untrusted: text nodes only.

const KINDS = {
  t: ["target", "decoded by the target, nothing was drafted here"],
  a: ["accepted", "drafted, and accepted by the target"],
  b: ["bonus", "the target's extra token after a draft that was accepted whole"],
  r: ["resampled", "the target's token in place of a refused draft token"],
  x: ["refused", "drafted, tested against the target and refused"],
  d: ["discarded", "drafted after a refused token or after the end of the text, so never used"],
};
const STATES = { waiting: "○", running: "◐", finished: "●", cancelled: "■", failed: "▲" };
const STOP_HELP =
  "Stops this generation. It works while the kernel is free, so for cells that run in the background. While a cell is " +
  "running its clicks wait: stop that cell with the kernel's interrupt (the ■ of the toolbar, or I twice).";
const CHUNK_TOKENS = 200; // a chunk ends at the first line break after so many tokens
const MAX_CHUNK_TOKENS = 3000; // and here without one, so that no block grows without bound
const TOGGLES = [
  ["rejected", "rejected tokens", true],
  ["marks", "marks", true],
  ["mono", "monospace", false],
];

function make(tag, className, text) {
  const el = document.createElement(tag);
  if (className) el.className = className;
  if (text !== undefined) el.textContent = text;
  return el;
}

/** A piece of text with the mark of its kind. */
function makeToken(kind, text) {
  const node = make("span", `exsa-tok ${kind}`);
  if ("xd".includes(kind)) node.append(make("s", "", text));
  else node.textContent = text;
  return node;
}

// ---- What the kernel sent ----------------------------------------------------------------------------------------

function makeStore() {
  const counts = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, 0]));
  return { tokens: [], rounds: new Map(), counts, head: null, have: 0, skipped: 0, scroll: null, views: new Set() };
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

// ---- The text ----------------------------------------------------------------------------------------------------

/** Appends tokens to a scrolling box, in chunks the browser can skip while they are out of sight. */
function makeText(store) {
  const box = make("div", "exsa-text");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Generated text. Arrow keys move from token to token.");
  box.dir = "auto";
  const nodes = []; // index in store.tokens -> element
  const rounds = new Map(); // round -> its elements
  let chunk = null;
  let inChunk = 0;
  let isFollowing = true; // the end of the text, until the reader scrolls up
  let lastTop = 0;

  box.addEventListener(
    "scroll",
    () => {
      const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
      if (isAtEnd || box.scrollTop < lastTop) isFollowing = isAtEnd;
      lastTop = store.scroll = box.scrollTop;
    },
    { passive: true },
  );

  function follow() {
    if (isFollowing) box.scrollTop = box.scrollHeight;
  }

  function add(row) {
    const [kind, , ownText, , , , round] = row;
    const isRejected = "xd".includes(kind);
    const text = isRejected ? ownText.replaceAll("\n", "↵") : ownText; // a line that was never broken stays whole
    // The space before a word stays outside of the mark: words are underlined, not the gaps between them.
    const lead = text.trim() ? text.length - text.trimStart().length : 0;
    const node = makeToken(kind, text.slice(lead));
    if (!text) node.classList.add("empty");
    else if (/^\n+$/.test(text)) {
      node.classList.add("newline");
      node.dataset.sign = "↵".repeat(text.length);
    }
    node.exsaIndex = nodes.length;
    node.tabIndex = nodes.length ? -1 : 0;
    nodes.push(node);
    if (rounds.has(round)) rounds.get(round).push(node);
    else rounds.set(round, [node]);
    // The space of a rejected token has to vanish with it.
    if (isRejected) node.prepend(text.slice(0, lead));
    else chunk.append(text.slice(0, lead));
    chunk.append(node);
    inChunk += 1;
    if ((inChunk >= CHUNK_TOKENS && text.endsWith("\n")) || inChunk >= MAX_CHUNK_TOKENS) {
      chunk.classList.add("full"); // only now may the browser skip it: an open one would jump to an estimated height
      chunk = null;
    }
  }

  function update() {
    if (nodes.length === store.tokens.length) return;
    for (const row of store.tokens.slice(nodes.length)) {
      if (!chunk) {
        chunk = box.appendChild(make("div", "exsa-chunk"));
        inChunk = 0;
      }
      add(row);
    }
    if (!store.head.final) {
      follow();
      // Chunks that come into sight now have their true height only after the next frame.
      requestAnimationFrame(() => requestAnimationFrame(follow));
    }
  }

  return { box, nodes, rounds, update };
}

// ---- The tooltip -------------------------------------------------------------------------------------------------

function probability(value) {
  if (value === null || value === undefined) return "–";
  return value > 0 && value < 0.001 ? value.toExponential(1) : value.toFixed(3);
}

/** Why it was decided so, in words; empty where there is nothing to add. */
function reasonOf([kind, , , p, q, u]) {
  if (kind === "d") return "never tested";
  if (kind !== "a" && kind !== "x") return "";
  if (u === null) return kind === "a" ? "the target's own first choice" : "not the target's first choice";
  if (!q) return "";
  const ratio = p / q;
  if (ratio >= 1) return "p ≥ q, so always accepted";
  return `${kind === "a" ? "u < p/q" : "u ≥ p/q"} = ${ratio.toFixed(3)}`;
}

function describe(row, round) {
  const [kind, id, text, p, q, u, number] = row;
  const [name, meaning] = KINDS[kind];
  const [, , k, accepted, ms, time, , drafter, sequences] = round ?? [];
  const shared = sequences > 1 ? `, step shared by ${sequences}` : "";
  const by = drafter && k ? `, drafter ${drafter}` : "";
  const lines = [`round ${number}`];
  if (round) {
    lines[0] += k ? `: ${accepted} of ${k} accepted${by}` : ": nothing drafted";
    lines.push(`took ${ms.toFixed(1)} ms${shared}, done at ${time.toFixed(2)} s`);
  }
  return { name, meaning, id, text: JSON.stringify(text), p, q, u, reason: reasonOf(row), lines };
}

function makeTip() {
  const tip = make("div", "exsa-tip");
  tip.setAttribute("role", "tooltip");
  tip.popover = "manual"; // the top layer: no output area clips it

  function bar(label, value, kind) {
    const line = make("div", "exsa-tip-bar");
    line.append(make("span", "", label), make("b", "", probability(value)));
    const track = line.appendChild(make("i"));
    track.appendChild(make("i", kind)).style.width = `${100 * Math.min(1, value ?? 0)}%`;
    return line;
  }

  function fill(row, about) {
    const title = make("div", "exsa-tip-title");
    title.append(make("b", "", about.text), make("span", "", `id ${about.id}`));
    const kind = make("div", "exsa-tip-kind");
    kind.append(makeToken(row[0], about.name), ` ${about.meaning}`);
    const parts = [title, kind];
    if (about.p !== null) parts.push(bar("p target", about.p, "p"));
    if (about.q !== null) parts.push(bar("q draft", about.q, "q"));
    if (about.u !== null) parts.push(bar("u drawn", about.u, "u"));
    if (about.reason) parts.push(make("div", "exsa-tip-reason", about.reason));
    parts.push(make("div", "exsa-tip-round", about.lines.join("\n")));
    tip.replaceChildren(...parts);
  }

  function place(node) {
    const at = [...node.getClientRects()].at(-1);
    if (!at) return hide();
    const { offsetWidth: width, offsetHeight: height } = tip;
    const fitsBelow = at.bottom + 8 + height < innerHeight;
    tip.style.left = `${Math.max(8, Math.min(at.left - 12, innerWidth - width - 8))}px`;
    tip.style.top = `${fitsBelow ? at.bottom + 8 : Math.max(8, at.top - height - 8)}px`;
  }

  function show(node, row, about) {
    fill(row, about);
    tip.showPopover?.();
    tip.classList.add("shown");
    place(node);
  }

  function hide() {
    if (tip.isConnected) tip.hidePopover?.();
    tip.classList.remove("shown");
  }

  return { tip, show, hide };
}

/** Connects mouse and keyboard to the tooltip: one token at a time, with the others of its round lightly marked. */
function makePointer(store, text, { show, hide }) {
  let current = null;
  let tabStop = null;

  function leave() {
    hide();
    if (!current) return;
    for (const node of text.rounds.get(store.tokens[current.exsaIndex][6])) node.classList.remove("round", "current");
    current = null;
  }

  function enter(node) {
    if (node === current) return;
    leave();
    current = node;
    const row = store.tokens[node.exsaIndex];
    for (const other of text.rounds.get(row[6])) other.classList.add("round");
    node.classList.add("current");
    show(node, row, describe(row, store.rounds.get(row[6])));
  }

  const tokenOf = (event) => event.target.closest?.(".exsa-tok");

  function onFocus(event) {
    const node = tokenOf(event);
    if (!node) return;
    (tabStop ?? text.nodes[0]).tabIndex = -1;
    tabStop = node;
    node.tabIndex = 0;
    const about = describe(store.tokens[node.exsaIndex], store.rounds.get(store.tokens[node.exsaIndex][6]));
    const numbers = ["p", "q", "u"].filter((n) => about[n] !== null).map((n) => `${n} ${probability(about[n])}`);
    node.setAttribute("role", "note");
    node.ariaLabel = [`${about.name} token ${about.text}`, ...numbers, about.reason, ...about.lines].filter(Boolean).join(", ");
    enter(node);
  }

  function onBlur(event) {
    tokenOf(event)?.removeAttribute("role");
    tokenOf(event)?.removeAttribute("aria-label");
    leave();
  }

  const isShown = (node) => node.getClientRects().length > 0;

  function step(from, by) {
    let index = from + by;
    while (text.nodes[index] && !isShown(text.nodes[index])) index += by;
    return text.nodes[index];
  }

  /** The token of the next line (by = 1) or the one before (by = -1) that stands nearest below or above. */
  function stepLine(node, by) {
    const from = node.getBoundingClientRect();
    let best = null;
    let lineTop = null;
    for (let next = step(node.exsaIndex, by); next; next = step(next.exsaIndex, by)) {
      const at = next.getBoundingClientRect();
      if (Math.abs(at.bottom - from.bottom) < 8) continue;
      lineTop ??= at.bottom;
      if (Math.abs(at.bottom - lineTop) > 8) break;
      if (!best || Math.abs(at.left - from.left) < Math.abs(best.getBoundingClientRect().left - from.left)) best = next;
    }
    return best;
  }

  function onKey(event) {
    const node = tokenOf(event);
    if (!node || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && current) leave();
    else {
      const index = node.exsaIndex;
      const moves = {
        ArrowRight: () => step(index, 1),
        ArrowLeft: () => step(index, -1),
        ArrowDown: () => stepLine(node, 1),
        ArrowUp: () => stepLine(node, -1),
        Home: () => step(-1, 1),
        End: () => step(text.nodes.length, -1),
      };
      if (!moves[event.key]) return;
      moves[event.key]()?.focus();
    }
    // The notebook would move to another cell.
    event.preventDefault();
    event.stopPropagation();
  }

  text.box.addEventListener("mouseover", (event) => (tokenOf(event) ? enter(tokenOf(event)) : leave()));
  text.box.addEventListener("mouseleave", leave);
  text.box.addEventListener("focusin", onFocus);
  text.box.addEventListener("focusout", onBlur);
  text.box.addEventListener("keydown", onKey);
  const onScroll = () => current && leave();
  document.addEventListener("scroll", onScroll, { capture: true, passive: true });
  return () => {
    leave();
    document.removeEventListener("scroll", onScroll, { capture: true });
  };
}

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
      if (!store.head?.final) hint.textContent = "Still running: the kernel is busy with a cell. Interrupt the kernel to stop it now.";
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
    if (head.tok_s) items.push(number(head.tok_s.toFixed(1), "tok/s", "Tokens generated per second, after the first"));
    if (typeof head.acceptance === "number")
      items.push(number(`${Math.round(100 * head.acceptance)} %`, "accepted", "Acceptance rate: draft tokens accepted, of those drafted"));
    if (head.per_round) items.push(number(head.per_round.toFixed(2), "tok/round", "Tokens per round: what one pass of the target yields"));
    if (typeof head.k === "number" && !head.final)
      items.push(number(head.k, "k now", `Draft length of the last round: ${head.reason}`));
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
  const root = make("div", "exsa-strip mathjax_ignore tex2jax_ignore");
  const text = makeText(store);
  const tip = makeTip();
  const header = makeHeader(store, stop);
  const footer = makeFooter(store, root);
  const note = make("div", "exsa-note");
  const summary = make("div", "exsa-summary");
  summary.setAttribute("role", "status");
  root.append(header.bar, header.hint, note, text.box, footer.foot, summary, tip.tip);
  const release = makePointer(store, text, tip);

  const view = {
    update() {
      header.update();
      text.update();
      footer.update();
      note.textContent = store.skipped ? `The first ${store.skipped.toLocaleString("en")} entries are not kept.` : "";
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
    root.remove();
  };
}

// ---- Static outputs of this page that have a live widget --------------------------------------------------------

/** The page's strips by id. Shared by all copies of this module, since each widget loads its own. */
const strips = (globalThis[Symbol.for("exsa_lab.strips")] ??= { mounts: new Map(), elements: new Set() });

function registerElement() {
  if (customElements.get("exsa-strip")) return;
  // Without this definition (no kernel, no script) the element just shows its children: the static view.
  class ExsaStrip extends HTMLElement {
    connectedCallback() {
      strips.elements.add(this);
      this.connect();
    }
    disconnectedCallback() {
      strips.elements.delete(this);
      this.disconnect();
    }
    connect() {
      const mountLive = strips.mounts.get(this.dataset.strip);
      if (!mountLive || this.unmount) return;
      for (const child of this.children) child.hidden = true;
      this.unmount = mountLive(this);
    }
    disconnect() {
      this.unmount?.();
      this.unmount = null;
      for (const child of this.children) child.hidden = false;
    }
  }
  customElements.define("exsa-strip", ExsaStrip);
}

function elementsOf(id) {
  return [...strips.elements].filter((element) => element.dataset.strip === id);
}

// ---- The widget --------------------------------------------------------------------------------------------------

export default () => {
  const store = makeStore();
  let stop = () => {};

  function initialize({ model }) {
    stop = () => model.send({ type: "stop" });
    const takeSnapshot = () => {
      const snapshot = model.get("snapshot");
      if (snapshot?.rows) take(store, snapshot, true);
    };
    model.on("change:snapshot", takeSnapshot);
    model.on("msg:custom", (message) => {
      if (message?.type === "delta" && !take(store, message, false)) model.send({ type: "hello", have: store.have });
    });
    takeSnapshot();
    registerElement();
    const id = model.get("strip_id");
    strips.mounts.set(id, (el) => mount(store, el, stop));
    for (const element of elementsOf(id)) element.connect();
    return () => {
      strips.mounts.delete(id);
      for (const element of elementsOf(id)) element.disconnect();
    };
  }

  return { initialize, render: ({ el }) => mount(store, el, () => stop()) };
};
