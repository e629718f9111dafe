// What a token of the strip tells about itself: in the tooltip, and to screen readers.

import { make, probability } from "./common.js";
import { hasAlternatives, makeAlternatives } from "./strip_alternatives.js";
import { measuresOf } from "./strip_heat.js";
import { KINDS, makeToken } from "./strip_text.js";

const RESIDUAL = 10; // place in a token's row

/** Why it was decided so, in words; empty where there is nothing to add. */
function reasonOf(row) {
  const [kind, , , p, q, u] = row;
  if (kind === "d") return "never tested";
  if ("kc".includes(kind)) return "";
  if (kind === "r" && residualOf(row) !== null) return "u drew it from the residual: max(p − q, 0), made to sum to 1";
  if (kind !== "a" && kind !== "x") return p === null ? "p was not computed: nobody watched then" : "";
  if (u === null) return kind === "a" ? "the target's own first choice" : "not the target's first choice";
  if (!q) return "";
  const ratio = p / q;
  if (ratio >= 1) return "p ≥ q, so always accepted";
  return `${kind === "a" ? "u < p/q" : "u ≥ p/q"} = ${ratio.toFixed(3)}`;
}

/** The residual's probability of a token that was drawn from it; null of all others. */
export const residualOf = (row) => row[RESIDUAL] ?? null;

export function describe(row, round) {
  const [kind, id, text, p, q, u, number] = row;
  const [name, meaning] = KINDS[kind];
  const [, , k, accepted, ms, time, , drafter, sequences, lookedUpIn] = round ?? [];
  const shared = sequences > 1 ? `, step shared by ${sequences}` : "";
  const from = lookedUpIn ? `, looked up in the text of ${lookedUpIn}` : "";
  const by = drafter && k ? `, drafter ${drafter}${from}` : "";
  const lines = [`round ${number}`];
  if (round) {
    lines[0] += k ? `: ${accepted} of ${k} accepted${by}` : ": nothing drafted";
    lines.push(`took ${ms.toFixed(1)} ms${shared}, done at ${time.toFixed(2)} s`);
  }
  const measures = measuresOf(row);
  const residual = residualOf(row);
  return { name, meaning, id, text: JSON.stringify(text), p, q, u, residual, reason: reasonOf(row), measures, lines };
}

export function makeTip() {
  const tip = make("div", "exsa-tip");
  tip.setAttribute("role", "tooltip");
  tip.dataset.lmSuppressShortcuts = "true"; // the keys on its buttons are its own, not the notebook's
  tip.popover = "manual"; // the top layer: no output area clips it

  function bar(label, value, kind) {
    const line = make("div", "exsa-tip-bar");
    line.append(make("span", "", label), make("b", "", probability(value)));
    const track = line.appendChild(make("i"));
    track.appendChild(make("i", kind)).style.width = `${100 * Math.min(1, value ?? 0)}%`;
    return line;
  }

  function fill(row, about, branch) {
    const title = make("div", "exsa-tip-title");
    title.append(make("b", "", about.text), make("span", "", `id ${about.id}`));
    const kind = make("div", "exsa-tip-kind");
    kind.append(makeToken(row[0], about.name), ` ${about.meaning}`);
    const parts = [title, kind];
    if (row[0] !== "d" && !(about.p === null && "kc".includes(row[0]))) parts.push(bar("p target", about.p, "p"));
    if (about.q !== null) parts.push(bar("q draft", about.q, "q"));
    if (about.residual !== null) parts.push(bar("residual", about.residual, "p"));
    if (about.u !== null) parts.push(bar("u drawn", about.u, "u"));
    if (about.reason) parts.push(make("div", "exsa-tip-reason", about.reason));
    if (about.measures) parts.push(make("div", "exsa-tip-measures", about.measures));
    if (hasAlternatives(row)) parts.push(makeAlternatives(row, branch));
    parts.push(make("div", "exsa-tip-round", about.lines.join("\n")));
    tip.replaceChildren(...parts);
    tip.classList.toggle("open", Boolean(branch) && hasAlternatives(row));
  }

  function place(node) {
    const at = [...node.getClientRects()].at(-1);
    if (!at) return hide();
    const { offsetWidth: width, offsetHeight: height } = tip;
    const gap = tip.classList.contains("open") ? 2 : 8; // the mouse must reach it
    const fitsBelow = at.bottom + gap + height < innerHeight;
    tip.style.left = `${Math.max(8, Math.min(at.left - 12, innerWidth - width - 8))}px`;
    tip.style.top = `${fitsBelow ? at.bottom + gap : Math.max(8, at.top - height - gap)}px`;
  }

  /** `branch(id)` branches off; null where that cannot be. */
  function show(node, row, about, branch) {
    fill(row, about, branch);
    tip.showPopover?.();
    tip.classList.add("shown");
    place(node);
  }

  function hide() {
    if (tip.isConnected) tip.hidePopover?.();
    tip.classList.remove("shown");
  }

  return { tip, show, hide, place };
}
