"""How long readers wait: while a long prompt arrives, and as more of them ask at once."""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

from exsa_lab.bench.measure import median, middle, percentile
from exsa_lab.bench.report import Check, Report, Table
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.bench.text import long_text
from exsa_lab.bench.workloads import PASSAGES, short_prompts
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.events import RoundEvent

NUM_DECODING = 7
WANTED_GAP = 3.0
ENDLESS = 1_200
"""Tokens asked for by requests that are cancelled long before."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt-tokens", type=int, help="length of the long prompt (default: 4000)")


def run(options: Options) -> Report:
    """Measure gaps between tokens and time to first token, as a reader of one request sees them."""
    length = options.given.prompt_tokens or options.pick(4000, 300)
    report = Report("latency", {"model": options.model, "rounds": options.repeats})
    for subject in subjects(options):
        _long_prompt(subject, options, length, report)
        _under_load(subject, options, report)
    return report


def times_of(generation: Generation) -> list[float]:
    """Return the `time.perf_counter` of each round, which a reader sees as new text."""
    return [generation.submitted + event.time_s for event in generation.events if isinstance(event, RoundEvent)]


def gaps_between(times: list[float], begin: float, end: float) -> list[float]:
    """Return the gaps between consecutive times that touch the span from ``begin`` to ``end``."""
    return [after - before for before, after in pairwise(times) if after > begin and before < end]


# A long prompt beside seven requests that decode


def _long_prompt(subject: Subject, options: Options, length: int, report: Report) -> None:
    before, during, first_token, factors = [], [], [], []
    with subject.open_engine(n_ctx=2 * length + NUM_DECODING * (ENDLESS + 200)) as engine:
        for number in range(1, options.repeats + 1):
            options.progress(f"long prompt, round {number} of {options.repeats}")
            undisturbed, disturbed, ttft_s = _arrival(engine, number, length)
            before.append(median(undisturbed))
            during.append(median(disturbed))
            factors.append(during[-1] / before[-1])
            first_token.append(ttft_s)
    table = report.table(
        f"{subject.name}: {NUM_DECODING} requests decode, a prompt of {length:,} tokens arrives",
        "gap between tokens, median",
        "ms",
    )
    table.add("before it arrives", middle(before, 1000))
    table.add("while it is prefilled", middle(during, 1000))
    table.add("times as long", middle(factors))
    table.add("(its own time to first token)", middle(first_token, 1000))
    name = f"{subject.name}: gap while {length:,} tokens are prefilled / before"
    report.checks.append(Check(name, median(factors), WANTED_GAP, at_least=False))


def _arrival(engine: Engine, number: int, length: int) -> tuple[list[float], list[float], float]:
    """One round: the gaps before and during the prefill, and the long prompt's time to first token."""
    text = long_text(engine, length, opening=f"{number}. document")
    # Raw text goes on for ever, where an answer might end before the measurement does.
    decoding = [engine.submit(PASSAGES[i], max_tokens=ENDLESS, draft_length=0, chat=False) for i in range(NUM_DECODING)]
    try:
        begin = _wait_for_tokens(decoding, 4)
        arrives = _wait_for_tokens(decoding, 32)
        long = engine.submit(text, max_tokens=1, draft_length=0, chat=False)
        long.result()
        done = time.perf_counter()
    finally:
        for generation in decoding:
            generation.cancel()
    times = [times_of(generation) for generation in decoding if generation.wait()]
    undisturbed = [gap for times_one in times for gap in gaps_between(times_one, begin, arrives)]
    return undisturbed, [gap for one in times for gap in gaps_between(one, arrives, done)], long.stats.ttft_s


def _wait_for_tokens(generations: list[Generation], count: int) -> float:
    """Wait until each has so many tokens; returns the time."""
    while min(generation.stats.generated_tokens for generation in generations) < count:
        if any(generation.state.is_final for generation in generations):
            raise RuntimeError("a request ended before it could be measured")
        time.sleep(0.005)
    return time.perf_counter()


# More and more requests at once


def _under_load(subject: Subject, options: Options, report: Report) -> None:
    counts = options.pick((1, 2, 4, 8, 16, 32), (1, 2))
    table = report.table(
        f"{subject.name}: requests at once, milliseconds",
        "requests",
        "first token p50",
        "first token p95",
        "gap p50",
        "gap p95",
        "tok/s in all",
    )
    with subject.open_engine(n_seq_max=max(counts)) as engine:
        engine.generate(short_prompts(1)[0], max_tokens=8, draft_length=0)
        for count in counts:
            options.progress(f"{count} requests at once")
            _add_load(engine, count, options, table)


def _add_load(engine: Engine, count: int, options: Options, table: Table) -> None:
    first: list[float] = []
    gaps: list[float] = []
    speeds = []
    for number in range(options.repeats):
        begin = time.perf_counter()
        prompts = short_prompts(count, start=1 + 37 * number + 5 * count)
        generations = [engine.submit(prompt, max_tokens=options.pick(48, 12), draft_length=0) for prompt in prompts]
        for generation in generations:
            generation.result()
            first.append(generation.stats.ttft_s)
            times = times_of(generation)
            gaps += gaps_between(times, begin, times[-1])
        seconds = time.perf_counter() - begin
        speeds.append(sum(generation.stats.generated_tokens for generation in generations) / seconds)
    milliseconds = [1000 * percentile(values, percent) for values in (first, gaps) for percent in (50, 95)]
    table.add(count, *milliseconds, middle(speeds, is_alike=False))
