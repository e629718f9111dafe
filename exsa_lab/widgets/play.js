// The playground. The page computes the chain from logits that the kernel read (play_chain.js); what comes next is
// chosen here and read there. Texts are model output and untrusted: text nodes only.

import { make, makeWidget, probability } from "./common.js";
import { readPlace, rowsOf } from "./play_chain.js";
import { branchesOf, followerOf, pathTo } from "./play_tree.js";
import { bindSlider } from "./slider.js";

const ROWS = 14;
const TOP_KS = [0, 1, 2, 3, 5, 10, 20, 40, 60, 100];
const KEYS = "Left and right arrow: one token back or on. Up and down: another token. Enter: choose it.";

const quote = (text) => `“${text.replaceAll("\n", "↵")}”`;
const bitsOf = (node) => `${node.bits.toFixed(2)} bits`;
const visibleBlank = (text) => text.replaceAll("\n", "↵\n");

function chainOf(model) {
  const number = (name) => Number(model.get(name)) || 0;
  return {
    temperature: number("temperature"),
    top_k: number("top_k"),
    top_p: number("top_p"),
    min_p: number("min_p"),
  };
}

function makeChain(model) {
  const upTo = (value) => (value > TOP_KS.at(-1) ? TOP_KS.length - 1 : TOP_KS.findLastIndex((k) => k <= value));
  const share = (value, off) => (value === off ? "off" : value.toFixed(2));
  return [
    bindSlider(model, "temperature", { label: "temperature", min: 0, max: 2, step: 0.05, show: (t) => t.toFixed(2) }),
    bindSlider(model, "top_k", {
      label: "top-k",
      min: 0,
      max: TOP_KS.length - 1,
      step: 1,
      show: (index) => (index ? String(TOP_KS[index]) : "off"),
      toModel: (index) => TOP_KS[index],
      toSlider: upTo,
    }),
    bindSlider(model, "top_p", { label: "top-p", min: 0.05, max: 1, step: 0.01, show: (p) => share(p, 1) }),
    bindSlider(model, "min_p", { label: "min-p", min: 0, max: 0.5, step: 0.01, show: (p) => share(p, 0) }),
  ];
}

/** Calls `act` once after all that changes together has changed. */
function atOnce(act) {
  let isDue = false;
  return () => {
    if (isDue) return;
    isDue = true;
    queueMicrotask(() => {
      isDue = false;
      act();
    });
  };
}

// ---- The text ----------------------------------------------------------------------------------------------------

/** One token of the text: a button that looks at the place before it; its bar is its surprisal. */
function makeToken(node, longest, isAhead, look) {
  const token = make("button", `exsa-pl-token${isAhead ? " ahead" : ""}`);
  token.type = "button";
  token.append(make("span", "", visibleBlank(node.text)));
  const bar = token.appendChild(make("i"));
  bar.style.height = `${Math.min(16, (16 * node.bits) / longest)}px`;
  token.title = token.ariaLabel = `${quote(node.text)}, ${bitsOf(node)}: look at the place before it`;
  token.addEventListener("click", () => look(node.parent));
  return token;
}

function showText(box, model, nodes, look) {
  const path = pathTo(nodes, model.get("tip"));
  const at = model.get("at");
  const longest = Math.max(8, ...path.map(({ bits }) => bits));
  const parts = [make("div", "exsa-pl-prompt", model.get("prompt_text"))];
  let isAhead = at === 0;
  const cursor = make("b", "exsa-pl-cursor", "▮");
  cursor.ariaLabel = "the place shown below";
  if (isAhead) parts.push(cursor);
  for (const node of path) {
    parts.push(makeToken(node, longest, isAhead, look));
    if (node.id === at) {
      isAhead = true;
      parts.push(cursor);
    }
  }
  box.replaceChildren(...parts);
  // What is looked at must be seen; scrollIntoView would move the page, too.
  box.scrollTop = cursor.offsetTop - box.clientHeight + 2 * cursor.offsetHeight;
}

function showBranches(box, model, nodes, look) {
  const branches = branchesOf(nodes);
  box.hidden = branches.length < 2;
  box.replaceChildren(
    make("span", "", "branches: "),
    ...branches.map((leaf, number) => {
      const path = pathTo(nodes, leaf);
      const words = path.map(({ text }) => text).join("");
      const button = make("button", "", `${number + 1}: ${words.length > 32 ? `…${words.slice(-32)}` : words}`);
      button.type = "button";
      button.ariaPressed = String(leaf === model.get("tip"));
      button.title = `${path.length} tokens, ${(path.reduce((sum, { bits }) => sum + bits, 0) / path.length).toFixed(2)} bits each`;
      button.addEventListener("click", () => look(leaf, leaf));
      return button;
    }),
  );
}

