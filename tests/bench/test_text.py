"""Text of a wanted length."""

from __future__ import annotations

import pytest

from exsa_lab.bench.text import long_text
from exsa_lab.testing import ScriptedModel, scripted_engine


@pytest.mark.parametrize("wanted", [1, 50, 5000])
def test_it_has_about_the_wanted_tokens_and_begins_with_its_opening(wanted: int) -> None:
    pieces = [bytes([byte]) for byte in range(256)]
    with scripted_engine(ScriptedModel(pieces, lambda tokens: [1 / 256] * 256)) as engine:
        text = long_text(engine, wanted, opening="Read this.")
        tokens = engine.target.tokenize(text, add_special=False, parse_special=False)
        assert wanted - 4 < len(tokens) <= wanted
        assert text.startswith("Read this."[:wanted])
        assert text != long_text(engine, wanted, opening="Or this.")
