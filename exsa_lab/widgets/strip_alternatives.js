// The bars of a token's alternatives in its tooltip. Where a kernel listens each of them is a button that branches off.

import { make, probability } from "./common.js";

const TOP = 7; // places in a token's row
const SURPRISAL = 8;

export const hasAlternatives = (row) => (row[TOP]?.length ?? 0) > 0;

/** The alternatives of a token, its own among them: [id, text, raw, p, q]. */
function withOwn(row) {
  const top = row[TOP];
  if (top.some(([id]) => id === row[1])) return top;
  return [...top, [row[1], row[2], 2 ** -row[SURPRISAL], row[3], row[4]]];
}

function describe([, text, raw, p, q], isOwn) {
  const parts = [`${JSON.stringify(text)}${isOwn ? ", this token" : ""}`, `probability ${probability(raw)}`];
  if (differs(raw, p)) parts.push(`${probability(p)} after the chain`);
  if (q !== null) parts.push(`draft ${probability(q)}`);
  return parts.join(", ");
}

const differs = (raw, p) => p !== null && Math.abs(raw - p) > 5e-4;

function makeBars(raw, p, q) {
  const bars = make("span", "exsa-alt-bars");
  const values = [["raw", raw], ...(differs(raw, p) ? [["p", p]] : []), ...(q === null ? [] : [["q", q]])];
  for (const [kind, value] of values) {
    bars.appendChild(make("i", kind)).style.width = `${100 * Math.max(0, Math.min(1, value))}%`;
  }
  return bars;
}

function makeRow(alternative, isOwn, onChoose) {
  const [, text, raw, p, q] = alternative;
  const row = make(onChoose ? "button" : "div", `exsa-alt${isOwn ? " own" : ""}`);
  const name = make("span", "exsa-alt-text", JSON.stringify(text).slice(1, -1).replace(/^ /, "␣"));
  const numbers = make("span", "exsa-alt-number", probability(raw));
  if (differs(raw, p)) numbers.append(` → ${probability(p)}`);
  row.append(make("span", "exsa-alt-sign", isOwn ? "●" : ""), name, numbers, makeBars(raw, p, q));
  row.ariaLabel = describe(alternative, isOwn) + (onChoose ? ". Branch off with it" : "");
  if (onChoose) {
    row.type = "button";
    row.addEventListener("click", onChoose);
  } else row.setAttribute("role", "listitem");
  return row;
}

/** The bars of a token. `branch(id)` is called where one of them is chosen; null where there is no kernel. */
export function makeAlternatives(row, branch) {
  const group = make("div", "exsa-alts");
  group.setAttribute("role", branch ? "group" : "list");
  group.ariaLabel = "What else might have come";
  const all = withOwn(row);
  for (const alternative of all) {
    const isOwn = alternative[0] === row[1];
    group.append(makeRow(alternative, isOwn, branch && !isOwn ? () => branch(alternative[0]) : null));
  }
  const key = make("div", "exsa-alt-key");
  const kinds = [["raw", "model"]];
  if (all.some(([, , raw, p]) => differs(raw, p))) kinds.push(["p", "after the chain"]);
  if (all.some(([, , , , q]) => q !== null)) kinds.push(["q", "draft"]);
  for (const [kind, name] of kinds) key.append(make("i", kind), ` ${name}  `);
  if (branch) key.append("· click, or Enter, branches off");
  group.append(key);
  return group;
}
