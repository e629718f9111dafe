"""What many requests at once gain: over one after the other in ``Llama``, and beside llama.cpp's own server."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise

from exsa_lab.bench.baselines.llama_high_level import HighLevelLlama
from exsa_lab.bench.baselines.xllama import XllamaServer, is_installed
from exsa_lab.bench.measure import Run, interleaved, median, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, chat_tokens, subjects
from exsa_lab.bench.workloads import short_prompts
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.stats import StepRecord
from exsa_lab.errors import how_to_install

WEIGHTS = ("as-shipped", "Q8_0")
WANTED_OVER_LLAMA = {"as-shipped": 1.6, "Q8_0": 2.5}
"""Promised gain of all requests at once over one after the other, by weight format."""
WANTED_OVER_ONE_ON_GPU = {16: 4.0, 64: 8.0}
"""Promised throughput of so many requests at once over one request after the other, on a GPU."""
WANTED_OVER_SERVER = 1.0
WANTED_PYTHON_SHARE = 0.03
MOST_IN_TURN = 16
"""``Llama`` gets at most so many requests one after the other; that is its speed for any number."""
SMALLEST = 4
"""Fewest requests in one measurement."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="tokens per request (default: 96)")
    parser.add_argument("--requests", type=_numbers, help="requests at once (default: 1,4,16; on a GPU 1,16,64)")


def run(options: Options) -> Report:
    """Measure generated tokens per second of whole batches, prefill included."""
    counts = options.given.requests or options.pick((1, 16, 64) if options.device == "gpu" else (1, 4, 16), (1, 4))
    tokens = options.given.tokens or options.pick(96, 16)
    report = Report("batching", {"model": options.model, "tokens each": tokens, "rounds": options.repeats})
    room = {"n_seq_max": max(16, *counts), **({"n_ctx": 16384} if max(counts) > 32 else {})}
    for weights, subject in zip(options.weights, subjects(options, **room), strict=True):
        _measure(subject, weights, options, counts, tokens, report)
    if not is_installed():
        report.notes.append(f"xllamacpp is not installed, so llama-server was left out. {how_to_install('xllamacpp')}")
    return report


class _Contest:
    """One model file, and the same requests for all who generate with it."""

    def __init__(self, engine: Engine, counts: tuple[int, ...], max_tokens: int) -> None:
        self._engine = engine
        self._counts = counts
        self._max_tokens = max_tokens
        self.prompt_lengths: list[int] = []
        self.python_shares: list[float] = []
        """Of the largest batch, one value per round."""

    def _batches(self, count: int, number: int) -> list[list[str]]:
        """Prompts of one measurement, other ones each round, so that no cache knows them.

        Small batches come several times in a row: a single request is over within a second.
        """
        sizes = [max(size, SMALLEST) for size in self._counts]
        start = number * sum(sizes) + sum(sizes[: self._counts.index(count)])
        prompts = short_prompts(max(count, SMALLEST), start)
        return [prompts[i : i + count] for i in range(0, len(prompts) - count + 1, count)]

    def _tokens(self, prompts: list[str]) -> list[list[int]]:
        tokens = [chat_tokens(self._engine, prompt) for prompt in prompts]
        self.prompt_lengths += [len(prompt) for prompt in tokens]
        return tokens

    def on_engine(self, count: int, number: int) -> float:
        tokens, begin = 0, time.perf_counter()
        for prompts in self._batches(count, number):
            generations = [
                self._engine.submit(prompt, max_tokens=self._max_tokens, draft_length=0) for prompt in prompts
            ]
            tokens += sum(len(generation.tokens) for generation in generations if generation.result() is not None)
        seconds = time.perf_counter() - begin
        if number and count == max(self._counts):
            steps = [step for step in self._engine.steps if step.time_s >= begin - self._engine.started]
            self.python_shares.append(python_share(steps, count))
        return tokens / seconds

    def in_turn(self, llama: HighLevelLlama, count: int, number: int) -> float:
        runs = [
            llama.complete(tokens, self._max_tokens)
            for prompts in self._batches(count, number)
            for tokens in self._tokens(prompts)
        ]
        return sum(run.num_tokens for run in runs) / sum(run.total_s for run in runs)

    def on_server(self, server: XllamaServer, count: int, number: int) -> float:
        batches = [
            server.complete_all(self._tokens(prompts), self._max_tokens) for prompts in self._batches(count, number)
        ]
        return sum(run.num_tokens for runs, _ in batches for run in runs) / sum(seconds for _, seconds in batches)


