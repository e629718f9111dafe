// The step-through. The page has the whole run (see step_through.py) and plays it by itself, frame by frame. Texts are
// model output and untrusted: text nodes only.

import { make, makeWidget, probability } from "./common.js";
import { makeMarked } from "./marked.js";
import { listenToKeys, makeControls, makePlayer } from "./player.js";
import { openingFrame, roundStart, sumUp, toFrames, toRounds } from "./step_run.js";

const MAX_TEXT = 160; // tokens of the text shown before the round
const CELLS = 40; // cells of each cache shown: the last ones
const NORMAL = 1.4;
const SPEEDS = [
  ["slow", 0.7],
  ["normal", NORMAL],
  ["fast", 4.5],
  ["very fast", 16],
]; // frames a second
const KEYS = "Space: play or pause. Left and right arrow: one step. Page up and down: one round. Home and End.";

const quote = (text) => `“${text.replaceAll("\n", "↵")}”`;
const inBrackets = (p) => (p === null ? "" : ` (p = ${probability(p)})`); // null: it was not computed
const plural = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

// ---- In words ----------------------------------------------------------------------------------------------------

function describe(run, round, frame) {
  const token = round.draft[frame.phase === "draft" ? frame.drafted - 1 : frame.tested - 1];
  switch (frame.phase) {
    case "draft":
      if (round.drafter === "ngram")
        return `The text had this before: ${quote(token.text)} is looked up as draft token ${frame.drafted} of ${round.k}.`;
      return `The draft model proposes ${quote(token.text)}, token ${frame.drafted} of ${round.k}, with q = ${probability(token.q)}.`;
    case "verify":
      return describeVerify(run, round);
    case "test":
      return describeTest(run, round, token);
    case "own":
      return describeOwn(run, round);
    default:
      return describeRollback(round);
  }
}

function describeVerify(run, round) {
  if (!round.number)
    return `The target reads the prompt (${plural(run.prompt_tokens, "token")}) and with it gives the first token's probabilities.`;
  const shared =
    round.sequences > 1
      ? ` The step is shared with ${round.sequences - 1} other requests: ${round.batchTokens} tokens in all.`
      : "";
  if (!round.k)
    return `Nothing was drafted (${round.reason}): the target reads the last token alone, ${round.ms.verify.toFixed(1)} ms.${shared}`;
  return `The target reads the last token and all ${round.k} draft tokens in one pass, ${round.ms.verify.toFixed(1)} ms, and so knows its own p at each place.${shared}`;
}

function describeTest(run, round, { kind, text, p, q, u }) {
  const verdict = kind === "a" ? "accepted" : "refused";
  const name = quote(text);
  if (run.greedy)
    return `${name} is ${kind === "a" ? "" : "not "}the target's first choice${inBrackets(p)}: ${verdict}.`;
  if (round.drafter === "ngram")
    return `With u = ${probability(u)} the target draws ${kind === "a" ? "the same token" : "another token"} than ${name}: ${verdict}.`;
  if (p >= q) return `p = ${probability(p)} is at least q = ${probability(q)}: ${name} is always accepted.`;
  const ratio = probability(p / q);
  return `u = ${probability(u)} is ${kind === "a" ? "below" : "not below"} p/q = ${ratio}: ${name} is ${verdict}.`;
}

function describeOwn(run, round) {
  const { kind, text, p, u, residual } = round.own;
  const share = residual === null ? "" : `, residual = ${probability(residual)}`;
  const name = `${quote(text)}${p === null ? "" : ` (p = ${probability(p)}${share})`}`;
  if (kind === "t") return `The target's own token: ${name}.`;
  if (kind === "b") return `All ${round.k} were accepted, and the same pass gives one more token, the bonus: ${name}.`;
  if (run.greedy)
    return `In its place stands the target's first choice: ${name}. The rest of the draft is worthless now.`;
  if (round.drafter === "ngram") return `In its place stands the token the target drew: ${name}.`;
  return `In its place one is drawn from the residual, max(p − q, 0) normalised, with u = ${probability(u)}: ${name}.`;
}

function describeRollback({ k, accepted, cells }) {
  const gone = (name, { most, after }) => (most > after ? `${name} ${most} → ${after} cells` : "");
  const parts = [gone("target", cells.target), gone("draft", cells.draft)].filter(Boolean).join(", ");
  return `${plural(k - accepted, "draft token")} did not become text: the caches are rolled back, ${parts || "nothing to remove"}.`;
}

// ---- The parts of the view ---------------------------------------------------------------------------------------

