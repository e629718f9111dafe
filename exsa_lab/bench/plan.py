"""Whether the plan for this machine is as fast as any other setting, and faster than llama-cpp-python's defaults."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from exsa_lab.bench.baselines.llama_high_level import HighLevelLlama
from exsa_lab.bench.measure import Run, interleaved, median, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import AS_SHIPPED, Options, Subject, subjects
from exsa_lab.config import EngineConfig
from exsa_lab.loading import machine
from exsa_lab.models import speed
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.planner import plan
from exsa_lab.runtime.model import LlamaModel
from exsa_lab.runtime.protocol import Context

WEIGHTS = (AS_SHIPPED, "Q8_0")
PLAN, LLAMA = "the plan", "Llama, its own defaults"
MEASURES = {"1 request": 1, "16 requests": 16, "prompt": 0}
"""What is measured in tokens per second, and with how many sequences; 0 is prompt processing."""
N_CTX = 2048
"""Every setting gets this context, so that all can be open at once."""
FAR = 0.7
"""Settings slower than this share of the fastest in the first round are not measured again."""
DUEL_ROUNDS = 4
"""Rounds of the duel for each of the survey's."""
WANTED_OF_BEST, WANTED_AS_SHIPPED, WANTED_CONVERTED = 0.95, 1.0, 1.3


def run(options: Options) -> Report:
    """Measure the plan among a grid of settings, then against the best of them and against ``Llama``."""
    report = Report("plan", {"model": options.model, "rounds": options.repeats})
    shipped = subjects(replace(options, weights=(AS_SHIPPED,)))[0].path
    for subject in subjects(options):
        _measure_grid(subject, options, report)
        _measure_prompt(subject, shipped, options, report)
    return report


def planned(path: Path) -> EngineConfig:
    """The plan's settings for this file, with the benchmark's context."""
    made = plan(machine(), read_facts(path)).config
    return replace(made, n_ctx=N_CTX, n_seq_max=16, prefix_cache_tokens=0)


def grid(config: EngineConfig, *, quick: bool = False) -> dict[str, EngineConfig]:
    """Settings around the plan: threads, micro-batch, batch and flash attention, each with each.

    More threads than the plan's, which is slow to measure where there are no more cores, only with its own batches.
    """
    threads = sorted({1, max(1, config.n_threads // 2), config.n_threads})
    sizes = [(128, 2048), (512, 512), (512, 2048), (2048, 2048)]
    found = {PLAN: config, f"n_threads {2 * config.n_threads}": replace(config, n_threads=2 * config.n_threads)}
    for n_threads, (n_ubatch, n_batch), flash in itertools.product(threads, sizes, (True, False)):
        other = replace(config, n_threads=n_threads, n_ubatch=n_ubatch, n_batch=n_batch, flash_attention=flash)
        if other != config:
            attention = "" if flash else ", no flash attention"
            found[f"n_threads {n_threads}, n_ubatch {n_ubatch}, n_batch {n_batch}{attention}"] = other
    return dict(itertools.islice(found.items(), 3)) if quick else found


def _measure_grid(subject: Subject, options: Options, report: Report) -> None:
    table = report.table(subject.name, "setting", *(f"{name}, tok/s" for name in MEASURES))
    with ExitStack() as stack:
        config = planned(subject.path)
        model = stack.enter_context(closing(LlamaModel(subject.path, config)))
        contexts: dict[str, Context] = {
            name: stack.enter_context(closing(model.open_context(setting, setting.n_threads)))
            for name, setting in grid(config, quick=options.quick).items()
        }
        found = {}
        for measure, sequences in MEASURES.items():
            for context in contexts.values():
                speed.prepare(context, sequences)
            found[measure] = _survey(contexts, measure, options)
            _duel(contexts, measure, found[measure], subject, options, report)
        for name in contexts:
            table.add(name, *(middle(found[measure][name]) for measure in MEASURES))


def _duel(
    contexts: dict[str, Context],
    measure: str,
    found: dict[str, list[float]],
    subject: Subject,
    options: Options,
    report: Report,
) -> None:
    """The best of many noisy numbers is too good: it meets the plan again, alone and more often."""
    best = max((name for name in contexts if name != PLAN), key=lambda name: median(found[name]))
    rounds = options.pick(DUEL_ROUNDS * options.repeats, 1)
    duel = _interleaved({name: contexts[name] for name in (PLAN, best)}, measure, rounds, options)
    value = ratio(duel[PLAN], duel[best])
    report.notes.append(f"{subject.name}, {measure}: the plan against the best other ({best}): {value}")
    report.checks.append(Check(f"{subject.name}, {measure}: the plan / the best other", value.median, WANTED_OF_BEST))


def _survey(contexts: dict[str, Context], measure: str, options: Options) -> dict[str, list[float]]:
    """Measure every setting once, and those that are near the fastest half as often as the duel after it."""
    first = _interleaved(contexts, measure, 1, options)
    enough = FAR * max(values[0] for values in first.values())
    near = {name: context for name, context in contexts.items() if name == PLAN or first[name][0] >= enough}
    again = _interleaved(near, measure, max(0, options.repeats // 2 - 1), options)
    return {name: values + again.get(name, []) for name, values in first.items()}


def _interleaved(contexts: dict[str, Context], measure: str, rounds: int, options: Options) -> dict[str, list[float]]:
    """Measure prepared contexts, which need no other warming up."""
    runs: dict[str, Run] = {name: partial(_tokens_per_second, context, measure) for name, context in contexts.items()}
    return interleaved(runs, rounds, warm_up=False, progress=options.progress)


def _tokens_per_second(context: Context, measure: str, _round: int) -> float:
    sequences = MEASURES[measure]
    if sequences:
        return sequences / speed.step_seconds(context, sequences)
    return speed.PROMPT / speed.prompt_seconds(context)


def _measure_prompt(subject: Subject, shipped: Path, options: Options, report: Report) -> None:
    """Prompt processing by plan, against ``Llama`` as it comes on the file as it is shipped."""
    config = planned(subject.path)
    tokens = options.pick(768, 128)
    with ExitStack() as stack:
        model = stack.enter_context(closing(LlamaModel(subject.path, config)))
        context = stack.enter_context(closing(model.open_context(config, config.n_threads)))
        peer: Any = stack.enter_context(HighLevelLlama(shipped, config, config.n_threads))
        # Another prompt each round, for Llama keeps the beginning of the last one.
        runs: dict[str, Run] = {
            PLAN: lambda _: tokens / speed.prompt_seconds(context, tokens),
            LLAMA: lambda number: tokens / peer.complete([100 + number] * tokens, 1).total_s,
        }
        found = interleaved(runs, options.repeats, progress=options.progress)
    table = report.table(f"{subject.name}: a prompt of {tokens} tokens", "contender", "tok/s", f"against {LLAMA}")
    for name, values in found.items():
        table.add(name, middle(values), ratio(values, found[LLAMA]))
    wanted = WANTED_AS_SHIPPED if subject.path == shipped else WANTED_CONVERTED
    value = ratio(found[PLAN], found[LLAMA]).median
    report.checks.append(Check(f"{subject.name}: prompt, the plan / {LLAMA}", value, wanted))
