"""What training prompts are made of: templates and the parts that fill them, read from the files in ``data/``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from exsa_lab.files import read_data


@dataclass(frozen=True, slots=True)
class Family:
    """Templates of whole user turns that are much alike, such as questions about code."""

    share: float
    """How often one of them is drawn, among the families of its file."""
    templates: tuple[str, ...]
    """Texts with ``{name}`` where a part of that name goes."""


@dataclass(frozen=True, slots=True)
class Templates:
    """The families of one file, and the parts by name that it brings along."""

    families: dict[str, Family]
    parts: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        families = {name: Family(given["share"], tuple(given["templates"])) for name, given in data["families"].items()}
        return cls(families, {name: tuple(texts) for name, texts in data["parts"].items()})


_general: dict[str, Any] = read_data("exsa_lab.distill", "templates.json")

GENERAL = Templates.of(_general)
SITUATIONS = Templates.of(read_data("exsa_lab.distill", "situations.json"))
"""Questions of everyday life, further kinds of code, further stories."""
PARTS = GENERAL.parts | SITUATIONS.parts
"""Parts by name; a template of one file may use those of the other."""
NUMBERS: dict[str, tuple[int, int]] = {name: (low, high) for name, (low, high) in _general["numbers"].items()}
"""Parts that are numbers, with their range."""
OPENINGS: tuple[str, ...] = tuple(_general["openings"])
"""Beginnings of a user's turn, which the target goes on with."""
RAW_TEXTS: tuple[str, ...] = tuple(_general["raw"])
"""Beginnings of texts without any chat around them."""
