"""Loading from a cell: its bar, and an interrupt."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from exsa_lab import loading
from exsa_lab.config import EngineConfig
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.errors import EngineNotLoaded
from exsa_lab.magics import progress
from exsa_lab.magics.interrupts import CellInterrupted
from exsa_lab.testing import scripted_engine
from tests.gate import interrupt_when
from tests.magics.parts import FakeLoad, alphabet
from tests.shell import Shell


def test_interrupt_while_loading(ip: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    is_loading = threading.Event()

    def open_slowly(report: Callable[[float], bool]) -> Any:
        while report(0.5):
            is_loading.set()
            time.sleep(0.005)
        raise KeyboardInterrupt

    loading.unload()
    monkeypatch.setattr(progress, "load", lambda *_, **given: Engine(open_slowly, EngineConfig(), **given))
    thread = interrupt_when(is_loading.is_set)
    result = ip.run("%exsa_load")
    thread.join()

    assert isinstance(result.error, CellInterrupted)
    assert "no engine is loaded" in result.stdout
    with pytest.raises(EngineNotLoaded):
        loading.get_engine()


def test_loading_again_and_loading_another(ip: Shell, fake_load: FakeLoad) -> None:
    assert "Loaded alphabet without a draft" in ip.run("%exsa_load any --draft none --n-ctx 512").text()
    first = loading.get_engine()
    assert "is loaded already" in ip.run("%exsa_load any --draft none --n-ctx 512").text()
    assert loading.get_engine() is first
    assert "Closed the engine before it (alphabet)" in ip.run("%exsa_load any --draft none --n-ctx 256").text()
    assert first.state is EngineState.CLOSED
    assert loading.get_engine().config.n_ctx == 256
    assert "Unloaded" in ip.run("%exsa_unload").stdout
    assert "nothing to unload" in ip.run("%exsa_unload").stdout


def test_the_first_cell_loads_the_default_pair(ip: Shell, fake_load: FakeLoad) -> None:
    result = ip.run("%%exsa --max-tokens 3\nabc")
    assert fake_load.asked == [("smollm2-135m", "auto", {})]
    assert "Loaded alphabet with the draft alphabet" in result.text()
    assert "def" in result.text()


def test_weights_to_convert_to(ip: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def load(target: str, draft: str | None, **given: Any) -> Engine:
        asked.update(given)
        return loading.use(scripted_engine(alphabet()))

    monkeypatch.setattr(progress, "load", load)
    assert ip.run("%exsa_load any --weights q8_0").succeeded
    assert asked["weights"] == "q8_0"
    assert "trial" not in asked
    loading.unload()
    assert ip.run("%exsa_load any --trial").succeeded
    assert asked["trial"] is True
    loading.unload()
