"""Prompts for a target to answer: drawn at random from templates, from openings it goes on with, or from nothing.

What a draft learns from decides where it is good. Templates alone are soon known by heart, so most of the variety
comes from the target itself: it is given the beginning of a user's turn, or only the mark where one begins, and
invents the rest at temperature 1. None of the templates can produce a prompt of `exsa_lab.distill.held_out`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from exsa_lab.distill.held_out import HELD_OUT
from exsa_lab.distill.templates import GENERAL, NUMBERS, OPENINGS, PARTS, RAW_TEXTS, SITUATIONS

TEMPLATE, OPENING, INVENTED, RAW = "template", "opening", "invented", "raw"
_SHARES = {TEMPLATE: 0.45, OPENING: 0.25, INVENTED: 0.26, RAW: 0.04}
_SITUATIONS = 0.5
"""Share of the templates that are everyday situations and their like."""


@dataclass(frozen=True, slots=True)
class TrainingPrompt:
    """Where one training text begins.

    ``kind`` says what ``text`` is: a whole user turn (TEMPLATE), the beginning of one (OPENING), nothing (INVENTED),
    or the beginning of a text without any chat around it (RAW).
    """

    kind: str
    text: str


def training_prompts(seed: int, own: tuple[str, ...] = ()) -> Iterator[TrainingPrompt]:
    """Yield prompts without end; ``own`` are the user's, which then make up half of the whole turns.

    Example: ``list(itertools.islice(training_prompts(seed=0), 1000))``.
    """
    chance = random.Random(seed)
    forbidden = {normalised(prompt) for prompts in HELD_OUT.values() for prompt in prompts}
    while True:
        kind = chance.choices(list(_SHARES), list(_SHARES.values()))[0]
        text = _text(kind, chance, own)
        if normalised(text) not in forbidden:
            yield TrainingPrompt(kind, text)


def normalised(text: str) -> str:
    """Return the text as it is compared: lower case, single spaces, no punctuation."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def _text(kind: str, chance: random.Random, own: tuple[str, ...]) -> str:
    if kind == INVENTED:
        return ""
    if kind == TEMPLATE and own and chance.random() < 0.5:
        return chance.choice(own)
    if kind == TEMPLATE:
        families = list((SITUATIONS if chance.random() < _SITUATIONS else GENERAL).families.values())
        family = chance.choices(families, [family.share for family in families])[0]
        return fill(chance.choice(family.templates), chance)
    return fill(chance.choice(OPENINGS if kind == OPENING else RAW_TEXTS), chance)


def fill(template: str, chance: random.Random) -> str:
    """Replace every ``{name}`` of a template by a random part of that name."""
    while "{" in template:
        before, _, rest = template.partition("{")
        name, _, after = rest.partition("}")
        number = NUMBERS.get(name)
        template = before + (str(chance.randint(*number)) if number else chance.choice(PARTS[name])) + after
    return template
