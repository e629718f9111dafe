// A run as the step-through shows it: cut into rounds, and these into frames. Knows nothing of the page.

export function toRounds(run) {
  const rounds = [];
  let [tokens, before, draftCells] = [[], 0, 0];
  for (const row of run.rows ?? []) {
    if (row[0] !== "R") {
      const [kind, id, text, p, q, u] = row;
      tokens.push({ kind, id, text, p, q, u, residual: row[10] ?? null });
      continue;
    }
    const [, number, k, accepted, , time, reason, drafter, sequences] = row;
    const [draftMs, verifyMs, sampleMs, batchTokens, endMs] = run.times[number] ?? [0, 0, 0, 0, 0];
    const draft = [...tokens.filter(({ kind }) => kind === "a"), ...tokens.filter(({ kind }) => "xd".includes(kind))];
    const own = tokens.find(({ kind }) => "tbr".includes(kind)) ?? null;
    const round = { number, k, accepted, time, reason, drafter, sequences, draft, own, before };
    const committed = tokens.filter(({ kind }) => !"xd".includes(kind));
    Object.assign(round, { ms: { draft: draftMs, verify: verifyMs, sample: sampleMs }, batchTokens, endMs, committed });
    round.cells = cellsOf(run.prompt_tokens + before, round, draftCells);
    draftCells = round.cells.draft.after;
    before += committed.length;
    rounds.push(round);
    tokens = [];
  }
  return rounds;
}

/** Cells of both caches: before the round, at most, and after it. The newest token never has a cell yet. */
export function cellsOf(length, { k, accepted, drafter, number }, draftCells) {
  const kept = length + accepted;
  const target = { before: number ? length - 1 : 0, most: length + k, after: kept };
  if (drafter !== "model" || !k) return { target, draft: { before: draftCells, most: draftCells, after: draftCells } };
  const most = length + k - 1; // its last proposal is never fed back
  return { target, draft: { before: draftCells, most, after: Math.min(most, kept) } };
}

export function toFrames(rounds) {
  const frames = [];
  rounds.forEach((round, i) => {
    const tested = round.draft.filter(({ kind }) => "ax".includes(kind)).length;
    for (let n = 1; n <= round.k; n++) frames.push({ i, phase: "draft", drafted: n, tested: 0 });
    frames.push({ i, phase: "verify", drafted: round.k, tested: 0 });
    for (let n = 1; n <= tested; n++) frames.push({ i, phase: "test", drafted: round.k, tested: n });
    if (round.own) frames.push({ i, phase: "own", drafted: round.k, tested, own: true });
    if (round.k > round.accepted)
      frames.push({ i, phase: "rollback", drafted: round.k, tested, own: Boolean(round.own) });
  });
  return frames;
}

export function sumUp(rounds) {
  let [draft, verify] = [0, 0];
  return rounds.map(({ ms }) => ({ draft: (draft += ms.draft), verify: (verify += ms.verify) }));
}

/** The first frame of the first round that drafted something: where there is something to see. */
export function openingFrame(rounds, frames) {
  const drafted = rounds.findIndex(({ k }) => k > 0);
  return Math.max(
    0,
    frames.findIndex(({ i }) => i === drafted),
  );
}

/** Where the frames of the round begin that is `by` rounds from this frame's; back leads to this one's beginning first. */
export function roundStart(frames, at, by) {
  const start = (i) => frames.findIndex((frame) => frame.i === i);
  const { i } = frames[at];
  if (by < 0) return at > start(i) ? start(i) : Math.max(0, start(i - 1));
  return start(i + 1) < 0 ? frames.length - 1 : start(i + 1);
}
