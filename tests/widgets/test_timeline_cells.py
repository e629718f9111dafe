"""The KV cache by slot in the saved view: drawn from what was recorded, a shared beginning once."""

from __future__ import annotations

from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.widgets.timeline_cells import cells_html, fullest
from exsa_lab.widgets.timeline_rows import Recorder, Row, lanes_of

ROWS: list[Row] = [
    ["lane", 1, 0.0, "<first>"],
    ["prefill", 1, 0.0, 0.1, 30, 0, 30, 0],
    ["lane", 2, 0.1, "second"],
    ["prefill", 2, 0.1, 0.1, 20, 1, 40, 1],
    ["step", 0.0, 0.1, 1, 1, 30, 30, 0, 0, [[0, 1, 30, 0, 0]]],
    ["step", 0.1, 0.2, 1, 2, 63, 20, 0, 1, [[0, 1, 34, 0, 0], [1, 0, 9, 0, 0], [2, 2, 40, 20, 0]]],
]


def test_the_fullest_step_is_drawn_and_told() -> None:
    html = cells_html(ROWS, lanes_of(ROWS))
    assert "at 0.20 s: 63 cells in use" in html
    for text in ("slot 0 · #1 ", "34 cells", "slot 1 · kept: 9 cells", "40 cells, the first 20 are those of slot 0"):
        assert text in html
    assert "<first>" not in html


def test_without_recorded_slots_there_is_nothing() -> None:
    assert fullest([["step", 0.0, 0.1, 1, 1, 30, 30, 0, 0]]) is None
    assert cells_html([], {}) == ""


def test_an_engines_steps_have_their_slots() -> None:
    pieces = [chr(97 + i) for i in range(12)]
    with scripted_engine(ScriptedModel(pieces, markov(12, 1)), n_seq_max=2) as engine:
        for gen in [engine.submit("abcabc", max_tokens=20, chat=False) for _ in range(2)]:
            gen.wait(60)
        recorder = Recorder(engine.started)
        recorder.read(engine.generations, engine.steps)
    step = fullest(recorder.rows)
    assert step is not None
    assert sum(cells - shared for _, _, cells, shared, _ in step[9]) == step[5]