// ---- The place ---------------------------------------------------------------------------------------------------

function makeBar(className, value, most, part, partClass) {
  const track = make("i", `exsa-pl-bar ${className}`);
  track.style.width = `${(100 * value) / most}%`;
  if (part !== undefined && value > 0) {
    const inner = track.appendChild(make("i", partClass));
    inner.style.width = `${(100 * part) / value}%`;
  }
  return track;
}

/** p before the chain (hollow), p after it, and q; of the two what they have in common is solid, the rest hatched. */
function makeRow(row, most, isChosen, choose) {
  const { label, own, p, q, isCut } = row;
  const item = make("button", `exsa-pl-row${isCut ? " cut" : ""}`);
  item.type = "button";
  const common = q === null ? p : Math.min(p, q);
  const bars = make("span", "exsa-pl-bars");
  bars.append(makeBar("own", own, most), makeBar("p", p, most, common, "common"));
  if (q !== null) bars.append(makeBar("q", q, most, common, "common"));
  const after = isCut ? "cut" : probability(p);
  const numbers = [probability(own), after, ...(q === null ? [] : [probability(q)])];
  item.append(make("span", "exsa-pl-name", `${isChosen ? "✓ " : ""}${quote(label)}`), bars);
  item.append(...numbers.map((text) => make("span", "exsa-pl-number", text)));
  const draft = q === null ? "" : `, q ${probability(q)}`;
  item.ariaLabel = `${quote(label)}: p before ${numbers[0]}, after ${after}${draft}${isChosen ? ", chosen" : ""}`;
  item.addEventListener("click", () => choose(row.id));
  return item;
}

function makeOthers(place, rows, vocabulary) {
  const left = (name) => {
    const rest = 1 - rows.reduce((sum, row) => sum + row[name], 0);
    return rest < 1e-9 ? 0 : rest; // less is rounding
  };
  const item = make("div", "exsa-pl-row others");
  const numbers = [left("own"), left("p"), ...(place.draft ? [left("q")] : [])];
  item.append(make("span", "exsa-pl-name", `${(vocabulary - rows.length).toLocaleString("en")} others`), make("span"));
  item.append(...numbers.map((value) => make("span", "exsa-pl-number", probability(value))));
  return item;
}

function describePlace(read, vocabulary) {
  const kept = `The chain leaves ${read.p.count.toLocaleString("en")} of ${vocabulary.toLocaleString("en")} tokens.`;
  if (!read.common) return kept;
  const { low, high } = read.common;
  const share = high - low < 0.005 ? probability((low + high) / 2) : `${probability(low)} to ${probability(high)}`;
  return `${kept} A token drawn from q is accepted with probability ${share}, the sum of min(p, q).`;
}

function makeHead(hasDraft) {
  const head = make("div", "exsa-pl-row head");
  head.append(make("span", "", "next token"), make("span"));
  for (const name of ["p before", "p after", ...(hasDraft ? ["q"] : [])])
    head.append(make("span", "exsa-pl-number", name));
  return head;
}

function makeLegend(hasDraft) {
  const legend = make("div", "exsa-pl-legend");
  const kinds = [
    ["own", "p before the chain"],
    ["p", hasDraft ? "p after it: solid is accepted, hatched is the residual" : "p after it"],
    ...(hasDraft ? [["q", "q of the draft: solid is accepted, hatched is refused"]] : []),
  ];
  for (const [kind, text] of kinds) {
    const sample = makeBar(kind, 1, 1, kind === "own" ? undefined : hasDraft ? 0.5 : 1, "common");
    sample.style.width = "28px";
    const entry = legend.appendChild(make("span"));
    entry.append(sample, text);
  }
  return legend;
}

function showPlace(box, model, place, chosen, choose) {
  const vocabulary = model.get("vocab_size");
  if (!place) {
    box.replaceChildren(make("div", "exsa-pl-none", "This place is read by the kernel when no cell is running."));
    return;
  }
  const read = readPlace(place, chainOf(model));
  const rows = rowsOf(place, read, ROWS, chosen === null ? [] : [chosen]);
  const most = Math.max(0.05, ...rows.flatMap(({ own, p, q }) => [own, p, q ?? 0]));
  const list = make("div", "exsa-pl-list");
  list.classList.toggle("with-draft", Boolean(place.draft));
  list.append(makeHead(Boolean(place.draft)), ...rows.map((row) => makeRow(row, most, row.id === chosen, choose)));
  if (rows.length < vocabulary) list.append(makeOthers(place, rows, vocabulary));
  box.replaceChildren(
    make("div", "exsa-pl-words", describePlace(read, vocabulary)),
    list,
    makeLegend(Boolean(place.draft)),
  );
}

