"""Write docs/magics/: a page for each magic, made from its declared arguments, so that it cannot say anything else.

``python scripts/write_docs.py`` writes the pages; ``tests/test_docs.py`` fails when they are stale.
"""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path
from typing import Any

from exsa_lab.bench.cli import BENCHMARKS
from exsa_lab.magics import ExsaMagics

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "magics"

EXAMPLES = {
    "exsa": "%%exsa --max-tokens 80 --temperature 0.8 --seed 1 --name answer\nWhat is photosynthesis?",
    "exsa_template": "%exsa_template answer",
    "exsa_chats": "%exsa_chats",
    "exsa_load": "%exsa_load smollm2-135m --draft auto --weights q8_0",
    "exsa_history": "%exsa_history sky --limit 5",
    "exsa_unload": "%exsa_unload",
    "exsa_status": "%exsa_status",
    "exsa_jobs": "%exsa_jobs",
    "exsa_cancel": "%exsa_cancel all",
    "exsa_serve": "%exsa_serve --port 8000",
    "exsa_doctor": "%exsa_doctor",
    "exsa_models": "%exsa_models",
    "exsa_bench": "%exsa_bench decode --quick",
}
"""One cell for each magic, in the order of the list of pages."""


def pages() -> dict[str, str]:
    """Return every page by its file name, the list of them (README.md) included."""
    names = [name for kind in ExsaMagics.magics.values() for name in kind]
    if unknown := set(names) ^ set(EXAMPLES):
        raise ValueError(f"EXAMPLES and the magics differ: {', '.join(sorted(unknown))}")
    made = {f"{name}.md": _page(name) for name in EXAMPLES}
    lines = [f"* [`{_prefix(name)}{name}`]({name}.md): {_summary(name)}" for name in EXAMPLES]
    return {**made, "README.md": "\n".join(["# The magics", "", *lines, "", "[All pages](../index.md)", ""])}


def _page(name: str) -> str:
    parser = getattr(ExsaMagics, name).parser
    actions = [action for action in parser._actions if action.dest != "help"]
    positional = [action for action in actions if not action.option_strings]
    options = [action for action in actions if action.option_strings]
    usage = " ".join([_prefix(name) + name, *(["[options]"] if options else []), *map(_usage, positional)])
    parts = [f"# {_prefix(name)}{name}", inspect.cleandoc(parser.description), f"```\n{usage}\n```"]
    parts += [f"For example:\n\n```\n{EXAMPLES[name]}\n```"]
    parts += [_table("argument", positional)] if positional else []
    parts += [_table("option", options)] if options else []
    if name == "exsa_bench":
        rows = [f"| `{benchmark}` | {_cell(summary)} |" for benchmark, summary in BENCHMARKS.items()]
        parts.append("\n".join(["| benchmark | what it measures |", "|---|---|", *rows]))
        parts.append("`%exsa_bench NAME --help` lists the options of one.")
    return "\n\n".join([*parts, "[All magics](README.md)"]) + "\n"


def _table(title: str, actions: list[argparse.Action]) -> str:
    rows = [f"| `{_cell(_syntax(action))}` | {_cell(_help(action))} |" for action in actions]
    return "\n".join([f"| {title} | meaning |", "|---|---|", *rows])


def _syntax(action: argparse.Action) -> str:
    """How an argument is written: ``--seed N``."""
    if not action.option_strings:
        return _metavar(action)
    flags = ", ".join(action.option_strings)
    return flags if action.nargs == 0 else f"{flags} {_metavar(action)}"


def _usage(action: argparse.Action) -> str:
    optional = action.nargs in ("?", argparse.REMAINDER)
    return f"[{_metavar(action)}]" if optional else _metavar(action)


def _metavar(action: argparse.Action) -> str:
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    if action.nargs == argparse.REMAINDER:
        return "..."
    return str(action.metavar or action.dest.upper())


def _help(action: argparse.Action) -> str:
    values: dict[str, Any] = vars(action)
    return (action.help or "") % values


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _summary(name: str) -> str:
    return " ".join(getattr(ExsaMagics, name).parser.description.strip().split("\n\n")[0].split())


def _prefix(name: str) -> str:
    return "%%" if name in ExsaMagics.magics["cell"] else "%"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        FOLDER.joinpath(name).write_text(text, encoding="utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
