"""The benchmark of texts of a given form, on a scripted model that knows its letters."""

from __future__ import annotations

from exsa_lab.bench import structured
from exsa_lab.bench.structured import SCHEMA, WAYS
from exsa_lab.testing import ScriptedModel, scripted_engine

LETTERS = [chr(code) for code in (2, 10, *range(32, 127))] + ["é", "ß", "."]


def test_a_record_is_filled_with_forced_tokens() -> None:
    model = ScriptedModel(LETTERS, lambda tokens: [1 / len(LETTERS)] * len(LETTERS), ends=[len(LETTERS) - 1])
    form = {"response_format": {"type": "json_schema", "schema": SCHEMA}}
    with scripted_engine(model) as engine:
        for way in WAYS.values():
            assert structured._speed(engine, 2, 40, {**form, **way}, 0) > 0
        forced = [generation.stats.forced_tokens for generation in engine.generations]
        share = structured._mask_share(engine, 2, 40, 0.8)
    assert max(forced) > 0
    assert 0 < share < 1
