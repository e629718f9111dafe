"""The ``exsa-lab`` command: open the lab, run the demo, serve a model, measure, or ask the doctor."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from exsa_lab import __version__
from exsa_lab.errors import ExsaError, how_to_install

QUICKSTART = "01_quickstart.ipynb"
_KEY_VARIABLE = "EXSA_LAB_API_KEY"
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 1 after an error that was said in one line."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and not args.takes_rest:
        parser.error(f"unknown arguments: {' '.join(rest)}")
    command: Callable[[argparse.Namespace, list[str]], int] = args.run
    try:
        return command(args, rest)
    except ExsaError as error:
        print(f"exsa-lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("exsa-lab: interrupted.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="exsa-lab",
        description="A Jupyter-native lab for local language models.",
        # Otherwise `--no-b` would be taken here instead of reaching JupyterLab.
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"exsa-lab {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="lab | demo | serve | bench | distill | doctor"
    )

    _add_lab(commands)
    _add_demo(commands)
    _add_serve(commands)
    _add_bench(commands)
    _add_distill(commands)
    _add_doctor(commands)
    return parser


def _add_lab(commands: _Commands) -> None:
    lab = commands.add_parser(
        "lab",
        help="copy the notebooks here and open them in JupyterLab",
        description="Copy the notebooks into a folder, never over one you changed, and open JupyterLab on the "
        "quickstart. Other arguments go to JupyterLab: exsa-lab lab --no-browser --port 8890",
        allow_abbrev=False,
    )
    lab.add_argument("--folder", type=Path, default=Path("exsa_notebooks"), help="where (default: %(default)s)")
    lab.set_defaults(run=_lab, takes_rest=True)


def _add_demo(commands: _Commands) -> None:
    demo = commands.add_parser(
        "demo",
        help="run a notebook without a browser and write it as HTML",
        description="Run a notebook from top to bottom and write one HTML file that shows the same tokens and needs "
        "neither scripts nor a network.",
    )
    demo.add_argument("--notebook", type=Path, help="the notebook to run (default: the quickstart)")
    demo.add_argument("--output", type=Path, help="the file to write (default: NOTEBOOK.html, here)")
    demo.set_defaults(run=_demo, takes_rest=False)


def _add_serve(commands: _Commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="serve a model to clients of OpenAI's interface",
        description="Load a model and answer clients of OpenAI's interface until Ctrl-C.",
        allow_abbrev=False,
    )
    serve.add_argument(
        "model", nargs="?", help="catalog name, .gguf path or hf:owner/repo (default: the default target)"
    )
    serve.add_argument("--draft", default="auto", help='its draft: the same, "auto" or "none" (default: auto)')
    serve.add_argument("--port", type=int, default=8000, help="where to listen; 0 takes a free port (default: 8000)")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: this machine only)")
    serve.add_argument(
        "--api-key",
        default=os.environ.get(_KEY_VARIABLE) or None,
        help=f"what clients send (default: ${_KEY_VARIABLE}, or random)",
    )
    serve.add_argument("--n-ctx", type=int, help="tokens that all requests share (default: planned for this machine)")
    serve.add_argument("--n-seq-max", type=int, help="requests that run at once (default: planned)")
    serve.add_argument(
        "--isolate",
        action=argparse.BooleanOptionalAction,
        help="keep the engine in a process of its own (default: for files that are not in the catalog)",
    )
    serve.set_defaults(run=_serve, takes_rest=False)


def _add_bench(commands: _Commands) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure on this machine",
        description="Measure on this machine; the arguments are those of python -m exsa_lab.bench.",
        add_help=False,
    )
    bench.set_defaults(run=_bench, takes_rest=True)


def _add_distill(commands: _Commands) -> None:
    distill = commands.add_parser(
        "distill",
        help="train a draft for a target",
        description="Let the target write text, train a small draft on it, and write the draft as a GGUF.",
        allow_abbrev=False,
    )
    distill.add_argument("target", help="catalog name or path of a Llama-architecture model")
    distill.add_argument("out", type=Path, help="the GGUF to write")
    distill.add_argument("--size", default="16m", help="8m, 16m, 23m, 29m or WIDTHxLAYERSxFEED_FORWARD (default: 16m)")
    distill.add_argument("--budget", type=float, default=3600.0, help="seconds of writing text and training")
    distill.add_argument("--writing", type=float, default=0.4, help="share of the budget for writing (default: 0.4)")
    distill.add_argument("--start", help="a draft to go on from, such as smollm2-135m-draft (default: none)")
    distill.add_argument("--to", default="q4_0", help="weight format: f16, q8_0, q5_0, q4_0, iq4_nl (default: q4_0)")
    distill.add_argument("--prompts", type=Path, help="a text file with prompts of your own, one a line")
    distill.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    distill.add_argument("--seed", type=int, default=0)
    distill.set_defaults(run=_distill, takes_rest=False)


def _add_doctor(commands: _Commands) -> None:
    doctor = commands.add_parser("doctor", help="show what exsa_lab finds here: machine, models, build")
    doctor.set_defaults(run=_doctor, takes_rest=False)


def _lab(args: argparse.Namespace, rest: list[str]) -> int:
    from exsa_lab.bundle import copy_notebooks

    _need("jupyterlab")
    from jupyterlab.labapp import main as jupyterlab

    for line in copy_notebooks(args.folder):
        print(line)
    if hasattr(os, "geteuid") and os.geteuid() == 0 and "--allow-root" not in rest:
        print("Running as root (a container?): passing --allow-root to JupyterLab.")
        rest = ["--allow-root", *rest]
    status = jupyterlab([str(args.folder / QUICKSTART), *rest])
    return int(status or 0)


def _demo(args: argparse.Namespace, rest: list[str]) -> int:
    from exsa_lab.bundle import notebooks_folder

    _need("nbconvert")
    from exsa_lab.demo import write_html

    notebook = args.notebook or notebooks_folder() / QUICKSTART
    output = args.output or Path(f"{notebook.stem.lstrip('0123456789_')}.html")
    print(f"Written: {write_html(notebook, output, say=print)}")
    return 0


def _serve(args: argparse.Namespace, rest: list[str]) -> int:
    from exsa_lab import loading
    from exsa_lab.serve import need_extra, serve

    need_extra()
    config = {name: getattr(args, name) for name in ("n_ctx", "n_seq_max") if getattr(args, name) is not None}
    engine = loading.load(args.model or loading.DEFAULT_TARGET, args.draft, isolate=args.isolate, **config)
    try:
        server = serve(args.port, args.host, args.api_key)
        # A key of the user's own is not written where it was not: a terminal may be recorded.
        print(server.introduction() if args.api_key is None else f"Serving {engine.target.name} at {server.base_url}.")
        print("Ctrl-C ends it.", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()
    finally:
        loading.unload()
    return 0


def _bench(args: argparse.Namespace, rest: list[str]) -> int:
    from exsa_lab.bench import main as bench

    return bench(rest, prog="exsa-lab bench")


def _distill(args: argparse.Namespace, rest: list[str]) -> int:
    from exsa_lab.distill import distill

    prompts = args.prompts.read_text(encoding="utf-8").splitlines() if args.prompts else []
    report = distill(
        args.target,
        args.out,
        size=args.size,
        budget=args.budget,
        writing=args.writing,
        start=args.start,
        to=args.to,
        prompts=[line for line in prompts if line.strip()],
        device=args.device,
        seed=args.seed,
    )
    print(report)
    return 0


def _doctor(args: argparse.Namespace, rest: list[str]) -> int:
    from exsa_lab.doctor import report

    print(report().text)
    return 0


def _need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ExsaError(f"{package} is not installed.", hint=how_to_install(package))


if __name__ == "__main__":
    sys.exit(main())
