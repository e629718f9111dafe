"""Texts of twelve JSON schemas: does every one that ends have its form? Parsed, and validated by jsonschema."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, subjects
from exsa_lab.bench.workloads import short_prompts
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.structure.tokenizer import llguidance

SCHEMAS: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("forms.json").read_text(encoding="utf-8"))
TEMPERATURES = (0.0, 0.8)
TOGETHER = 16
MAX_TOKENS = 240


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--texts", type=int, help="texts in all, half of them alone (default: 200)")


def check(options: Options) -> None:
    """Raise RuntimeUnavailable where the package for texts of a form is missing."""
    llguidance()


def run(options: Options) -> Report:
    """Write texts of each schema in turn, alone and 16 at once, greedily and not."""
    num = options.given.texts or options.pick(200, 8)
    report = Report("forms", {"model": options.model, "texts": num, "most tokens each": MAX_TOKENS})
    for subject in subjects(options, n_seq_max=TOGETHER):
        table = report.table(subject.name, "schema", "texts", "finished", "valid", "tokens", "of these forced")
        found: Counter[tuple[str, str]] = Counter()
        with subject.open_engine() as engine:
            for name, generation in texts(engine, num):
                found.update(_judge(name, generation, report))
        for name in SCHEMAS:
            counts = (found[name, what] for what in ("texts", "finished", "valid", "tokens", "forced"))
            table.add(name, *counts)
        finished, valid = (sum(found[name, what] for name in SCHEMAS) for what in ("finished", "valid"))
        report.notes.append(f"{subject.name}: {finished} of {num} texts finished, {valid} of these are valid.")
        report.checks.append(Check(f"{subject.name}: valid / finished", valid / finished if finished else 0.0, 1.0))
    return report


def texts(engine: Engine, num: int) -> Iterator[tuple[str, Generation]]:
    """Write so many texts, the first half one by one, the others 16 at once; each schema greedily and not in turn."""
    names = list(SCHEMAS)
    asked = [(names[i % len(names)], TEMPERATURES[i // len(names) % len(TEMPERATURES)], i) for i in range(num)]
    alone, rest = num // 2, range(num // 2, num, TOGETHER)
    for group in [*([one] for one in asked[:alone]), *(asked[first : first + TOGETHER] for first in rest)]:
        begun = [(name, _begin(engine, name, temperature, number)) for name, temperature, number in group]
        for name, generation in begun:
            generation.wait()
            yield name, generation


def fault(name: str, text: str) -> str | None:
    """Return what is wrong with a finished text; None where it has its form."""
    import jsonschema

    try:
        jsonschema.Draft202012Validator(SCHEMAS[name]).validate(json.loads(text))
    except (ValueError, jsonschema.ValidationError) as error:
        return str(error).splitlines()[0]
    return None


def _begin(engine: Engine, name: str, temperature: float, number: int) -> Generation:
    prompt = f"{short_prompts(1, number)[0]} Answer as JSON: {name}."
    form = {"type": "json_schema", "schema": SCHEMAS[name]}
    return engine.submit(prompt, response_format=form, temperature=temperature, seed=number, max_tokens=MAX_TOKENS)


def _judge(name: str, generation: Generation, report: Report) -> dict[tuple[str, str], int]:
    is_finished = generation.finish_reason == "stop"
    wrong = fault(name, generation.text) if is_finished else None
    if wrong or generation.error:
        report.notes.append(f"{name}: {wrong or generation.error}: {generation.text!r}")
    stats = generation.stats
    is_valid = is_finished and wrong is None
    counts = {"texts": 1, "finished": is_finished, "valid": is_valid, "tokens": stats.generated_tokens}
    return {(name, what): int(count) for what, count in {**counts, "forced": stats.forced_tokens}.items()}
