"""From a command line to reports."""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exsa_lab.bench.report import Report, save
from exsa_lab.bench.setting import AS_SHIPPED, Options, progress_to_stderr, subjects
from exsa_lab.errors import ExsaError
from exsa_lab.models.gguf_facts import cost_note

BENCHMARKS = {
    "decode": "decode speed against the bare llama.cpp loop and llama-cpp-python",
    "batching": "many requests at once against one after the other, and against llama-server",
    "prefix": "time to first token of a prompt whose beginning is cached",
    "latency": "gaps between tokens under load, and while a long prompt arrives",
    "speculation": "draft lengths, drafters and peers over six kinds of text",
    "lookup": "what auto makes of lookup over six kinds of text, and what any policy could: counted at measured costs",
    "rerun": "texts that repeat earlier ones: lookup in all that was seen, in the own text alone, and the peers",
    "structured": "texts of a JSON schema: plain, with forced tokens and drafts, and the peers",
    "serve": "many HTTP clients of the endpoint against engine.map, and against llama-server",
    "plan": "is the plan for this machine as fast as any other setting?",
    "acceptance": "how many of a draft's tokens the target keeps, on prompts no draft was trained on",
    "isolate": "an engine in a process of its own against one in this process",
    "soak": "mixed requests and reloads for minutes: anything lost, wrong, hung or grown?",
    "equivalence": "is speculative output the plain output, token for token?",
}
"""Name and one line of each benchmark; each lives in the module of its name.

Such a module has ``run(options) -> Report``. It may have ``add_arguments(parser)``; ``WEIGHTS``, the weight formats it
measures, and ``REPEATS``, its rounds, unless told otherwise; ``MOST_REPEATS``, where it has texts for no more rounds;
and ``check(options)``, which raises an ExsaError for what ``run`` cannot measure. These are asked before anything is
measured: "all" then gives such a benchmark fewer rounds or leaves it out, and says so.
"""


GPU_SUITE: dict[str, list[str]] = {
    "decode": [],
    "batching": [],
    "prefix": [],
    "speculation": ["--only", "single", "--no-peers", "--no-grid"],
}
"""What "all" runs on a GPU, with which arguments: what a GPU changes, in minutes."""


@dataclass(frozen=True, slots=True)
class Suite:
    """The benchmarks of one command."""

    prog: str
    """The command, as its usage shows it."""
    package: str
    """Where their modules are."""
    benchmarks: dict[str, str]
    on_gpu: dict[str, list[str]]
    """What "all" runs on a GPU, with which arguments."""
    weights_on_gpu: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Weight formats "all" measures on a GPU besides the file as it is shipped, which is enough for the others."""

    def module(self, name: str) -> Any:
        return importlib.import_module(f"{self.package}.{name}")


SUITE = Suite("python -m exsa_lab.bench", "exsa_lab.bench", BENCHMARKS, GPU_SUITE)
"""What comes with the package; what only developers need is in the top-level folder `benchmarks` of a clone."""


_COST_HELP = (
    "measure targets that cost so many times as much and write the same text; "
    "speculation then compares draft lengths in blocks (1 too)"
)


@dataclass(frozen=True, slots=True)
class Planned:
    """One benchmark with its options, before anything is measured."""

    name: str
    run: Callable[[Options], Report]
    options: Options
    rounds_asked: int
    """More than ``options.repeats`` where it has texts for no more."""
    refusal: str = ""
    """Why it is left out."""


def main(argv: Sequence[str] | None = None, suite: Suite = SUITE) -> int:
    """Run the benchmark named first in ``argv``, or "all".

    Returns 0 when every promise held, 1 when one did not, 2 when something could not be measured. What can be known of
    that is said before anything is measured; whatever ends one benchmark all the same leaves the others as they are.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser(argv, suite).parse_args(argv)
    every = list(suite.on_gpu if arguments.device == "gpu" else suite.benchmarks)
    names = every if arguments.name == "all" else [arguments.name]
    pairs = itertools.product(names, arguments.cost_factor or (1,))
    reports: list[Report] = []
    failed = False
    try:
        planned = [_plan(name, arguments, factor, suite) for name, factor in pairs]
        _prepare(planned)
    except ExsaError as error:
        print(error, file=sys.stderr)
        return 2
    for each in planned:
        try:
            reports.append(_run(each))
        except ExsaError as error:
            print(f"{each.name}: {error}" if len(planned) > 1 else error, file=sys.stderr)
            failed = True
            continue
        print(reports[-1].to_text(), end="\n\n", flush=True)
        _write(reports, arguments)  # what is measured is kept, whatever ends the rest
    if failed:
        return 2
    return 0 if all(check.is_met for report in reports for check in report.checks) else 1