// ---- Controls ----------------------------------------------------------------------------------------------------

function makeControls(actions, hasDraft) {
  const bar = make("div", "exsa-pl-controls");
  const button = (text, label, act) => {
    const node = bar.appendChild(make("button", "", text));
    node.type = "button";
    node.title = label;
    node.addEventListener("click", act);
  };
  button("◀ back", "One token back (left arrow)", actions.back);
  button("on ▶", "One token on, along this branch (right arrow)", actions.on);
  button("draw from p", "Draw the next token from p", actions.draw);
  if (hasDraft)
    button("draft and test", "Draw a token from q and accept it with probability min(1, p/q)", actions.propose);
  const form = bar.appendChild(make("form"));
  const input = form.appendChild(make("input"));
  Object.assign(input, { type: "text", placeholder: "go on with this text", ariaLabel: "Go on with this text" });
  const submit = form.appendChild(make("button", "", "force"));
  submit.type = "submit";
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.value) actions.force(input.value);
    input.value = "";
  });
  input.addEventListener("keydown", (event) => event.stopPropagation());
  return bar;
}

/** Keys of the whole view; a slider and the text field keep theirs. */
function listenToKeys(root, actions) {
  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const rows = [...root.querySelectorAll("button.exsa-pl-row")];
    const moves = {
      ArrowLeft: actions.back,
      ArrowRight: actions.on,
      ArrowDown: () => rows[Math.min(rows.length - 1, rows.indexOf(document.activeElement) + 1)]?.focus(),
      ArrowUp: () => rows[Math.max(0, rows.indexOf(document.activeElement) - 1)]?.focus(),
    };
    event.stopPropagation(); // the notebook has commands on single keys
    if (!moves[event.key]) return;
    event.preventDefault();
    moves[event.key]();
  });
}

function makeActions(model, nodesOf) {
  const look = (at, tip = model.get("tip")) => {
    model.set({ at, tip });
    model.save_changes();
  };
  const send = (type, value) => model.send({ type, at: model.get("at"), value });
  const next = () => followerOf(nodesOf(), model.get("at"), model.get("tip"));
  return {
    look,
    back: () => model.get("at") && look(nodesOf().get(model.get("at")).parent),
    on: () => next() && look(next().id),
    choose: (token) => (next()?.token === token ? look(next().id) : send("choose", token)),
    draw: () => send("draw"),
    propose: () => send("propose"),
    force: (text) => send("force", text),
    next,
  };
}

function mountPlayground(model, el) {
  const root = el.appendChild(make("section", "exsa exsa-play"));
  root.ariaLabel = `Playground: one token at a time. ${KEYS}`;
  root.tabIndex = 0;
  const nodesOf = () =>
    new Map(model.get("tree").map(([id, parent, token, text, bits]) => [id, { id, parent, token, text, bits }]));
  const placeOf = () => model.get("places")[model.get("at")];
  const actions = makeActions(model, nodesOf);
  const sliders = makeChain(model);
  const [text, branches, place] = ["text", "branches", "place"].map((name) => make("div", `exsa-pl-${name}`));
  const said = make("div", "exsa-pl-said");
  said.setAttribute("role", "status");
  const chain = make("div", "exsa-pl-chain");
  chain.append(...sliders.map(({ element }) => element));
  const hasDraft = Object.values(model.get("places")).some(({ draft }) => draft);
  root.append(text, branches, makeControls(actions, hasDraft), said, chain, place);

  function showHere() {
    // The rows are made anew: keep the keyboard on the one it was on, or on the first.
    const index = [...root.querySelectorAll("button.exsa-pl-row")].indexOf(document.activeElement);
    showPlace(place, model, placeOf(), actions.next()?.token ?? null, actions.choose);
    if (index >= 0) root.querySelectorAll("button.exsa-pl-row")[index]?.focus();
  }
  function show() {
    const hadFocus = text.contains(document.activeElement);
    showText(text, model, nodesOf(), actions.look);
    showBranches(branches, model, nodesOf(), actions.look);
    said.textContent = model.get("said");
    showHere();
    if (hadFocus) root.focus();
  }
  const whole = ["tree", "at", "tip", "places", "said"];
  const here = ["temperature", "top_k", "top_p", "min_p"];
  const [showAll, showChain] = [atOnce(show), atOnce(showHere)];
  for (const name of whole) model.on(`change:${name}`, showAll);
  for (const name of here) model.on(`change:${name}`, showChain);
  listenToKeys(root, actions);
  show();
  return () => {
    for (const name of whole) model.off(`change:${name}`, showAll);
    for (const name of here) model.off(`change:${name}`, showChain);
    for (const slider of sliders) slider.release();
    root.remove();
  };
}

export default () => makeWidget(mountPlayground);
