"""The data files of prompts: whole, and of one mind about their parts."""

from __future__ import annotations

import re

import pytest

from exsa_lab.distill.templates import GENERAL, NUMBERS, OPENINGS, PARTS, RAW_TEXTS, SITUATIONS, Templates


@pytest.mark.parametrize("templates", [GENERAL, SITUATIONS], ids=["general", "situations"])
def test_shares_add_up(templates: Templates) -> None:
    assert sum(family.share for family in templates.families.values()) == pytest.approx(1.0)
    assert all(family.templates for family in templates.families.values())


def test_every_part_that_a_template_names_is_there_and_every_part_is_named() -> None:
    whole = [
        text for source in (GENERAL, SITUATIONS) for family in source.families.values() for text in family.templates
    ]
    texts = [*whole, *OPENINGS, *RAW_TEXTS, *(text for texts in PARTS.values() for text in texts)]
    named = {name for text in texts for name in re.findall(r"\{(\w+)\}", text)}
    assert named == PARTS.keys() | NUMBERS.keys()


def test_both_files_bring_parts_of_their_own() -> None:
    assert not GENERAL.parts.keys() & SITUATIONS.parts.keys()
    assert not PARTS.keys() & NUMBERS.keys()
    assert all(PARTS.values())
