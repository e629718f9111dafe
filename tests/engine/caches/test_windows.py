from __future__ import annotations

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.engine.caches.windows import is_whole
from exsa_lab.runtime.protocol import UNLIMITED, Window
from exsa_lab.testing import ScriptedContext, ScriptedModel


def context(window: Window | None, first_whole: int, max_rollback: int = UNLIMITED) -> ScriptedContext:
    model = ScriptedModel("ab", lambda tokens: [0.5, 0.5], max_rollback=max_rollback)
    opened = model.open_context(EngineConfig(n_ctx=64, n_seq_max=1), 1)
    opened.window = window
    opened.first_whole = lambda slot: first_whole  # type: ignore[method-assign]
    return opened


@pytest.mark.parametrize(("first_whole", "expected"), [(0, True), (13, True), (14, False), (-1, False)])
def test_a_slot_goes_on_where_it_has_all_that_the_next_token_looks_back_at(first_whole: int, expected: bool) -> None:
    """The token at 20 looks back at 13; a slot whose layers with a window have nothing left says -1."""
    assert is_whole(context(Window(8), first_whole), 0, 20) == expected


def test_any_slot_goes_on_at_its_beginning_and_without_a_window() -> None:
    assert is_whole(context(Window(8), 14), 0, 0)
    assert is_whole(context(None, 14), 0, 20)
    assert is_whole(context(Window(8), 14, max_rollback=0), 0, 20)
