"""Speculation by draft length, one setting after the other in blocks, for a target at one cost factor.

Each block begins with a warm-up of its own, so that no setting pays for the shapes or the caches of the one before.
"auto" comes first: what fixed lengths teach about a kind of text must not help it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from exsa_lab.bench.contenders import AUTO, PLAIN, PLAIN_AND_AUTO, EngineSetting
from exsa_lab.bench.measure import median, middle, percentile, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.bench.step_times import step_times
from exsa_lab.bench.unseen import MOST_CHATS, UNSEEN, many_chats
from exsa_lab.config import did_you_mean
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError, shown
from exsa_lab.models.gguf_facts import cost_note

MODEL_LENGTHS, LOOKUP_LENGTHS = (1, 2, 3, 5, 7, 10), (3, 7, 15)
SIZES = range(1, 17)
AT_ONCE = (4, 16, 64)
ROUNDS = 2
"""Measured runs of each batch."""
N_PROMPTS, TOKENS, WARM_UP_TOKENS = 8, 128, 40
"""The warm-up is longer than a GPU takes to settle on the shape of its batches."""
HOPELESS, TRIED = 0.9, 3
"""A fixed length that is slower than this share of plain on all of its first prompts is not measured further."""
WANTED_OVER_PLAIN = 0.97
WANTED_ON_GPU: Mapping[int, Mapping[str, float]] = {1: {"chat": 1.05, "code": 1.2, "repeat": 3.0}}
"""Promised gain of auto over plain on a GPU by cost factor and kind of text; `WANTED_OVER_PLAIN` for the others."""
WANTED_OF_BEST_FIXED: Mapping[int, float] = {10: 0.97}
WANTED_AT_ONCE: Mapping[tuple[int, int], float] = {(10, 4): 1.3}
"""Promised gain on a GPU by cost factor and requests at once."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    kinds: tuple[str, ...]
    prompts: int
    tokens: int
    at_once: tuple[int, ...]
    settings: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Generation parameters of the fixed settings by name."""


def run(options: Options) -> Report:
    """Measure step times, one request by kind of text and setting, and several at once."""
    size = _size(options)
    note = cost_note(options.cost_factor) or "x1"
    report = Report("speculation", {"model": options.model, "target": note, "tokens": size.tokens})
    most = max(size.at_once, default=1)
    room = {"n_seq_max": max(most, 4), "n_ctx": max(2048, 256 * most)}
    # Texts come again for every setting: what one setting wrote must not be looked up by the next.
    room |= {"lookup_history": False}
    for subject in subjects(options, recalibrate=True, **room):
        with subject.open_engine() as engine:
            _step_times(subject, engine, options, report)
            measured = _Blocks(subject, engine, options, size, report)
            measured.one_request()
            measured.at_once()
            measured.fixed_lengths()
            measured.tell()
    return report


def _size(options: Options) -> Size:
    given = options.given
    kinds = tuple(given.workloads.split(",")) if given.workloads else tuple(options.pick(UNSEEN, ("chat",)))
    for kind in kinds:
        if kind not in UNSEEN:
            raise ConfigError(
                f"there are no unseen prompts of the kind {kind!r}.",
                hint=did_you_mean(kind, UNSEEN) or ", ".join(UNSEEN),
            )
    lengths, lookups = options.pick((MODEL_LENGTHS, LOOKUP_LENGTHS), ((3,), (7,)))
    fixed = {f"model, k={k}": {"drafter": "model", "draft_length": k} for k in lengths}
    fixed |= {f"lookup, k={k}": {"drafter": "ngram", "draft_length": k} for k in lookups}
    return Size(
        kinds,
        prompts=given.prompts or options.pick(N_PROMPTS, 1),
        tokens=given.tokens or options.pick(TOKENS, 16),
        at_once=options.pick(AT_ONCE, (2,)) if given.at_once is None else _numbers(given.at_once),
        settings={} if given.no_grid else fixed,
    )


def _numbers(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.isdecimal() and int(word) <= MOST_CHATS for word in words):
        raise ConfigError(
            f"--at-once is {shown(text)}.",
            hint=f"Give whole numbers up to {MOST_CHATS}, such as 4,16; 0 measures none.",
        )
    return tuple(int(word) for word in words if int(word))


def _step_times(subject: Subject, engine: Engine, options: Options, report: Report) -> None:
    options.progress(f"{subject.name}: step times")
    config, n_threads = engine.config, subject.n_threads
    target = step_times(engine.target, config, n_threads, SIZES)
    table = report.table(f"{subject.name}: a decode of n tokens", "n", *map(str, SIZES))
    table.add("ms", *(1e3 * seconds for seconds in target.values()))
    table.add("x single", *(seconds / target[1] for seconds in target.values()))
    report.values[table.title] = target
    if engine.draft is not None:
        step = step_times(engine.draft, config, n_threads, [1])[1]
        share = f"{step / target[1]:.3f} of the target's"
        report.notes.append(f"{subject.name}: a step of {engine.draft.name} takes {1e3 * step:.2f} ms, {share}.")
        report.values[f"{subject.name}: a step of the draft"] = step


class _Blocks:
    """Speeds by kind of text, setting and prompt, and what is told of them."""

    def __init__(self, subject: Subject, engine: Engine, options: Options, size: Size, report: Report) -> None:
        self._subject, self._engine, self._options = subject, engine, options
        self._size, self._report = size, report
        self._speeds: dict[str, dict[str, list[float]]] = {kind: {} for kind in size.kinds}
        """Tokens per second of each prompt; a fixed length that was given up has fewer of them."""

    def one_request(self) -> None:
        for kind in self._size.kinds:
            for name in (AUTO, PLAIN):
                self._speeds[kind][name] = self._block(kind, name, EngineSetting(self._engine, **PLAIN_AND_AUTO[name]))

    def fixed_lengths(self) -> None:
        for kind in self._size.kinds:
            for name, params in self._size.settings.items():
                if params["drafter"] == "model" and self._engine.draft is None:
                    continue
                self._speeds[kind][name] = self._block(kind, name, EngineSetting(self._engine, **params), may_stop=True)

    def _block(self, kind: str, name: str, setting: EngineSetting, *, may_stop: bool = False) -> list[float]:
        self._options.progress(f"{self._subject.name}, {kind}: {name}")
        self._engine.forget_texts()  # a prompt that is cached changes no shape: every setting reads its own
        run = partial(setting.in_turn, temperature=0.0, seed=0)
        run(UNSEEN[kind][-1:], min(WARM_UP_TOKENS, self._size.tokens))
        speeds: list[float] = []
        for prompt in UNSEEN[kind][: min(self._size.prompts, len(UNSEEN[kind]) - 1)]:
            speeds.append(run((prompt,), self._size.tokens))
            if may_stop and len(speeds) == TRIED and max(self._ratios(kind, speeds)) < HOPELESS:
                break
        return speeds

    def _ratios(self, kind: str, speeds: list[float]) -> list[float]:
        """Against plain decoding of the same prompts; a text that ends at once has no speed."""
        pairs = zip(speeds, self._speeds[kind][PLAIN], strict=False)
        return [speed / plain for speed, plain in pairs if speed and plain] or [0.0]

    # Told

    def tell(self) -> None:
        title = (
            f"{self._subject.name}: one request, against plain: median over prompts (quartiles), * best fixed length"
        )
        table = self._report.table(title, "setting", *self._speeds)
        self._report.values[title] = self._speeds
        best = {kind: self._best_fixed(kind) for kind in self._speeds}
        for name in (PLAIN, AUTO, *self._size.settings):
            if all(name in speeds for speeds in self._speeds.values()):
                table.add(name, *(self._cell(kind, name, is_best=best[kind] == name) for kind in self._speeds))
        against = {kind: self._median(kind, AUTO) / self._median(kind, name) for kind, name in best.items() if name}
        if against:
            table.add("auto / best fixed length", *(f"{against.get(kind, 0.0):.2f}" for kind in self._speeds))
        self._check(against)

    def _cell(self, kind: str, name: str, *, is_best: bool) -> str:
        speeds = self._speeds[kind][name]
        if name == PLAIN:
            return f"{middle(speeds)} tok/s"
        ratios = self._ratios(kind, speeds)
        spread = f"({percentile(ratios, 25):.2f}..{percentile(ratios, 75):.2f})"
        given_up = f", {len(speeds)} prompts" if len(speeds) < len(self._speeds[kind][PLAIN]) else ""
        return f"{median(ratios):.2f} {spread}{given_up}{' *' if is_best else ''}"

    def _median(self, kind: str, name: str) -> float:
        return median(self._ratios(kind, self._speeds[kind][name]))

    def _best_fixed(self, kind: str) -> str:
        fixed = [name for name in self._size.settings if name in self._speeds[kind]]
        return max(fixed, key=partial(self._median, kind), default="")

    def _check(self, against: Mapping[str, float]) -> None:
        factor, is_gpu = self._options.cost_factor, self._options.device == "gpu"
        wanted = WANTED_ON_GPU.get(factor, {}) if is_gpu else {}
        checks = self._report.checks
        for kind in self._speeds:
            name = f"{self._subject.name}, {kind}: auto / plain"
            checks.append(Check(name, self._median(kind, AUTO), wanted.get(kind, WANTED_OVER_PLAIN)))
            if is_gpu and factor in WANTED_OF_BEST_FIXED and kind in against:
                name = f"{self._subject.name}, {kind}: auto / best fixed length"
                checks.append(Check(name, against[kind], WANTED_OF_BEST_FIXED[factor]))

    # Several at once

    def at_once(self) -> None:
        if not self._size.at_once:
            return
        title = f"{self._subject.name}: chat, several requests at once, prompts included"
        table = self._report.table(title, "requests", "plain, tok/s", "auto / plain", "lowest", "highest")
        found = self._report.values.setdefault(title, {})
        for count in self._size.at_once:
            speeds = {name: self._batch(count, name) for name in (AUTO, PLAIN)}
            gain = ratio(speeds[AUTO], speeds[PLAIN])
            table.add(count, middle(speeds[PLAIN], is_alike=False), gain.median, gain.low, gain.high)
            found[count] = speeds
            wanted = WANTED_OVER_PLAIN
            if self._options.device == "gpu":
                wanted = WANTED_AT_ONCE.get((self._options.cost_factor, count), wanted)
            self._report.checks.append(
                Check(f"{self._subject.name}, {count} at once: auto / plain", gain.median, wanted)
            )

    def _batch(self, count: int, name: str) -> list[float]:
        self._options.progress(f"{self._subject.name}, {count} at once: {name}")
        setting, prompts = EngineSetting(self._engine, **PLAIN_AND_AUTO[name]), many_chats(count)

        def run(tokens: int) -> float:
            self._engine.forget_texts()
            return setting.together(prompts, tokens, temperature=0.0, seed=0)

        run(min(WARM_UP_TOKENS, self._size.tokens))
        return [run(self._size.tokens) for _ in range(ROUNDS)]
