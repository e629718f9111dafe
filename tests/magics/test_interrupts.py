"""An interrupt while a cell generates."""

from __future__ import annotations

import signal

import pytest

from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.magics.interrupts import CellInterrupted
from tests.gate import interrupt_when
from tests.shell import Shell


def test_pressed_again_while_it_is_stopped_the_line_stays(
    ip: Shell, slow_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancel = Generation.cancel

    def press_and_cancel(generation: Generation, reason: str = "") -> None:
        signal.raise_signal(signal.SIGINT)
        cancel(generation, reason)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Generation, "cancel", press_and_cancel)
    thread = interrupt_when(lambda: bool(slow_engine.active and slow_engine.active[-1].tokens))
    result = ip.run("%%exsa --max-tokens 2000 --draft-length 0\nabc")
    thread.join()
    assert isinstance(result.error, CellInterrupted)
    assert ip.ip.user_ns["_exsa"].state == "cancelled"
    monkeypatch.undo()
    assert ip.run("%%exsa --max-tokens 3\nabc").succeeded


def test_interrupt_keeps_the_text_and_the_engine(ip: Shell, slow_engine: Engine) -> None:
    ip.ip.user_ns.pop("_exsa", None)

    def has_begun() -> bool:
        return len(getattr(ip.ip.user_ns.get("_exsa"), "tokens", ())) >= 5

    thread = interrupt_when(has_begun)
    result = ip.run("%%exsa --max-tokens 2000 --draft-length 0 --name out\nabc")
    thread.join()

    out: Generation = ip.ip.user_ns["out"]
    assert isinstance(result.error, CellInterrupted)
    assert str(result.error) == f"Interrupted after {len(out.tokens)} tokens; the text so far is in _exsa.text."
    assert str(result.error) in result.stdout
    assert "Traceback" not in result.text()
    assert out.state == "cancelled"
    assert out.text.startswith("defgh")
    assert ip.run("%%exsa --max-tokens 3\nabc").succeeded
    assert ip.ip.user_ns["_exsa"].text == "def"
