// What a token of the strip tells about itself: in the tooltip, and to screen readers.

import { make, probability } from "./common.js";
import { KINDS, makeToken } from "./strip_text.js";

/** Why it was decided so, in words; empty where there is nothing to add. */
function reasonOf([kind, , , p, q, u]) {
  if (kind === "d") return "never tested";
  if (kind !== "a" && kind !== "x") return p === null ? "p was not computed: nobody watched then" : "";
  if (u === null) return kind === "a" ? "the target's own first choice" : "not the target's first choice";
  if (!q) return "";
  const ratio = p / q;
  if (ratio >= 1) return "p ≥ q, so always accepted";
  return `${kind === "a" ? "u < p/q" : "u ≥ p/q"} = ${ratio.toFixed(3)}`;
}

function describe(row, round) {
  const [kind, id, text, p, q, u, number] = row;
  const [name, meaning] = KINDS[kind];
  const [, , k, accepted, ms, time, , drafter, sequences, lookedUpIn] = round ?? [];
  const shared = sequences > 1 ? `, step shared by ${sequences}` : "";
  const from = lookedUpIn ? `, looked up in generation ${lookedUpIn}` : "";
  const by = drafter && k ? `, drafter ${drafter}${from}` : "";
  const lines = [`round ${number}`];
  if (round) {
    lines[0] += k ? `: ${accepted} of ${k} accepted${by}` : ": nothing drafted";
    lines.push(`took ${ms.toFixed(1)} ms${shared}, done at ${time.toFixed(2)} s`);
  }
  return { name, meaning, id, text: JSON.stringify(text), p, q, u, reason: reasonOf(row), lines };
}

export function makeTip() {
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
    if (row[0] !== "d") parts.push(bar("p target", about.p, "p"));
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
export function makePointer(store, text, { show, hide }) {
  let current = null;

  function leave() {
    hide();
    if (!current) return;
    current.classList.remove("current");
    for (const node of text.roundOf(current.exsaIndex)) node.classList.remove("round");
    current = null;
  }

  function enter(node) {
    if (node === current) return;
    leave();
    current = node;
    const row = store.tokens[node.exsaIndex];
    for (const other of text.roundOf(node.exsaIndex)) other.classList.add("round");
    node.classList.add("current");
    show(node, row, describe(row, store.rounds.get(row[6])));
  }

  const tokenOf = (event) => event.target.closest?.(".exsa-tok");

  function onFocus(event) {
    const node = tokenOf(event);
    if (!node) return;
    text.setTabStop(node.exsaIndex);
    const about = describe(store.tokens[node.exsaIndex], store.rounds.get(store.tokens[node.exsaIndex][6]));
    const numbers = ["p", "q", "u"].filter((n) => about[n] !== null).map((n) => `${n} ${probability(about[n])}`);
    node.setAttribute("role", "note");
    node.ariaLabel = [`${about.name} token ${about.text}`, ...numbers, about.reason, ...about.lines]
      .filter(Boolean)
      .join(", ");
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
    while (store.tokens[index] && !isShown(text.nodeAt(index))) index += by;
    return text.nodeAt(index);
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
        End: () => step(store.tokens.length, -1),
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
