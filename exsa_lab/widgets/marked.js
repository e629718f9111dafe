// A token of a run's text with the mark of its kind, as the step-through and the race show it.

import { make } from "./common.js";

/** The token as nodes; the space before a word stays outside of the mark. */
export function makeMarked(kind, text, className = "") {
  const lead = text.trim() ? text.length - text.trimStart().length : 0;
  const mark = make("span", `exsa-mk ${kind} ${className}`.trim());
  mark.append("xd".includes(kind) ? make("s", "", text.slice(lead)) : text.slice(lead));
  const both = document.createDocumentFragment();
  both.append(text.slice(0, lead), mark);
  return both;
}
