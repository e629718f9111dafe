// Mouse and keyboard on the tokens of a strip: one of them at a time is looked at, with its tooltip.

import { probability } from "./common.js";
import { hasAlternatives } from "./strip_alternatives.js";
import { positionOf } from "./strip_store.js";
import { isShown } from "./strip_text.js";
import { describe } from "./strip_tip.js";

const STAY_MS = 350; // how long a tooltip that can be clicked waits for the mouse on its way to it

const tokenOf = (event) => event.target.closest?.(".exsa-tok, .exsa-cut");
const isMark = (node) => node.classList.contains("exsa-cut");

/** What a token tells about itself; a mark tells of the first token behind it, and names the others. */
function aboutNode(store, text, node) {
  const row = store.tokens[node.exsaIndex];
  const about = describe(row, store.rounds.get(row[6]));
  if (!isMark(node)) return about;
  const others = text.nodeAt(node.exsaIndex).exsaRun.words().slice(1);
  if (others.length) about.lines.unshift(`then ${others.join(", ")}`);
  return about;
}

/** Ways from a token to its neighbours that are in sight. */
function makeSteps(store, text) {
  function step(from, by) {
    for (let index = from + by; store.tokens[index]; index += by) {
      const stop = text.stopAt(index);
      if (stop) return stop;
    }
    return null;
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

  return { step, stepLine };
}

/** Connects mouse and keyboard to the tooltip: one token at a time, with the others of its round lightly marked.
 *  `branch(position, token)` branches off; null where there is no kernel. */
export function makePointer(store, text, { tip, show, hide, place }, branch) {
  const { step, stepLine } = makeSteps(store, text);
  let current = null;
  let isPinned = false;
  let timer = null;

  function leave() {
    clearTimeout(timer);
    isPinned = false;
    if (!current) return;
    hide();
    text.hold(false);
    current.classList.remove("current");
    for (const node of text.roundOf(current.exsaIndex)) node.classList.remove("round");
    current = null;
  }

  const canBranch = (row) => branch && hasAlternatives(row);

  /** Leave, but where the tooltip can be clicked only once the mouse had time to reach it. */
  function leaveSoon() {
    clearTimeout(timer);
    if (!current || isPinned || tip.contains(document.activeElement)) return;
    if (canBranch(store.tokens[current.exsaIndex])) timer = setTimeout(leave, STAY_MS);
    else leave();
  }

  function enter(node) {
    clearTimeout(timer);
    if (node === current || isPinned) return;
    leave();
    current = node;
    const index = node.exsaIndex;
    const row = store.tokens[index];
    for (const other of text.roundOf(index)) other.classList.add("round");
    node.classList.add("current");
    const choose = (token) => {
      leave();
      branch(positionOf(store, index), token);
    };
    if (canBranch(row)) text.hold(true);
    show(node, row, aboutNode(store, text, node), canBranch(row) ? choose : null);
  }

  function onFocus(event) {
    const node = tokenOf(event);
    if (!node) return;
    isPinned = false;
    if (isMark(node)) return enter(node); // it has its label
    text.setTabStop(node.exsaIndex);
    const row = store.tokens[node.exsaIndex];
    const about = aboutNode(store, text, node);
    const numbers = ["p", "q", "residual", "u"]
      .filter((n) => about[n] !== null)
      .map((n) => `${n} ${probability(about[n])}`);
    const folds = runOf(node) ? "Enter folds the rejected tokens here" : "";
    const help = canBranch(row) ? "Enter lists what else might have come" : folds;
    node.setAttribute("role", "note");
    node.ariaLabel = [
      `${about.name} token ${about.text}`,
      ...numbers,
      about.reason,
      about.measures,
      ...about.lines,
      help,
    ]
      .filter(Boolean)
      .join(", ");
    enter(node);
  }

  function onBlur(event) {
    if (tip.contains(event.relatedTarget)) return;
    const node = tokenOf(event);
    if (node && !isMark(node)) for (const name of ["role", "aria-label"]) node.removeAttribute(name);
    leave();
  }

  function onKey(event) {
    const node = tokenOf(event);
    if (!node || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = node.exsaIndex;
    if (event.key === "Escape" && current) leave();
    else if (["Enter", " "].includes(event.key) && runOf(node)) toggle(node).focus();
    else if (event.key === "Enter" && canBranch(store.tokens[index])) {
      enter(node);
      tip.querySelector("button")?.focus();
    } else {
      const moves = {
        ArrowRight: () => step(index, 1),
        ArrowLeft: () => step(index, -1),
        ArrowDown: () => stepLine(node, 1),
        ArrowUp: () => stepLine(node, -1),
        Home: () => step(-1, 1),
        End: () => step(store.tokens.length, -1),
      };
      if (!moves[event.key]) return;
      moves[event.key]()?.focus();
    }
    // The notebook would move to another cell.
    event.preventDefault();
    event.stopPropagation();
  }

  /** The run that a mark or a token of it opens and folds; null where all runs stand in the text. */
  function runOf(node) {
    const { exsaRun: run } = text.nodeAt(node.exsaIndex);
    return run && isShown(run.mark) ? run : null;
  }

  function toggle(node) {
    leave();
    return text.toggleRun(runOf(node));
  }

  function onTipKey(event) {
    if (!current) return;
    const buttons = [...tip.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    if (event.key === "Escape") current.focus();
    else if (event.key === "ArrowDown") buttons[Math.min(at + 1, buttons.length - 1)]?.focus();
    else if (event.key === "ArrowUp") buttons[Math.max(at - 1, 0)]?.focus();
    else if (event.key !== "Enter" && event.key !== " ") return;
    else return event.stopPropagation(); // the button's own click follows
    event.preventDefault();
    event.stopPropagation();
  }

  function onTipBlur(event) {
    if (!tip.contains(event.relatedTarget) && event.relatedTarget !== current) leave();
  }

  function onClick(event) {
    const node = tokenOf(event);
    if (node && isMark(node)) return toggle(node);
    if (!node || !canBranch(store.tokens[node.exsaIndex])) return leave();
    isPinned = false;
    enter(node);
    isPinned = true;
  }

  function onOutside(event) {
    if (current && !tip.contains(event.target) && !text.box.contains(event.target)) leave();
  }

  /** A tooltip that can be clicked goes along with its token, as long as that is in sight; text that comes scrolls, too. */
  function onScroll(event) {
    if (!current || tip.contains(event.target)) return;
    const at = current.getBoundingClientRect();
    const box = text.box.getBoundingClientRect();
    const isInSight = at.bottom > Math.max(0, box.top) && at.top < Math.min(innerHeight, box.bottom);
    if (canBranch(store.tokens[current.exsaIndex]) && isInSight) place(current);
    else leave();
  }

  text.box.addEventListener("mouseover", (event) => (tokenOf(event) ? enter(tokenOf(event)) : leaveSoon()));
  text.box.addEventListener("mouseleave", leaveSoon);
  text.box.addEventListener("click", onClick);
  text.box.addEventListener("focusin", onFocus);
  text.box.addEventListener("focusout", onBlur);
  text.box.addEventListener("keydown", onKey);
  const ends = new AbortController(); // the tooltip serves all texts of a strip, and outlives this one's listeners
  const { signal } = ends;
  tip.addEventListener("mouseenter", () => clearTimeout(timer), { signal });
  tip.addEventListener("mouseleave", leaveSoon, { signal });
  tip.addEventListener("keydown", onTipKey, { signal });
  tip.addEventListener("focusout", onTipBlur, { signal });
  document.addEventListener("pointerdown", onOutside, { capture: true, signal });
  document.addEventListener("scroll", onScroll, { capture: true, passive: true, signal });
  return () => {
    leave();
    ends.abort();
  };
}
