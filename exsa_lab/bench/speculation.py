"""Which draft length and drafter pays for which kind of text, and whether "auto" finds it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from exsa_lab.bench import blocks
from exsa_lab.bench.contenders import (
    AUTO,
    N_SLOTS,
    PLAIN,
    PLAIN_AND_AUTO,
    Contender,
    EngineSetting,
    engine_settings,
    peers,
)
from exsa_lab.bench.disturbance import Disturbance
from exsa_lab.bench.measure import Progress, interleaved, median, middle, overall, ratio, round_name
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.bench.turns import STEPS, Turns
from exsa_lab.bench.workloads import N_TEXTS, WORKLOADS, chosen_workloads, short_prompts
from exsa_lab.config import SamplingParams
from exsa_lab.engine.loop import Loop
from exsa_lab.errors import ConfigError

WEIGHTS = ("as-shipped", "Q8_0")
REPEATS = 4
TEXTS_PER_REPEAT = 2
"""Of the eight of each kind, one a round, so that who is compared runs within seconds of each other."""
WANTED_OVER_PLAIN = 0.97
WANTED_ON_REPEAT = {"as-shipped": 1.3, "Q8_0": 1.7}
WANTED_ON_GPU = {"chat": 1.3, "repeat": 2.5}
"""Promised gain of auto over plain on a GPU, greedy, by kind of text; `WANTED_OVER_PLAIN` for the others."""
WANTED_OF_BEST_FIXED = 0.92
WANTED_OVER_PEERS = 1.0
SINGLE_ONLY = {
    *(f"model, k={k}" for k in (1, 3, 5, 6, 7, 8)),
    *(f"xllamacpp, {kind}" for kind in ("ngram-map-k", "ngram-map-k4v", "ngram-cache")),
}
"""Left out of the batches, where they would only make the measurement longer."""

Speeds = dict[str, list[float]]
Compare = Callable[[list[float], list[float]], float]
"""Speeds of one setting, those of another: how many times as fast the first is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workloads", help=f"some of {','.join(WORKLOADS)} (default: all)")
    parser.add_argument("--temperatures", type=_numbers, help="(default: 0,0.8)")
    parser.add_argument("--tokens", type=int, help="tokens per prompt (default: 128)")
    parser.add_argument("--no-peers", action="store_true", help="measure exsa_lab only")
    parser.add_argument("--no-grid", action="store_true", help="plain and auto only, without fixed draft lengths")
    parser.add_argument("--prompts", type=int, help="with --cost-factor: prompts of each kind (default: 8)")
    parser.add_argument("--at-once", help="with --cost-factor: sizes of batches, 0 for none (default: 4,16,64)")
    parser.add_argument("--only", choices=("single", "eight", "disturbed"), help="one of the three parts")


