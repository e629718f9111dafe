"""The options of the magics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest

from exsa_lab import loading
from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.engine.engine import Engine
from exsa_lab.magics import ExsaMagics, progress
from exsa_lab.magics.arguments import field_texts
from exsa_lab.testing import ScriptedModel, scripted_engine
from tests.shell import Shell, shell

LETTERS = "abcdefgh {}\n"


def alphabet(*, step_s: float = 0.0) -> ScriptedModel:
    """A model that goes on with the letters a to h in their order, over and over."""

    def next_probs(tokens: tuple[int, ...]) -> list[float]:
        after = (tokens[-1] + 1) % 8
        return [1.0 if token == after else 0.0 for token in range(len(LETTERS))]

    return ScriptedModel(LETTERS, next_probs, step_s=step_s, name="alphabet")


@pytest.fixture(scope="module")
def ip() -> Iterator[Shell]:
    with shell() as made:
        yield made


class FakeLoad:
    """Stands in for `exsa_lab.load`: scripted engines, the same one for the same arguments."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def __call__(self, target: str, draft: str | None, *, progress: Callable[[float], None], **config: Any) -> Engine:
        progress(0.5)
        if self.asked and self.asked[-1] == (target, draft, config):
            return loading.get_engine()
        self.asked.append((target, draft, config))
        return loading.use(scripted_engine(alphabet(), alphabet() if draft else None, **config))


@pytest.fixture
def fake_load(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLoad]:
    loading.unload()
    fake = FakeLoad()
    monkeypatch.setattr(progress, "load", fake)
    yield fake
    loading.unload()


def test_every_parameter_has_an_option() -> None:
    for magic, config in ((ExsaMagics.exsa, SamplingParams), (ExsaMagics.exsa_load, EngineConfig)):
        options = {action.dest: action for action in magic.parser._actions}
        for item in fields(config):
            assert options[item.name].help, item.name
    assert set(field_texts(SamplingParams)) == {item.name for item in fields(SamplingParams)}


def test_every_magic_has_help(ip: Shell) -> None:
    names = [name for kind in ip.ip.magics_manager.magics.values() for name in kind if name.startswith("exsa")]
    assert sorted(names) == [
        "exsa", "exsa_bench", "exsa_cancel", "exsa_chats", "exsa_doctor", "exsa_history", "exsa_jobs", "exsa_load",
        "exsa_models", "exsa_status", "exsa_template", "exsa_unload",
    ]  # fmt: skip
    for name in names:
        parser = getattr(ExsaMagics, name).parser
        assert parser.description, name
        assert all(action.help for action in parser._actions), name


def test_flags_of_the_engine(ip: Shell, fake_load: FakeLoad) -> None:
    line = "any --no-flash-attention --recalibrate --n-gpu-layers -1"
    assert ip.run(f"%exsa_load {line}").succeeded
    assert fake_load.asked == [("any", "auto", {"flash_attention": False, "recalibrate": True, "n_gpu_layers": -1})]
