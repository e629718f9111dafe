// Recorded runs as a page of their own, without a kernel (see page.py): the race where there are several, and of each the
// token strip and the step-through. Titles and texts are untrusted: text nodes only.

import { make } from "./common.js";
import { mountRace } from "./race.js";
import { mountRun } from "./step_through.js";
import { mountStrip } from "./token_strip.js";

function addViews(el, run) {
  const strip = el.appendChild(make("section"));
  strip.ariaLabel = "The text, token by token";
  mountStrip(run, strip);
  const steps = el.appendChild(make("section"));
  steps.ariaLabel = "The run, round by round";
  mountRun(run, steps);
}

/** One of several runs: folded, and made when it is opened first. */
function addFolded(el, run) {
  const fold = el.appendChild(make("details"));
  fold.append(make("summary", "", `${run.name}: token by token, round by round`));
  fold.addEventListener("toggle", () => addViews(fold, run), { once: true });
}

export default function mountPage({ title, runs, verdict }, el) {
  el.append(make("h1", "", title));
  if (runs.length === 1) addViews(el, runs[0]);
  else {
    mountRace({ lanes: runs, verdict }, el.appendChild(make("section")));
    for (const run of runs) addFolded(el, run);
  }
}