function showText(box, run, rounds, frame) {
  const round = rounds[frame.i];
  const parts = [make("span", "exsa-st-prompt", run.prompt ? `${run.prompt} ` : "")];
  const committed = rounds.slice(0, frame.i).flatMap((round) => round.committed);
  if (committed.length > MAX_TEXT) parts[0] = make("span", "exsa-st-prompt", "… ");
  parts.push(...committed.slice(-MAX_TEXT).map(({ kind, text }) => makeMarked(kind, text)));
  const current = make("span", "exsa-st-now");
  round.draft.slice(0, frame.drafted).forEach(({ kind, text }, n) => {
    const state = n < frame.tested ? kind : frame.phase === "own" || frame.phase === "rollback" ? kind : "open";
    if (frame.phase === "rollback" && "xd".includes(kind)) return;
    current.append(makeMarked(state, text));
  });
  if (frame.own) current.append(makeMarked(round.own.kind, round.own.text, "fresh"));
  box.replaceChildren(...parts, current);
  box.scrollTop = box.scrollHeight;
}

/** p, q and u of one token. u chooses a point of q's bar: accepted where p's bar covers it. */
function makeBars(run, round, token, isTested) {
  const bars = make("div", "exsa-st-bars");
  const line = (name, value, kind) => {
    const row = bars.appendChild(make("div"));
    row.append(make("span", "", name));
    const track = row.appendChild(make("i", "track"));
    if (value !== null) track.appendChild(make("i", kind)).style.width = `${100 * Math.min(1, value)}%`;
    row.append(make("b", "", probability(value)));
    return track;
  };
  const q = line("q", token.q, "q");
  line("p", isTested ? token.p : null, "p");
  if (isTested && token.u !== null && round.drafter === "model" && !run.greedy) {
    for (const track of bars.querySelectorAll(".track"))
      track.appendChild(make("i", "u")).style.left = `${100 * token.u * token.q}%`;
    bars.append(make("div", "exsa-st-u", `u = ${probability(token.u)}`));
    q.title = "The line is u times q: accepted where p reaches it.";
  }
  return bars;
}

/** p of the target's own token; of one drawn from the residual its share there, too. */
function makeOwnNumbers({ p, residual }) {
  const box = make("div", "exsa-st-bars");
  const numbers = [`p = ${probability(p)}`, residual === null ? "" : `residual = ${probability(residual)}`];
  box.append(...numbers.filter(Boolean).map((number) => make("div", "exsa-st-u", number)));
  return box;
}

/** A list item; plain elements, since JupyterLab styles lists and code inside of rendered HTML. */
function makeCard(className, text) {
  const card = make("div", className, text);
  card.setAttribute("role", "listitem");
  return card;
}

function showCards(box, run, rounds, frame) {
  const round = rounds[frame.i];
  const cards = round.draft.slice(0, frame.drafted).map((token, n) => {
    const isTested = n < frame.tested;
    const isPast = frame.phase === "own" || frame.phase === "rollback";
    const state = isTested || isPast ? token.kind : "open";
    const card = makeCard(`exsa-st-card ${state}`);
    card.title = token.text; // whole, where the card cuts it
    card.ariaCurrent =
      (frame.phase === "test" && n === frame.tested - 1) || (frame.phase === "draft" && n === frame.drafted - 1)
        ? "true"
        : null;
    const verdict = { a: "✓ accepted", x: "✗ refused", d: "· never tested", open: "drafted" }[state];
    card.append(
      make("div", "exsa-st-name", quote(token.text)),
      makeBars(run, round, token, isTested && "ax".includes(token.kind)),
      make("div", "exsa-st-verdict", verdict),
    );
    return card;
  });
  if (frame.own) {
    const card = makeCard(`exsa-st-card own ${round.own.kind}`);
    const sign = { b: "+ bonus", r: "↺ in its place", t: "target's own" }[round.own.kind];
    card.append(
      make("div", "exsa-st-name", quote(round.own.text)),
      makeOwnNumbers(round.own),
      make("div", "exsa-st-verdict", sign),
    );
    card.ariaCurrent = frame.phase === "own" ? "true" : null;
    cards.push(card);
  }
  if (!cards.length) cards.push(makeCard("exsa-st-none", "Nothing drafted."));
  box.replaceChildren(...cards);
  const current = cards.find((card) => card.ariaCurrent);
  if (current)
    box.scrollLeft = Math.max(0, current.offsetLeft + current.offsetWidth - box.offsetLeft - box.clientWidth);
}

function showCache(box, name, { before, most, after }, frame, isDraft) {
  const isVerified = frame.phase !== "draft";
  const toCome = frame.phase === "draft" ? frame.of - frame.drafted : 0;
  const filled = isDraft ? Math.max(before, most - toCome) : isVerified ? most : before;
  const isBack = frame.phase === "rollback" || (frame.own && most === after);
  const now = isBack ? after : filled;
  const first = Math.max(0, Math.max(most, after) - CELLS);
  const cells = [];
  for (let cell = first; cell < Math.max(most, after); cell++) {
    let kind = cell < Math.min(before, after) ? "kept" : "new";
    if (cell >= now) kind = isBack && cell < most ? "gone" : "free";
    else if (kind === "new" && cell < after && (frame.own || isBack)) kind = "kept new";
    cells.push(make("i", kind));
  }
  const label = make("span", "", name);
  const number = make("b", "", `${now} cells`);
  const row = make("div", "exsa-st-cells");
  row.append(...cells);
  row.ariaHidden = "true";
  box.replaceChildren(label, row, number);
}

