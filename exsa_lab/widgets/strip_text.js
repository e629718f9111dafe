// The token strip's text. It lies in chunks; only those near the reader consist of tokens, the others are plain text,
// which the browser need not lay out while it is out of sight. So 100,000 tokens cost little more than their letters.

import { make } from "./common.js";
import { levelOf } from "./strip_heat.js";
import { isRejected, makeRun } from "./strip_runs.js";

/** Name and meaning of each kind of token. */
export const KINDS = {
  t: ["target", "decoded by the target, nothing was drafted here"],
  a: ["accepted", "drafted, and accepted by the target"],
  b: ["bonus", "the target's extra token after a draft that was accepted whole"],
  r: ["resampled", "the target's token in place of a refused draft token"],
  f: ["forced", "nothing else could follow here, so no model was asked"],
  k: ["kept", "taken over from the text that this one branched off"],
  c: ["chosen", "put in by who branched off here"],
  x: ["refused", "drafted, tested against the target and refused"],
  d: ["discarded", "drafted after a refused token or after the end of the text, so never used"],
};
const CHUNK_TOKENS = 200; // a chunk ends at the first line break after so many tokens
const MAX_CHUNK_TOKENS = 3000; // and here without one, so that no block grows without bound
const NEAR = "800px 0px"; // how far from sight a chunk still has its tokens

/** A piece of text with the mark of its kind. */
export function makeToken(kind, text) {
  const node = make("span", `exsa-tok ${kind}`);
  if ("xd".includes(kind)) node.append(make("s", "", text));
  else node.textContent = text;
  return node;
}

/** What stands in a chunk for one token: the space before the word, and the word with its mark. */
function makeParts(row, index, mode) {
  const [kind, , ownText] = row;
  const text = isRejected(row) ? ownText.replaceAll("\n", "↵") : ownText; // a line that was never broken stays whole
  // The space before a word stays outside of the mark: words are underlined, not the gaps between them.
  const lead = text.trim() ? text.length - text.trimStart().length : 0;
  const node = makeToken(kind, text.slice(lead));
  if (!text) node.classList.add("empty");
  else if (/^\n+$/.test(text)) {
    node.classList.add("newline");
    node.dataset.sign = "↵".repeat(text.length);
  }
  node.exsaIndex = index;
  setLevel(node, row, mode);
  node.tabIndex = -1;
  // The space of a rejected token has to vanish with it.
  if (isRejected(row)) node.prepend(text.slice(0, lead));
  return isRejected(row) ? [node] : [text.slice(0, lead), node];
}

function setLevel(node, row, mode) {
  const level = levelOf(row, mode);
  if (level === null) delete node.dataset.level;
  else node.dataset.level = level;
}

export const isShown = (node) => node.getClientRects().length > 0;

function isSelected(el) {
  const selection = getSelection();
  return selection?.type === "Range" && selection.getRangeAt(0).intersectsNode(el);
}

/** The scrolling box of a store's text. `nodeAt(index)` is the element of a token, made where it was plain text; `heat`
 *  is what colours mean, and `recolour(heat)` changes that. */
