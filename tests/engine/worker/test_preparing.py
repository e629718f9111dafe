"""Prompts that take long to tokenize hold up nobody, and whatever ends meanwhile, nothing is left of them."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from exsa_lab.errors import PromptTooLong
from exsa_lab.prompts import rendering
from exsa_lab.prompts.encode import SOON_CHARACTERS
from exsa_lab.testing import ScriptedModel, scripted_engine


class SlowToRead(ScriptedModel):
    """Takes its time with long texts, until it is let go on."""

    def __init__(self) -> None:
        super().__init__("ab", lambda tokens: [0.5, 0.5])
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.was_closed_meanwhile = False

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        if len(text) > SOON_CHARACTERS:
            self.begun.set()
            self.may_go_on.wait(30)
            self.was_closed_meanwhile = self.is_closed
        return super().tokenize(text, add_special=add_special, parse_special=parse_special)


LONG = "ab" * SOON_CHARACTERS


def test_a_long_prompt_is_tokenized_while_others_go_on() -> None:
    target = SlowToRead()
    with scripted_engine(target, n_ctx=1 << 15) as engine:
        long = engine.submit(LONG, chat=False, max_tokens=1)
        assert target.begun.wait(30)
        assert len(engine.generate("a", chat=False, max_tokens=3).tokens) == 3
        assert long.state == "waiting"
        target.may_go_on.set()
        assert len(long.result(30)) == 1


def test_it_can_be_cancelled_meanwhile_and_what_it_lacks_is_its_own() -> None:
    target = SlowToRead()
    with scripted_engine(target, n_ctx=1 << 10) as engine:
        cancelled, refused = (engine.submit(LONG, chat=False) for _ in range(2))
        assert target.begun.wait(30)
        cancelled.cancel("no more")
        assert cancelled.wait(30)
        assert (cancelled.state, cancelled.cancel_reason) == ("cancelled", "no more")
        target.may_go_on.set()
        assert refused.wait(30)
        assert isinstance(refused.error, PromptTooLong)
        assert not cancelled.tokens


def test_the_model_is_not_closed_under_who_tokenizes_and_nobody_is_left_waiting() -> None:
    target = SlowToRead()
    engine = scripted_engine(target, n_ctx=1 << 15)
    generations = [engine.submit(LONG, chat=False) for _ in range(4)]
    assert target.begun.wait(30)
    closing = threading.Thread(target=engine.close)
    closing.start()
    assert all(generation.wait(30) for generation in generations)
    assert {generation.state for generation in generations} == {"cancelled"}
    target.may_go_on.set()
    closing.join(30)
    assert target.is_closed
    assert not target.was_closed_meanwhile


def test_a_template_that_nobody_knows_is_run_beside_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take two seconds, in a process that has to be started first."""
    names = []

    def render(source: str, values: dict[str, Any]) -> str:
        names.append(threading.current_thread().name)
        return str(values["messages"][0]["content"])

    monkeypatch.setattr(rendering, "render_apart", render)
    with scripted_engine(ScriptedModel("ab", lambda tokens: [0.5, 0.5], chat_template="{{ messages }}")) as engine:
        assert engine.generate("ab", max_tokens=1).prompt_ids == [0, 1]
    assert names == ["exsa-encoding"]
