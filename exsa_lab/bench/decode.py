"""How fast one request decodes: against llama.cpp alone and against llama-cpp-python."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from exsa_lab.bench.baselines.bare import BareLoop
from exsa_lab.bench.baselines.llama_high_level import HighLevelLlama
from exsa_lab.bench.measure import Run, interleaved, middle, ratio, speed
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, chat_tokens, subjects
from exsa_lab.bench.workloads import CHAT
from exsa_lab.engine.engine import Engine

PROMPT = CHAT[2]
BARE, ENGINE = "bare llama_decode loop", "exsa_lab plain"
LLAMA, LLAMA_FLASH = "Llama", "Llama, flash_attn=True"

WANTED = ((ENGINE, BARE, 0.97), (ENGINE, LLAMA, 1.05))
"""Contender, baseline and the ratio promised."""
WANTED_ON_GPU = ((ENGINE, BARE, 0.90), (ENGINE, LLAMA, 1.3))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="tokens per run (default: 128)")


def run(options: Options) -> Report:
    """Measure plain decoding in tokens per second, prefill not counted."""
    max_tokens = options.given.tokens or options.pick(128, 24)
    report = Report("decode", {"model": options.model, "tokens": max_tokens, "rounds": options.repeats})
    for subject in subjects(options):
        _measure(subject, options, max_tokens, report)
    return report


def _measure(subject: Subject, options: Options, max_tokens: int, report: Report) -> None:
    with ExitStack() as stack:
        runs = _contenders(subject, max_tokens, stack)
        speeds = interleaved(runs, options.repeats, progress=options.progress)
    table = report.table(subject.name, "contender", "tok/s", *(f"against {name}" for name in (BARE, LLAMA)))
    for name, values in speeds.items():
        against = [ratio(values, speeds[base]) for base in (BARE, LLAMA)]
        table.add(name, middle(values), *against)
    for name, base, wanted in WANTED_ON_GPU if options.device == "gpu" else WANTED:
        value = ratio(speeds[name], speeds[base]).median
        report.checks.append(Check(f"{subject.name}: {name} / {base}", value, wanted))


def _contenders(subject: Subject, max_tokens: int, stack: ExitStack) -> dict[str, Run]:
    engine = stack.enter_context(subject.open_engine())
    bare = stack.enter_context(BareLoop(subject.path, subject.config, subject.n_threads))
    llama = stack.enter_context(HighLevelLlama(subject.path, subject.config, subject.n_threads))
    flash = stack.enter_context(HighLevelLlama(subject.path, subject.config, subject.n_threads, flash_attention=True))
    prompt = chat_tokens(engine, PROMPT)
    return {
        BARE: lambda _: speed(bare.generate(prompt, max_tokens).times),
        ENGINE: lambda _: _plain(engine, max_tokens),
        LLAMA: lambda _: llama.complete(prompt, max_tokens).tokens_per_second,
        LLAMA_FLASH: lambda _: flash.complete(prompt, max_tokens).tokens_per_second,
    }


def _plain(engine: Engine, max_tokens: int) -> float:
    return engine.generate(PROMPT, max_tokens=max_tokens, draft_length=0).stats.tokens_per_second
