// Draft tokens that did not become text: a run of them is folded to a mark above the line, which takes no room in it, so
// that words stay whole. A mark opens; its tokens then stand in the text at their place, struck through.

import { make } from "./common.js";

export const isRejected = ([kind]) => "xd".includes(kind);

const NAMES = { x: "refused", d: "discarded" };
const MODES = [
  ["marks", "as marks ▾"],
  ["text", "in the text"],
  ["hidden", "hidden"],
];
const HELP =
  "Draft tokens that were refused or discarded: folded to a ▾ at their place, which a click or Enter opens; all in the " +
  "text; or hidden";

/** A run that begins with the token at `first`. */
export function makeRun(first, isOpen) {
  const el = make("span", "exsa-run");
  const mark = el.appendChild(make("span", "exsa-cut"));
  const said = [];
  mark.setAttribute("role", "button");
  mark.tabIndex = -1;
  mark.exsaIndex = first;
  mark.dataset.lmSuppressShortcuts = "true"; // Enter is its own, not the notebook's

  /** Add the next token, and its element. */
  function add(node, [kind, , text]) {
    said.push(`${JSON.stringify(text)} ${NAMES[kind]}`);
    mark.ariaLabel = `${said.length} draft token${said.length === 1 ? "" : "s"} rejected here: ${said.join(", ")}`;
    node.exsaRun = run;
    el.append(node);
  }

  function open(isWanted) {
    el.classList.toggle("open", isWanted);
    mark.setAttribute("aria-expanded", String(isWanted));
  }

  const run = { el, mark, first, add, open, words: () => said };
  open(isOpen);
  return run;
}

/** The choice of how rejected tokens are shown; `root` gets a class that says it. */
export function makeRejectedChoice(wanted, root, onChange) {
  const field = make("label", "exsa-choice", "rejected tokens ");
  field.title = HELP;
  const select = field.appendChild(make("select"));
  for (const [value, label] of MODES) select.appendChild(make("option", "", label)).value = value;
  select.value = MODES.some(([value]) => value === wanted) ? wanted : "marks";
  const apply = () => {
    for (const [value] of MODES) root.classList.toggle(`rejected-${value}`, value === select.value);
  };
  select.addEventListener("change", () => {
    apply();
    onChange(select.value);
  });
  apply();
  return field;
}
