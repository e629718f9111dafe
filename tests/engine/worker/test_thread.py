"""The engine thread by itself: loading, calls between steps, and its end."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.engine.assembly import Models
from exsa_lab.engine.worker import EngineState
from exsa_lab.engine.worker.thread import EngineThread
from exsa_lab.errors import EngineClosed, ModelLoadError
from exsa_lab.testing import ScriptedModel


def model() -> ScriptedModel:
    return ScriptedModel("ab", lambda tokens: [0.5, 0.5])


def opened(**options: Any) -> EngineThread:
    return EngineThread(lambda progress: Models(model(), **options), EngineConfig(n_ctx=256))


def test_calls_run_on_its_thread_and_their_errors_are_the_callers() -> None:
    worker = opened(notes=("a note",))
    assert worker.state is EngineState.OPEN
    assert worker.notes == ("a note",)
    assert worker.call(lambda loop: threading.current_thread()) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        worker.call(lambda loop: 1 // 0)
    assert worker.state is EngineState.OPEN
    worker.close()


def test_what_fails_while_loading_is_raised_where_it_was_asked_for() -> None:
    def fail(progress: object) -> Models:
        raise ModelLoadError("no such weights.")

    with pytest.raises(ModelLoadError, match="no such weights"):
        EngineThread(fail, EngineConfig())


def test_closing_closes_the_models_and_refuses_what_comes_after() -> None:
    worker = opened()
    target = worker.target
    worker.close()
    worker.close()
    assert worker.state is EngineState.CLOSED
    assert target.is_closed  # type: ignore[attr-defined]
    with pytest.raises(EngineClosed):
        worker.call(lambda loop: None)