def _prepare(planned: Sequence[Planned]) -> None:
    """Make the files that are measured later, so that what cannot be made is said before anything is measured."""
    if len(planned) > 1:
        alike = {(each.options.weights, each.options.cost_factor): each.options for each in planned if not each.refusal}
        for options in alike.values():
            subjects(options)
        progress_to_stderr("")


def _write(reports: Sequence[Report], arguments: argparse.Namespace) -> None:
    if arguments.json is not None:
        save(reports, arguments.json)
    if arguments.text is not None:
        arguments.text.write_text("\n\n\n".join(report.to_text() for report in reports) + "\n", encoding="utf-8")


def _plan(name: str, arguments: argparse.Namespace, cost_factor: int, suite: Suite) -> Planned:
    module = suite.module(name)
    is_of_all = arguments.name == "all"
    given = vars(arguments)
    if is_of_all and hasattr(module, "add_arguments"):
        own = argparse.ArgumentParser()
        module.add_arguments(own)
        suited = suite.on_gpu[name] if arguments.device == "gpu" else []
        given = {**vars(own.parse_args(suited)), **given}
    repeats = asked = arguments.repeats or (1 if arguments.quick else getattr(module, "REPEATS", 5))
    if is_of_all:
        repeats = min(asked, getattr(module, "MOST_REPEATS", asked))
    options = Options(
        model=arguments.model,
        draft=arguments.draft,
        weights=_weights(arguments.weights) if arguments.weights else _usual_weights(name, arguments, suite),
        repeats=repeats,
        threads=arguments.threads,
        device=arguments.device,
        cost_factor=cost_factor,
        quick=arguments.quick,
        given=argparse.Namespace(**given),
        progress=progress_to_stderr,
    )
    refusal = ""
    try:
        if hasattr(module, "check"):
            module.check(options)
    except ExsaError as error:
        if not is_of_all:
            raise
        refusal = str(error)
    return Planned(name, module.run, options, asked, refusal)


def _run(planned: Planned) -> Report:
    options = planned.options
    if planned.refusal:
        return Report(planned.name, {"model": options.model}, notes=[f"Left out: {planned.refusal}"])
    report: Report = planned.run(options)
    progress_to_stderr("")
    if options.repeats < planned.rounds_asked:
        report.settings["rounds"] = options.repeats
        report.settings["rounds asked for"] = planned.rounds_asked
        report.notes.append(f"It has texts for {options.repeats} rounds, so it was given no more.")
    if note := cost_note(options.cost_factor):
        report.settings["target"] = note
    if options.quick:
        report.checks.clear()
        report.notes.append("A quick run says that it works, not how fast: what exsa_lab promises was not checked.")
    return report


def _usual_weights(name: str, arguments: argparse.Namespace, suite: Suite) -> tuple[str, ...]:
    if arguments.name == "all" and arguments.device == "gpu":
        return suite.weights_on_gpu.get(name, (AS_SHIPPED,))
    if arguments.cost_factor:
        return (AS_SHIPPED,)
    weights: tuple[str, ...] = getattr(suite.module(name), "WEIGHTS", (AS_SHIPPED,))
    return weights


def _parser(argv: Sequence[str], suite: Suite = SUITE) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--model", default="smollm2-135m", help="target: catalog name or path (default: %(default)s)")
    common.add_argument("--draft", default="auto", help="draft model: name, path, auto or none (default: %(default)s)")
    common.add_argument("--weights", help='weight formats, such as "as-shipped,Q8_0" (converted and cached)')
    common.add_argument(
        "--repeats", type=_positive, help="rounds; medians are reported (default: 5; speculation: 4; rerun: 3 at most)"
    )
    common.add_argument("--threads", type=int, default=0, help="CPU threads (default: one per usable core)")
    common.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="what to measure (default: cpu)")
    common.add_argument("--cost-factor", type=_factors, metavar="N[,N...]", help=_COST_HELP)
    common.add_argument("--json", type=_output, metavar="FILE", help="write the numbers as JSON too")
    common.add_argument("--text", type=_output, metavar="FILE", help="write what is printed to a file too")
    common.add_argument("--quick", action="store_true", help="a short run to see that it works; its numbers are noise")
    parser = argparse.ArgumentParser(
        prog=suite.prog,
        description="Measure exsa_lab on this machine, beside what it is compared with.",
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, summary in suite.benchmarks.items():
        command = commands.add_parser(name, parents=[common], help=summary, description=summary)
        if name not in argv:
            continue  # a benchmark that is not asked for may need packages that are not here
        module = suite.module(name)
        if hasattr(module, "add_arguments"):
            module.add_arguments(command)
    commands.add_parser("all", parents=[common], help="all of them, one after the other")
    return parser


def _weights(text: str) -> tuple[str, ...]:
    names = (name.strip() for name in text.split(","))
    return tuple(name if name == AS_SHIPPED else name.upper() for name in names)


def _factors(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _output(text: str) -> Path:
    """A file that can be written, which is to be known before anything is measured."""
    path = Path(text)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written")
    return path


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
