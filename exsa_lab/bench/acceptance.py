"""How often the target keeps what a draft proposes, on prompts no draft of ours was trained on.

Nothing is drafted here: the target writes, and the draft is then asked for its prediction at every place of that
text. That gives every draft length at once, exactly for greedy text: a round accepts the places in a row where the
draft's best token is the one written. For sampled text, rejection sampling writes token x at probability p(x) and
does so by accepting the draft's token at probability min(p(x), q(x)); so a written x was accepted with probability
min(1, q(x) / p(x)), and the rounds follow by drawing that (Leviathan et al. 2023, arXiv 2211.17192).
"""

from __future__ import annotations

import argparse

from exsa_lab.bench.report import Check, Report, Table
from exsa_lab.bench.setting import Options, Subject, subjects
from exsa_lab.distill.held_out import HELD_OUT
from exsa_lab.distill.measure import Agreement, agreement, answers, draft_step_seconds
from exsa_lab.errors import ConfigError
from exsa_lab.models.resolve import resolve_draft

TEMPERATURES = (0.0, 0.8)
LENGTHS = range(1, 7)
WANTED_FIRST, WANTED_TOKENS, WANTED_STEP_MS = 0.70, 2.8, 1.2
"""Promised of the default pair, greedy: first token accepted, tokens per round at k = 4; and the draft's step."""
DEFAULT_MODEL = "smollm2-135m"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompts", type=int, help="how many of the twenty prompts of each kind (default: all)")
    parser.add_argument("--tokens", type=int, help="tokens per prompt (default: 128)")


def check(options: Options) -> None:
    """Raise ConfigError where there is no draft."""
    if resolve_draft(options.draft, options.model) is None:
        raise ConfigError(f"{options.model} has no draft to measure.", hint="Name one with --draft.")


def run(options: Options) -> Report:
    """Let the target answer the held-out prompts, and measure the draft on its answers."""
    per_kind = options.given.prompts or options.pick(20, 1)
    tokens = options.given.tokens or options.pick(128, 24)
    report = Report("acceptance", {"model": options.model, "prompts": 3 * per_kind, "tokens": tokens})
    for subject in subjects(options, n_seq_max=16, n_ctx=8192):
        _measure(subject, options, per_kind, tokens, report)
    return report


def _measure(subject: Subject, options: Options, per_kind: int, tokens: int, report: Report) -> None:
    assert subject.draft is not None
    names = [kind for kind, prompts in HELD_OUT.items() for _ in prompts[:per_kind]]
    prompts = [prompt for group in HELD_OUT.values() for prompt in group[:per_kind]]
    table = report.table(f"{subject.name}: tokens per round", "text", "first", *(f"k={k}" for k in LENGTHS))
    positions = report.table(
        f"{subject.name}: share of rounds that accept the n-th draft token, k = {max(LENGTHS)}",
        "text",
        *(f"n={k}" for k in LENGTHS),
    )
    for temperature in TEMPERATURES:
        options.progress(f"{subject.name}: the target answers at temperature {temperature:g}")
        with subject.open_engine() as engine:
            written = answers(engine, prompts, tokens, temperature)
        options.progress(f"{subject.name}: the draft predicts at temperature {temperature:g}")
        found = agreement(subject.path, subject.draft, written, temperature, subject.n_threads)
        label = "greedy" if temperature == 0 else f"temperature {temperature:g}"
        for kind in HELD_OUT:
            own = [each for each, name in zip(found, names, strict=True) if name == kind]
            _tell(table, f"{label}, {kind}", Agreement(own))
        _tell(table, f"{label}, all", Agreement(found))
        positions.add(f"{label}, all", *Agreement(found).by_position(max(LENGTHS)))
        if temperature == 0 and options.model == DEFAULT_MODEL and options.draft == "auto":
            _promise(subject.name, Agreement(found), report)
    step = 1e3 * draft_step_seconds(subject.draft, subject.n_threads)
    report.notes.append(f"One step of the draft takes {step:.2f} ms ({subject.draft.name}).")
    if options.model == DEFAULT_MODEL and options.draft == "auto":
        report.checks.append(Check(f"{subject.name}: draft step, ms", step, WANTED_STEP_MS, at_least=False))


def _tell(table: Table, label: str, found: Agreement) -> None:
    table.add(label, found.first(4), *(found.tokens_per_round(k) for k in LENGTHS))


def _promise(name: str, found: Agreement, report: Report) -> None:
    report.checks.append(Check(f"{name}: first draft token accepted, greedy", found.first(4), WANTED_FIRST))
    report.checks.append(Check(f"{name}: tokens per round at k = 4", found.tokens_per_round(4), WANTED_TOKENS))
