"""transformers' assisted generation with the same pair: its speed with the draft against its own without.

Both models' weights are read from their GGUF files and dequantized, so that it generates the same kind of text. On a
GPU it computes in bfloat16, on a CPU in float32.
"""

from __future__ import annotations

import argparse
import importlib.util
from functools import partial

from benchmarks.transformers_peer import Transformers
from exsa_lab.bench.contenders import AUTO, PLAIN, EngineSetting
from exsa_lab.bench.measure import interleaved, middle, ratio
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, Subject, chat_tokens, subjects
from exsa_lab.bench.workloads import WORKLOADS
from exsa_lab.engine.engine import Engine

REPEATS = 3
PEER_PLAIN, PEER_ASSISTED = "transformers", "transformers, assisted by the draft"
NEEDED = ("torch", "transformers", "gguf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tokens", type=int, help="tokens per prompt (default: 96)")


def missing() -> list[str]:
    """Return the packages this needs and does not find."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


def run(options: Options) -> Report:
    """Measure decoding with and without the draft, in the engine and in transformers."""
    tokens = options.given.tokens or options.pick(96, 8)
    report = Report("assisted", {"model": options.model, "tokens": tokens, "rounds": options.repeats})
    if lacking := missing():
        report.notes.append(f"{' and '.join(lacking)} not installed, so transformers was left out.")
        return report
    (subject,) = subjects(options)
    if subject.draft is None:
        report.notes.append(f"{subject.name} has no draft.")
        return report
    with subject.open_engine() as engine, Transformers(subject.path, subject.draft, options.device) as peer:
        for workload in options.pick(("chat", "repeat"), ("repeat",)):
            _measure(workload, subject, engine, peer, options, tokens, report)
    return report


def _measure(
    workload: str, subject: Subject, engine: Engine, peer: Transformers, options: Options, tokens: int, report: Report
) -> None:
    prompts = WORKLOADS[workload]
    settings = {PLAIN: EngineSetting(engine, draft_length=0), AUTO: EngineSetting(engine)}

    def ours(setting: EngineSetting, number: int) -> float:
        return setting.in_turn((prompts[number % len(prompts)],), tokens, 0.0, seed=0)

    def theirs(is_assisted: bool, number: int) -> float:
        return peer.tokens_per_second(chat_tokens(engine, prompts[number % len(prompts)]), tokens, is_assisted)

    runs = {name: partial(ours, setting) for name, setting in settings.items()}
    runs |= {PEER_PLAIN: partial(theirs, False), PEER_ASSISTED: partial(theirs, True)}
    found = interleaved(runs, options.repeats, progress=options.progress)
    table = report.table(f"{subject.name}, {workload}", "contender", "tok/s", "gain by speculation")
    gains = {AUTO: ratio(found[AUTO], found[PLAIN]), PEER_ASSISTED: ratio(found[PEER_ASSISTED], found[PEER_PLAIN])}
    for name, values in found.items():
        table.add(name, middle(values, is_alike=False), gains.get(name))
    if options.device == "gpu":
        wanted = gains[PEER_ASSISTED].median
        report.checks.append(
            Check(f"{workload}: gain of auto / that of assisted generation", gains[AUTO].median, wanted)
        )