def run(options: Options) -> Report:
    """Measure one request and eight at once for each kind of text, and one request while the cores get busy.

    With ``--cost-factor`` draft lengths are compared in blocks instead, see `exsa_lab.bench.blocks`.
    """
    if options.given.cost_factor:
        return blocks.run(options)
    chosen_workloads(options)  # a misspelt one is said at once
    tokens = options.given.tokens or options.pick(128, 16)
    report = Report("speculation", {"model": options.model, "tokens": tokens, "rounds": options.repeats})
    # Costs measured on a busier day would mislead "auto": measure them anew.
    found = subjects(options, prefix_cache_tokens=4096, recalibrate=True)
    for weights, subject in zip(options.weights, found, strict=True):
        with ExitStack() as stack:
            engine = stack.enter_context(subject.open_engine())
            lengths = options.pick((range(1, 9), (2, 4, 8, 16)), (range(2, 3), (8,)))
            fixed = (range(0), ()) if options.given.no_grid else lengths
            contenders = engine_settings(engine, *fixed)
            if options.given.only in (None, "disturbed"):
                _disturbed(subject, options, tokens // 2, report)
            if not options.given.no_peers:
                contenders |= peers(subject, engine, stack)
            for temperature in _temperatures(options):
                if options.given.only in (None, "single"):
                    _single(subject, weights, options, contenders, temperature, tokens, report)
                if options.given.only in (None, "eight"):
                    _eight(subject, options, contenders, temperature, tokens, report)
    return report


def _temperatures(options: Options) -> tuple[float, ...]:
    given: tuple[float, ...] | None = options.given.temperatures
    return given or ((0.0,) if options.quick else (0.0, 0.8))


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(SamplingParams(temperature=float(part)).temperature for part in text.split(","))
    except (ValueError, ConfigError) as cause:
        raise argparse.ArgumentTypeError("must be temperatures, such as 0,0.8") from cause


# One request at a time


def _single(
    subject: Subject,
    weights: str,
    options: Options,
    contenders: dict[str, Contender],
    temperature: float,
    tokens: int,
    report: Report,
) -> None:
    title = f"{subject.name}, one request, temperature {temperature:g}"
    rounds = TEXTS_PER_REPEAT * options.repeats

    def measure(contender: Contender, prompts: tuple[str, ...], number: int) -> float:
        return contender.in_turn(_texts(prompts, number), tokens, temperature, seed=number)

    gains: dict[str, float] = {}
    is_gpu = options.device == "gpu"  # it would compute on while its engine waits for a turn
    if is_gpu or contenders.keys() > PLAIN_AND_AUTO.keys():
        found = _interleaved(title, contenders, measure, chosen_workloads(options), rounds, options)
        _tabulate(title, found, report, _all_texts)
        for workload, speeds in found.items():
            gains[workload] = _all_texts(speeds[AUTO], speeds[PLAIN])
            _check_best(f"{title}, {workload}", speeds, contenders, report)
    if not is_gpu:
        pace = Pace(rounds, _texts, _all_texts, with_prompts=False)
        gains = _in_turns(title, subject, options, chosen_workloads(options), pace, temperature, tokens, report)
    _check_over_plain(title, gains, _wanted(weights, temperature, is_gpu=is_gpu), report)


def _wanted(weights: str, temperature: float, *, is_gpu: bool) -> Mapping[str, float]:
    """Promised gain of auto over plain decoding by kind of text, where it is not `WANTED_OVER_PLAIN`."""
    if temperature:
        return {}
    if is_gpu:
        return WANTED_ON_GPU
    return {"repeat": WANTED_ON_REPEAT[weights]} if weights in WANTED_ON_REPEAT else {}


def _texts(prompts: tuple[str, ...], number: int) -> tuple[str, ...]:
    """Rounds take one text after the other, so that four repeats see all of them once; the warm-up takes none of them.

    llama-server's n-gram caches remember earlier answers: a prompt that came before would be copied from there.
    """
    if number < 1:
        return tuple(short_prompts(TEXTS_PER_REPEAT))
    return (prompts[(number - 1) % len(prompts)],)


def _check_over_plain(title: str, gains: Mapping[str, float], wanted: Mapping[str, float], report: Report) -> None:
    for workload, gain in gains.items():
        least = wanted.get(workload, WANTED_OVER_PLAIN)
        report.checks.append(Check(f"{title}, {workload}: auto / plain", gain, least))


def _check_best(title: str, speeds: Speeds, contenders: dict[str, Contender], report: Report) -> None:
    groups = {
        "best fixed setting": ([n for n in speeds if n != AUTO and not contenders[n].is_peer], WANTED_OF_BEST_FIXED),
        "best peer": ([n for n in speeds if contenders[n].is_peer], WANTED_OVER_PEERS),
    }
    for kind, (names, least) in groups.items():
        if names and names != [PLAIN]:
            best = max(names, key=lambda name: _all_texts(speeds[name], speeds[PLAIN]))
            value = _all_texts(speeds[AUTO], speeds[best])
            report.checks.append(Check(f"{title}: auto / {kind} ({best})", value, least))


# Eight at once


def _eight(
    subject: Subject,
    options: Options,
    contenders: dict[str, Contender],
    temperature: float,
    tokens: int,
    report: Report,
) -> None:
    title = f"{subject.name}, {N_SLOTS} requests at once, temperature {temperature:g}"
    able = {name: one for name, one in contenders.items() if one.can_batch and name not in SINGLE_ONLY}

    def measure(contender: Contender, prompts: tuple[str, ...], number: int) -> float:
        return contender.at_once(prompts[:N_SLOTS], tokens, temperature, seed=number)

    if able.keys() > PLAIN_AND_AUTO.keys():
        found = _interleaved(title, able, measure, chosen_workloads(options), options.repeats, options)
        _tabulate(title, found, report, _middle_round)
    pace = Pace(options.repeats, lambda prompts, _: prompts[:N_SLOTS], _middle_round)
    gains = _in_turns(title, subject, options, chosen_workloads(options), pace, temperature, tokens, report)
    _check_over_plain(title, gains, {}, report)


# Plain decoding against auto, in turns


@dataclass(frozen=True, slots=True)
class Pace:
    """How two engines take turns on each kind of text."""

    rounds: int
    texts: Callable[[tuple[str, ...], int], tuple[str, ...]]
    """Of the prompts of a kind those of a round; rounds 0 and before only warm up."""
    compare: Compare
    with_prompts: bool = True
    before_step: Callable[[Loop], None] = lambda loop: None


def _in_turns(
    title: str,
    subject: Subject,
    options: Options,
    workloads: Iterable[str],
    pace: Pace,
    temperature: float,
    tokens: int,
    report: Report,
) -> dict[str, float]:
    """Return auto against plain for each kind of text, in turns of a few steps.

    Whole rounds scatter too much to tell 0.97 from 1.
    """
    table = report.table(
        f"{title}, in turns of {STEPS} steps", "kind of text", "plain, tok/s", "auto / plain", "lowest", "highest"
    )
    found: dict[str, Speeds] = {}
    report.values[table.title] = found
    gains: dict[str, float] = {}
    with subject.open_engine() as one, subject.open_engine() as other:
        turns = Turns(one, other, with_prompts=pace.with_prompts, before_step=pace.before_step)
        for workload in workloads:
            speeds = found[workload] = {PLAIN: [], AUTO: []}
            progress = _prefixed(options, f"{title}, {workload}")
            for number in range(-1, pace.rounds + 1):
                progress(round_name(number, pace.rounds))
                # Two engines never lie in memory alike: the settings change places.
                names = (PLAIN, AUTO) if number % 2 else (AUTO, PLAIN)
                texts = pace.texts(WORKLOADS[workload], number)
                submits = [
                    partial(
                        EngineSetting(engine, **PLAIN_AND_AUTO[name]).submit, texts, tokens, temperature, abs(number)
                    )
                    for engine, name in zip((one, other), names, strict=True)
                ]
                for name, speed in zip(names, turns.run(*submits), strict=True):
                    if number > 0:
                        speeds[name].append(speed)
            gain = gains[workload] = pace.compare(speeds[AUTO], speeds[PLAIN])
            scatter = ratio(speeds[AUTO], speeds[PLAIN])
            table.add(workload, middle(speeds[PLAIN]), gain, scatter.low, scatter.high)
    return gains


# One request while another program takes the cores


def _disturbed(subject: Subject, options: Options, tokens: int, report: Report) -> None:
    title = f"{subject.name}, one request, other processes take the cores halfway"
    kinds = [name for name in chosen_workloads(options) if name in ("chat", "repeat")]
    with Disturbance(subject.n_threads, from_token=tokens // 2) as disturbance:
        pace = Pace(
            TEXTS_PER_REPEAT * options.repeats, _texts, _all_texts, with_prompts=False, before_step=disturbance.follow
        )
        gains = _in_turns(title, subject, options, kinds, pace, 0.0, tokens, report)
    _check_over_plain(title, gains, {}, report)


# All of them


def _interleaved(
    title: str,
    contenders: Mapping[str, Contender],
    measure: Callable[[Contender, tuple[str, ...], int], float],
    workloads: Iterable[str],
    rounds: int,
    options: Options,
) -> dict[str, Speeds]:
    """Measure the contenders on each kind of text; ``measure`` takes one, the texts and the round."""
    found: dict[str, Speeds] = {}
    for workload in workloads:
        runs = {name: partial(measure, contender, WORKLOADS[workload]) for name, contender in contenders.items()}
        found[workload] = interleaved(runs, rounds, progress=_prefixed(options, f"{title}, {workload}"))
    return found


def _prefixed(options: Options, title: str) -> Progress:
    return lambda text: options.progress(f"{title}: {text}")


def _all_texts(values: list[float], baseline: list[float]) -> float:
    """For rounds of one text each: each text counts once, with the middle one of its rounds' ratios."""
    ratios: dict[int, list[float]] = {}
    for number, (value, base) in enumerate(zip(values, baseline, strict=True)):
        if base:
            ratios.setdefault(number % N_TEXTS, []).append(value / base)
    return overall([median(found) for found in ratios.values()])


def _middle_round(values: list[float], baseline: list[float]) -> float:
    """For rounds of the same texts."""
    return ratio(values, baseline).median


def _tabulate(title: str, found: dict[str, Speeds], report: Report, compare: Compare) -> None:
    """Settings down, kinds of text across: plain in tokens per second, the others against it."""
    if not found:
        return
    table = report.table(title, "setting", *found)
    report.values[title] = found
    for name in next(iter(found.values())):
        if name == PLAIN:
            table.add(name, *(f"{middle(speeds[PLAIN])} tok/s" for speeds in found.values()))
            continue
        scatter = {kind: ratio(speeds[name], speeds[PLAIN]) for kind, speeds in found.items()}
        gains = [replace(scatter[kind], median=compare(speeds[name], speeds[PLAIN])) for kind, speeds in found.items()]
        table.add(name, *gains)
