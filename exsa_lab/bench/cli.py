"""From a command line to reports."""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exsa_lab.bench.report import Report, save
from exsa_lab.bench.setting import AS_SHIPPED, Options, progress_to_stderr
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

Such a module has ``run(options) -> Report``, and may have ``add_arguments(parser)`` and ``WEIGHTS``, the weight
formats it measures, and ``REPEATS``, its rounds, unless told otherwise.
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


def main(argv: Sequence[str] | None = None, suite: Suite = SUITE) -> int:
    """Run the benchmark named first in ``argv``, or "all"; 0 when every promise held, 1 otherwise."""
    argv = sys.argv[1:] if argv is None else list(argv)
    arguments = _parser(argv, suite).parse_args(argv)
    every = list(suite.on_gpu if arguments.device == "gpu" else suite.benchmarks)
    names = every if arguments.name == "all" else [arguments.name]
    reports = []
    try:
        for name, factor in itertools.product(names, arguments.cost_factor or (1,)):
            reports.append(_run(name, arguments, factor, suite))
            print(reports[-1].to_text(), end="\n\n", flush=True)
            _write(reports, arguments)  # what is measured is kept, whatever ends the rest
    except ExsaError as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if all(check.is_met for report in reports for check in report.checks) else 1


def _write(reports: Sequence[Report], arguments: argparse.Namespace) -> None:
    if arguments.json is not None:
        save(reports, arguments.json)
    if arguments.text is not None:
        arguments.text.write_text("\n\n\n".join(report.to_text() for report in reports) + "\n", encoding="utf-8")


def _run(name: str, arguments: argparse.Namespace, cost_factor: int, suite: Suite) -> Report:
    module = suite.module(name)
    given = vars(arguments)
    if arguments.name == "all" and hasattr(module, "add_arguments"):
        own = argparse.ArgumentParser()
        module.add_arguments(own)
        suited = suite.on_gpu[name] if arguments.device == "gpu" else []
        given = {**vars(own.parse_args(suited)), **given}
    options = Options(
        model=arguments.model,
        draft=arguments.draft,
        weights=_weights(arguments.weights) if arguments.weights else _usual_weights(name, arguments, suite),
        repeats=arguments.repeats or (1 if arguments.quick else getattr(module, "REPEATS", 5)),
        threads=arguments.threads,
        device=arguments.device,
        cost_factor=cost_factor,
        quick=arguments.quick,
        given=argparse.Namespace(**given),
        progress=progress_to_stderr,
    )
    report: Report = module.run(options)
    progress_to_stderr("")
    if note := cost_note(cost_factor):
        report.settings["target"] = note
    if arguments.quick:
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
    common.add_argument("--repeats", type=_positive, help="rounds; medians are reported (default: 5; speculation: 4)")
    common.add_argument("--threads", type=int, default=0, help="CPU threads (default: one per usable core)")
    common.add_argument("--device", choices=("cpu", "gpu"), default="cpu", help="what to measure (default: cpu)")
    common.add_argument("--cost-factor", type=_factors, metavar="N[,N...]", help=_COST_HELP)
    common.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as JSON too")
    common.add_argument("--text", type=Path, metavar="FILE", help="write what is printed to a file too")
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


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