def _measure(
    subject: Subject, weights: str, options: Options, counts: tuple[int, ...], tokens: int, report: Report
) -> None:
    with ExitStack() as stack:
        contest = _Contest(stack.enter_context(subject.open_engine()), counts, tokens)
        speeds = interleaved(_contenders(subject, contest, counts, stack), options.repeats, progress=options.progress)
    lengths = contest.prompt_lengths
    report.settings["prompt tokens"] = f"{min(lengths)} to {max(lengths)}"
    _tell(subject, counts, speeds, report)
    if options.device == "gpu":
        _promise_on_gpu(subject, counts, speeds, report)
    else:
        _promise(subject, weights, counts, speeds, median(contest.python_shares), report)


def _engine(count: int) -> str:
    return f"exsa_lab, {count} at once"


def _in_turn(count: int) -> str:
    return f"Llama, {count} in turn"


def _turns(counts: tuple[int, ...]) -> int:
    return max((count for count in counts if count <= MOST_IN_TURN), default=min(counts))


def _server(count: int) -> str:
    return f"xllamacpp, {count} at once"


def _contenders(subject: Subject, contest: _Contest, counts: tuple[int, ...], stack: ExitStack) -> dict[str, Run]:
    llama = stack.enter_context(HighLevelLlama(subject.path, subject.config, subject.n_threads))
    turns = _turns(counts)
    runs: dict[str, Run] = {_in_turn(turns): lambda number: contest.in_turn(llama, turns, number)}
    for count in counts:
        runs[_engine(count)] = _bound(contest.on_engine, count)
    if is_installed():
        server = stack.enter_context(
            XllamaServer(subject.path, subject.config, subject.n_threads, n_slots=subject.config.n_seq_max)
        )
        for count in counts:
            runs[_server(count)] = _bound(lambda count, number: contest.on_server(server, count, number), count)
    return runs


def _bound(function: Callable[[int, int], float], count: int) -> Run:
    return lambda number: function(count, number)


def python_share(steps: list[StepRecord], sequences: int) -> float:
    """Return the share of full decode steps' time spent outside llama.cpp, what lies between two steps included."""
    outside = total = 0.0
    for step, after in pairwise(steps):
        if step.sequences == sequences and not step.prefill_tokens:
            lasted = after.time_s - step.time_s
            total += lasted
            outside += lasted - step.verify_s - step.draft_s
    return outside / total if total else 0.0


def _tell(subject: Subject, counts: tuple[int, ...], speeds: dict[str, list[float]], report: Report) -> None:
    in_turn, one = _in_turn(_turns(counts)), _engine(min(counts))
    table = report.table(
        subject.name, "contender", "tok/s", f"against {in_turn}", f"against {one}", "exsa_lab against it"
    )
    rivals = {_server(count): _engine(count) for count in counts}
    for name, values in speeds.items():
        rival = rivals.get(name)
        ours = ratio(speeds[rival], values) if rival else None
        table.add(name, middle(values), ratio(values, speeds[in_turn]), ratio(values, speeds[one]), ours)
        if ours is not None:
            report.checks.append(Check(f"{subject.name}: {rival} / {name}", ours.median, WANTED_OVER_SERVER))


def _promise(
    subject: Subject,
    weights: str,
    counts: tuple[int, ...],
    speeds: dict[str, list[float]],
    share: float,
    report: Report,
) -> None:
    most, in_turn = max(counts), _in_turn(_turns(counts))
    gain = ratio(speeds[_engine(most)], speeds[in_turn]).median
    if wanted := WANTED_OVER_LLAMA.get(weights):
        report.checks.append(Check(f"{subject.name}: {_engine(most)} / {in_turn}", gain, wanted))
    report.checks.append(
        Check(f"{subject.name}: share of Python in a step of {most}", share, WANTED_PYTHON_SHARE, at_least=False)
    )


def _promise_on_gpu(subject: Subject, counts: tuple[int, ...], speeds: dict[str, list[float]], report: Report) -> None:
    for count in counts:
        if (wanted := WANTED_OVER_ONE_ON_GPU.get(count)) and 1 in counts:
            gain = ratio(speeds[_engine(count)], speeds[_engine(1)]).median
            report.checks.append(Check(f"{subject.name}: {_engine(count)} / {_engine(1)}", gain, wanted))


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if not numbers or min(numbers) < 1:
        raise argparse.ArgumentTypeError("must be numbers of at least 1, such as 1,4,16")
    return numbers