export function makeText(store, heat = "none") {
  const box = make("div", "exsa-text");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Generated text. Arrow keys move from token to token.");
  box.dir = "auto";
  const fold = make("button", "exsa-fold");
  fold.type = "button";
  fold.hidden = true;
  const nodes = new Map(); // index in store.tokens -> its element, where there is one
  const chunks = []; // { el, first, last, isFull, isWarm }; tokens first..last - 1
  const near = new IntersectionObserver(onSight, { root: box, rootMargin: NEAR });
  let tabStop = null; // index of the token that the Tab key reaches
  let isHeld = false; // somebody looks at a token, which must not run away
  let lastTop = 0;
  let lastHeight = 0;

  function onSight(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) warm(target.exsaChunk);
      else cool(target.exsaChunk);
    }
    follow();
  }

  function onScroll() {
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 30;
    const isMoved = box.scrollTop < lastTop && box.scrollHeight === lastHeight; // not a chunk that found its true height
    if (isAtEnd) store.isFollowing = true;
    else if (isMoved) store.isFollowing = false;
    store.scroll = box.scrollTop;
    remember();
  }

  function remember() {
    lastTop = box.scrollTop;
    lastHeight = box.scrollHeight;
  }

  function follow() {
    if (!store.isFollowing || isHeld || store.head?.final) return;
    box.scrollTop = box.scrollHeight;
    remember();
  }

  function addNodes(chunk, from) {
    const parts = [];
    for (let index = from; index < chunk.last; index += 1) {
      const row = store.tokens[index];
      const made = makeParts(row, index, heat);
      nodes.set(index, made.at(-1));
      if (isRejected(row)) addToRun(chunk, index, parts);
      else parts.push(...made);
    }
    chunk.el.append(...parts);
  }

  /** Put a rejected token into the run that it goes on, or into a new one among `parts`. */
  function addToRun(chunk, index, parts) {
    const before = index > chunk.first ? nodes.get(index - 1).exsaRun : null;
    const run = before ?? makeRun(index, store.opened.has(index));
    if (!before) parts.push(run.el);
    run.add(nodes.get(index), store.tokens[index]);
  }

  /** Open a run of rejected tokens or fold it; returns what stands there then. */
  function toggleRun({ first, mark, open }) {
    const isOpen = !store.opened.delete(first);
    if (isOpen) store.opened.add(first);
    open(isOpen);
    return isOpen ? nodes.get(first) : mark;
  }

  function warm(chunk) {
    if (chunk.isWarm) return;
    chunk.isWarm = true;
    chunk.el.replaceChildren();
    addNodes(chunk, chunk.first);
    keepTabStop();
  }

  function cool(chunk) {
    const isCold = !chunk.isWarm && chunk.el.firstChild;
    if (isCold || chunk.el.contains(document.activeElement) || isSelected(chunk.el)) return;
    chunk.isWarm = false;
    for (let index = chunk.first; index < chunk.last; index += 1) nodes.delete(index);
    const kept = store.tokens.slice(chunk.first, chunk.last).filter((row) => !isRejected(row));
    chunk.el.textContent = kept.map(([, , text]) => text).join("");
    keepTabStop();
  }

  function setTabStop(index) {
    if (nodes.has(tabStop)) nodes.get(tabStop).tabIndex = -1;
    tabStop = index;
    nodes.get(index).tabIndex = 0;
  }

  /** Some token must be reached by the Tab key, whatever became plain text. */
  function keepTabStop() {
    if (nodes.has(tabStop)) nodes.get(tabStop).tabIndex = 0;
    else {
      const chunk = chunks.find((chunk) => chunk.isWarm && chunk.last > chunk.first);
      let first = chunk?.first;
      while (first < chunk?.last - 1 && isRejected(store.tokens[first])) first += 1; // it may be folded
      if (chunk) setTabStop(first);
    }
  }

  /** Extend the chunks over all tokens. What comes in one go is made of tokens only where it is at the end. */
  function divide() {
    const changed = [];
    for (let index = chunks.at(-1)?.last ?? 0; index < store.tokens.length; index += 1) {
      let chunk = chunks.at(-1);
      if (!chunk || chunk.isFull) {
        chunk = { el: make("div", "exsa-chunk"), first: index, last: index, isFull: false, isWarm: false };
        chunk.el.exsaChunk = chunk;
        chunks.push(chunk);
      }
      chunk.last = index + 1;
      const size = chunk.last - chunk.first;
      const isThoughtsEnd = chunk.last === store.head?.thought?.rows; // it is folded with the chunks before it
      chunk.isFull =
        isThoughtsEnd || (size >= CHUNK_TOKENS && store.tokens[index][2].endsWith("\n")) || size >= MAX_CHUNK_TOKENS;
      if (changed.at(-1) !== chunk) changed.push(chunk);
    }
    return changed;
  }

  function update() {
    const shown = chunks.at(-1)?.last ?? 0;
    if (shown === store.tokens.length) return;
    for (const chunk of divide()) {
      if (chunk.isWarm) addNodes(chunk, shown);
      else if (chunk.isFull) cool(chunk);
      else warm(chunk);
      if (!chunk.el.isConnected) box.append(chunk.el);
      if (!chunk.isFull) continue;
      chunk.el.classList.add("full"); // only now may the browser skip it: an open one would jump to an estimated height
      near.observe(chunk.el);
    }
    foldThought();
    keepTabStop();
    follow();
    // Chunks that come into sight now have their true height only after the next frame.
    requestAnimationFrame(() => requestAnimationFrame(follow));
  }

  function nodeAt(index) {
    if (!nodes.has(index) && store.tokens[index]) warm(chunks.find((chunk) => index < chunk.last));
    return nodes.get(index);
  }

  /** What the reader can stop at in place of a token: itself where it is in sight, the mark of a run that is folded. */
  function stopAt(index) {
    const node = nodeAt(index);
    if (!node || isShown(node)) return node;
    const run = node.exsaRun;
    return run?.first === index && isShown(run.mark) ? run.mark : null;
  }

  /** The elements of a token's round: its neighbours, as far as they have one. */
  function roundOf(index) {
    const round = store.tokens[index][6];
    let first = index;
    while (store.tokens[first - 1]?.[6] === round) first -= 1;
    const found = [];
    for (let at = first; store.tokens[at]?.[6] === round; at += 1) if (nodes.has(at)) found.push(nodes.get(at));
    return found;
  }

  /** Hide the thought once it is over, or show it where the reader wants it. */
  function foldThought() {
    const thought = store.head?.thought;
    fold.hidden = !thought;
    if (!thought) return;
    const isFolded = !store.isUnfolded;
    fold.textContent = `${isFolded ? "▸" : "▾"} ${thought.title}`;
    fold.setAttribute("aria-expanded", String(!isFolded));
    for (const chunk of chunks) chunk.el.hidden = isFolded && chunk.last <= thought.rows;
  }

  function hold(isWanted) {
    isHeld = isWanted;
    follow();
  }

  function recolour(mode) {
    heat = mode;
    for (const [index, node] of nodes) setLevel(node, store.tokens[index], heat);
  }

  fold.addEventListener("click", () => {
    store.isUnfolded = !store.isUnfolded;
    foldThought();
  });
  box.addEventListener("scroll", onScroll, { passive: true });
  return {
    box,
    fold,
    nodeAt,
    stopAt,
    toggleRun,
    roundOf,
    setTabStop,
    update,
    recolour,
    hold,
    release: () => near.disconnect(),
  };
}