function showClock(box, rounds, frame, totals) {
  const round = rounds[frame.i];
  // One scale for the rounds around here; the first one carried the prompt.
  const near = rounds.slice(Math.max(1, frame.i - 20), frame.i + 20).concat(round);
  const longest = Math.max(1e-6, ...near.map(({ ms }) => ms.draft + ms.verify));
  const line = (name, from, length, isNow, isDone, total) => {
    const row = make("div", "exsa-st-clock");
    const track = make("i", "track");
    const bar = track.appendChild(
      make("i", `${name === "draft" ? "q" : "p"}${isNow ? " now" : ""}${isDone ? "" : " ahead"}`),
    );
    bar.style.left = `${(100 * from) / longest}%`;
    bar.style.width = `${(100 * length) / longest}%`;
    row.append(
      make("span", "", `${name} clock`),
      track,
      make("b", "", `${length.toFixed(1)} ms, so far ${(total / 1000).toFixed(2)} s`),
    );
    return row;
  };
  const isVerified = frame.phase !== "draft";
  const share = frame.phase === "draft" ? frame.drafted / round.k : 1;
  box.replaceChildren(
    line(
      "draft",
      0,
      round.ms.draft * share,
      frame.phase === "draft",
      true,
      totals[frame.i].draft - round.ms.draft * (1 - share),
    ),
    line(
      "target",
      round.ms.draft,
      round.ms.verify,
      frame.phase === "verify",
      isVerified,
      totals[frame.i].verify - (isVerified ? 0 : round.ms.verify),
    ),
  );
}

// ---- Controls ----------------------------------------------------------------------------------------------------

function makeBar(root, player, frames, rounds) {
  const to = (by) => roundStart(frames, player.at, by);
  const numberAt = (at) => rounds[frames[at].i].number;
  const controls = makeControls(player, {
    end: frames.length - 1,
    step: 1,
    before: [
      ["|◀", "Round before (page up)", () => player.jump(to(-1))],
      ["◀", "Step back (left arrow)", () => player.jump(player.at - 1)],
    ],
    after: [
      ["▶", "Step on (right arrow)", () => player.jump(player.at + 1)],
      ["▶|", "Next round (page down)", () => player.jump(to(1))],
    ],
    speeds: SPEEDS,
    describe: (at) => `round ${numberAt(at)}, step ${at + 1} of ${frames.length}`,
    name: (at) => `round ${numberAt(at)} of ${rounds.at(-1).number}`,
  });
  controls.bar.addEventListener("exsa-state", ({ detail: isPlaying }) =>
    root.querySelector(".exsa-st-words")?.setAttribute("aria-live", isPlaying ? "off" : "polite"),
  );
  listenToKeys(root, player, { end: frames.length - 1, by: (n) => player.at + n, byPage: to });
  return controls;
}

export function mountRun(run, el) {
  const root = el.appendChild(make("div", "exsa exsa-steps mathjax_ignore tex2jax_ignore"));
  const rounds = toRounds(run);
  const frames = toFrames(rounds);
  if (!frames.length) {
    root.textContent = "This run has no rounds to show.";
    return () => root.remove();
  }
  frames.forEach((frame) => (frame.of = rounds[frame.i].k));
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `A run, round by round. ${KEYS}`);
  const totals = sumUp(rounds);
  const hasDraft = rounds.some(({ drafter }) => drafter === "model");
  const text = make("div", "exsa-st-text");
  const cards = make("div", "exsa-st-cards");
  cards.setAttribute("role", "list");
  const words = make("div", "exsa-st-words");
  words.setAttribute("aria-live", "polite");
  const machine = make("div", "exsa-st-machine");
  const [targetCache, draftCache, clock] = [
    make("div", "exsa-st-cache"),
    make("div", "exsa-st-cache"),
    make("div", "exsa-st-clocks"),
  ];
  let controls = null;

  function show(at) {
    const frame = frames[at];
    const round = rounds[frame.i];
    words.textContent = describe(run, round, frame);
    showText(text, run, rounds, frame);
    showCards(cards, run, rounds, frame);
    showCache(targetCache, "target cache", round.cells.target, frame, false);
    if (hasDraft) showCache(draftCache, "draft cache", round.cells.draft, frame, true);
    showClock(clock, rounds, frame, totals);
    controls?.update();
    root.dataset.phase = frame.phase;
  }

  const at = openingFrame(rounds, frames);
  const player = makePlayer({ end: frames.length - 1, show, speed: NORMAL, isWhole: true, at });
  controls = makeBar(root, player, frames, rounds);
  text.dir = "auto";
  machine.append(targetCache, ...(hasDraft ? [draftCache] : []), clock);
  root.append(controls.bar, text, words, cards, machine);
  if (run.left_out) root.append(make("div", "exsa-st-none", `${run.left_out} later rounds are not shown.`));
  show(at);
  return () => {
    player.stop();
    root.remove();
  };
}

export default () => makeWidget((model, el) => mountRun(model.get("run"), el));
