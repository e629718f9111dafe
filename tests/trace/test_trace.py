"""A trace as a value: as a table and as a file."""

from __future__ import annotations

import numpy as np

from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.trace import Trace

PIECES = [chr(ord("a") + i) for i in range(20)]


def test_numbers_nobody_computed_are_missing_numbers() -> None:
    with scripted_engine(ScriptedModel(PIECES, markov(20, 1)), probabilities=False) as engine:
        trace = engine.generate("ab", max_tokens=6, chat=False, draft_length=0).trace
    frame = trace.to_pandas()
    assert [frame[name].dtype for name in ("p", "q", "u")] == [np.float64] * 3
    assert frame["p"].isna().all()
    assert np.isnan(frame.groupby("source")["p"].mean().item())


def test_an_empty_trace_is_an_empty_table() -> None:
    assert len(Trace([]).to_pandas()) == 0


def test_a_file_keeps_everything(tmp_path: object) -> None:
    draft = ScriptedModel(PIECES, markov(20, 2))
    with scripted_engine(ScriptedModel(PIECES, markov(20, 1)), draft) as engine:
        generation = engine.generate("abc", max_tokens=9, chat=False, draft_length=3, temperature=0.7, seed=4)
    trace = generation.trace
    loaded = Trace.load(trace.save(f"{tmp_path}/run.json"))
    assert loaded == trace
    assert loaded.tokens == generation.tokens
    assert loaded.prompt_ids == [0, 1, 2]
    assert loaded.text == generation.text
