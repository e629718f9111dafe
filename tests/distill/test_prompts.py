"""Held-out prompts stay out of training: by text and by template."""

from __future__ import annotations

import re
from itertools import islice

from exsa_lab.bench.workloads import CHAT, CODE
from exsa_lab.distill.held_out import HELD_OUT
from exsa_lab.distill.measure import Agreement
from exsa_lab.distill.prompts import INVENTED, OPENING, RAW, TEMPLATE, normalised, training_prompts
from exsa_lab.distill.templates import GENERAL, NUMBERS, OPENINGS, PARTS, SITUATIONS

HELD = [prompt for prompts in HELD_OUT.values() for prompt in prompts]


def test_sixty_different_prompts_twenty_of_each_kind() -> None:
    assert [len(prompts) for prompts in HELD_OUT.values()] == [20, 20, 20]
    assert len({normalised(prompt) for prompt in HELD}) == 60
    assert not {normalised(prompt) for prompt in HELD} & {normalised(prompt) for prompt in CHAT + CODE}


def test_no_held_out_prompt_is_drawn() -> None:
    drawn = {normalised(prompt.text) for prompt in islice(training_prompts(0), 20_000)}
    assert not drawn & {normalised(prompt) for prompt in HELD}


def _pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern: its parts may be any of their list, or numbers."""

    def part(name: str) -> str:
        if name in NUMBERS:
            return r"\d+"
        return "(?:" + "|".join(_pattern(choice).pattern for choice in set(PARTS[name])) + ")"

    pieces = re.split(r"\{(\w+)\}", template)
    return re.compile("".join(part(piece) if i % 2 else re.escape(piece) for i, piece in enumerate(pieces)))


def test_no_template_can_make_a_held_out_prompt() -> None:
    families = (GENERAL.families | SITUATIONS.families).values()
    templates = [template for family in families for template in family.templates]
    for template in templates:
        if "{sentence}" in template:  # These patterns grow large: their fixed beginning is enough.
            beginning = template[: template.index("{")]
            assert not any(prompt.startswith(beginning) for prompt in HELD), template
        else:
            pattern = _pattern(template)
            assert not any(pattern.fullmatch(prompt) for prompt in HELD), template


def test_openings_give_nothing_of_a_held_out_prompt_away() -> None:
    long = [opening for opening in OPENINGS if len(opening.split()) > 4]
    assert not [o for o in long if any(prompt.startswith(o + " ") for prompt in HELD) and o not in COMMON]


COMMON = ("Write a Python function to",)
"""So many prompts begin like this that it says nothing."""


def test_the_same_seed_gives_the_same_prompts_and_own_ones_are_mixed_in() -> None:
    one, two = (list(islice(training_prompts(3, ("Mine?",)), 500)) for _ in range(2))
    assert one == two
    whole = [prompt.text for prompt in one if prompt.kind == TEMPLATE]
    assert 0.3 < whole.count("Mine?") / len(whole) < 0.7
    assert {prompt.kind for prompt in one} == {TEMPLATE, OPENING, INVENTED, RAW}
    assert not any("{" in prompt.text for prompt in one)


def test_rounds_of_a_known_text() -> None:
    found = Agreement([[True, True, False, True, False, True, True]])
    assert found.rounds(2) == [(2, 2), (2, 1), (2, 2)]
    assert found.rounds(4) == [(4, 2), (4, 1), (2, 2)]
    assert found.first(4) == 1.0
    assert found.by_position(2) == [1.0, 2 / 3]
    assert found.tokens_per_round(4) == 2.5
