"""Hold the masks of JSON schemas against a test suite: which schemas are accepted, which refused, which wrong.

    python scripts/check_schemas.py DIR [--list]

DIR is a folder of the public JSON-Schema-Test-Suite, such as tests/draft2020-12 of a clone of
https://github.com/json-schema-org/JSON-Schema-Test-Suite. Each group is a schema with instances. A schema is

* accepted, where every valid instance can be written under its mask and no invalid one can,
* refused, where compiling it says which keyword is not supported, or that no text fits,
* narrower, where it uses "format", and all that is wrong is that texts of another format cannot be written: a mask
  keeps a format, which the newer drafts leave to the program,
* wrong otherwise; the exit status is then 1.

A mask fixes one order of an object's keys and one way to write it, so an instance counts as admitted where any order
of its keys is. ``--list`` prints what was said of the refused schemas, and the narrower ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exsa_lab.errors import ConfigError
from exsa_lab.forms import Form
from exsa_lab.structure.grammar import Grammar
from exsa_lab.structure.tokenizer import llguidance

MAX_ORDERS = 500
"""Ways to write an instance that are tried."""
_QUOTED = re.compile(r"""(["'])\$?\w+\1""")
"""A keyword that a refusal names: of the schema itself, or of one that it refers to."""


@dataclass
class Counts:
    """What was found, in groups."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """By what was said."""
    narrower: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.accepted + self.refused.total() + len(self.narrower) + len(self.wrong)


class Bytes:
    """A vocabulary with one token for each byte: whatever can be written can be written with it."""

    def __init__(self) -> None:
        self.tokenizer = llguidance().LLTokenizer("byte")

    def admits(self, grammar: Grammar, text: str) -> bool:
        """Whether a text can be written under a grammar's mask, and end there."""
        mask = grammar.begin()
        for token in text.encode():
            if mask.is_complete or not mask.allowed([])[token]:
                return False
            mask.commit([token])
        return mask.is_complete or bool(mask.allowed([])[self.tokenizer.eos_token])


def check_group(place: str, group: dict[str, Any], vocabulary: Bytes, counts: Counts) -> None:
    """Compile one schema and try its instances."""
    try:
        grammar = Grammar(Form("json", json.dumps(group["schema"])), vocabulary.tokenizer)
    except ConfigError as refusal:
        fits_nothing = "admits no text" in str(refusal) and not any(test["valid"] for test in group["tests"])
        if not fits_nothing and isinstance(group["schema"], dict) and not _QUOTED.search(str(refusal)):
            counts.wrong.append(f"{place}: {refusal}")
        else:
            counts.refused[str(refusal)] += 1
        return
    faults = [test for test in group["tests"] if _is_admitted(test["data"], grammar, vocabulary) != test["valid"]]
    if faults:
        names = "; ".join(f"{'refuses' if test['valid'] else 'admits'} {json.dumps(test['data'])}" for test in faults)
        is_narrower = "format" in _keywords(group["schema"]) and all(test["valid"] for test in faults)
        found = counts.narrower if is_narrower else counts.wrong
        found.append(f"{place}: {json.dumps(group['schema'])} {names}")
    else:
        counts.accepted += 1


def _keywords(schema: Any) -> set[str]:
    """Every key in a schema, at any depth."""
    if isinstance(schema, dict):
        return set(schema).union(*map(_keywords, schema.values()))
    return set().union(*map(_keywords, schema)) if isinstance(schema, list) else set()


def _is_admitted(value: Any, grammar: Grammar, vocabulary: Bytes) -> bool:
    return any(vocabulary.admits(grammar, text) for text in itertools.islice(spellings(value), MAX_ORDERS))


def spellings(value: Any) -> Iterator[str]:
    """Write an instance in every order of its keys, and a whole number with and without its point."""
    if isinstance(value, dict):
        for keys in itertools.permutations(value):
            for parts in itertools.product(*(_first_spellings(value[key]) for key in keys)):
                pairs = zip(keys, parts, strict=True)
                yield "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)}: {part}" for key, part in pairs) + "}"
    elif isinstance(value, list):
        for parts in itertools.product(*map(_first_spellings, value)):
            yield f"[{', '.join(parts)}]"
    else:
        yield json.dumps(value, ensure_ascii=False)
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            yield str(int(value))


def _first_spellings(value: Any) -> list[str]:
    return list(itertools.islice(spellings(value), MAX_ORDERS))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Hold the masks of JSON schemas against a test suite.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--list", action="store_true", help="print what was refused, and why")
    options = parser.parse_args(arguments)
    counts, vocabulary = Counts(), Bytes()
    for path in sorted(options.folder.glob("*.json")):
        for group in json.loads(path.read_text(encoding="utf-8")):
            check_group(f"{path.stem}: {group['description']}", group, vocabulary, counts)
    narrower, wrong = len(counts.narrower), len(counts.wrong)
    print(
        f"{counts.total} schemas: {counts.accepted} accepted, {counts.refused.total()} refused by name, "
        f"{narrower} narrower, {wrong} wrong."
    )
    if options.list:
        print(*(f"{num} x {said}" for said, num in counts.refused.most_common()), *counts.narrower, sep="\n")
    print(*counts.wrong, sep="\n", end="\n" if counts.wrong else "")
    return 1 if counts.wrong or not counts.total else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
