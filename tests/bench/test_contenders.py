"""Contenders on scripted models: what each generates with, and that speeds are of what was generated."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from exsa_lab.bench import contenders
from exsa_lab.bench.baselines.llama_high_level import PeerRun
from exsa_lab.bench.contenders import AUTO, PLAIN, EngineSetting, Peer, engine_settings, peers
from exsa_lab.testing import ScriptedModel, markov, scripted_engine


def model() -> ScriptedModel:
    return ScriptedModel("abcdefgh", markov(8, seed=1), step_s=0.001)


def test_a_setting_generates_with_its_parameters_one_by_one_or_at_once() -> None:
    with scripted_engine(model(), model()) as engine:
        setting = EngineSetting(engine, drafter="model", draft_length=2)
        assert setting.in_turn(("ab", "cd"), 12, 0.0, seed=0) > 0
        assert setting.at_once(("ab", "cd"), 12, 0.0, seed=0) > 0
        assert [gen.params.draft_length for gen in engine.generations] == [2] * 4
        assert {gen.stats.generated_tokens for gen in engine.generations} == {12}


def test_settings_cover_plain_auto_and_every_length_of_the_drafters_there_are() -> None:
    with scripted_engine(model(), model()) as engine:
        assert list(engine_settings(engine, range(1, 3), (4,))) == [
            PLAIN,
            AUTO,
            "model, k=1",
            "model, k=2",
            "ngram, k=4",
        ]
    with scripted_engine(model()) as engine:
        assert list(engine_settings(engine, range(1, 3), (4,))) == [PLAIN, AUTO, "ngram, k=4"]


def test_a_peer_gets_the_same_tokens_and_its_prefill_does_not_count() -> None:
    asked: list[list[int]] = []

    class HighLevel:
        def complete(self, prompt: list[int], max_tokens: int, **_: Any) -> PeerRun:
            asked.append(prompt)
            return PeerRun(max_tokens, decode_s=0.5, total_s=9.0)

    with scripted_engine(model()) as engine:
        peer: Any = Peer(engine, HighLevel())  # type: ignore[arg-type]
        assert peer.in_turn(("ab", "cd"), 11, 0.0, seed=0) == 20.0
        assert not peer.can_batch
    assert asked == [[0, 1], [2, 3]]


@pytest.mark.parametrize(("draft", "expected"), [(Path("d"), True), (None, False)])
def test_peers_that_need_a_draft_get_one_or_are_left_out(
    monkeypatch: pytest.MonkeyPatch, draft: Path | None, expected: bool
) -> None:
    closed: list[object] = []

    class Opened:
        def __init__(self, *_args: object, **options: object) -> None:
            self.options = options

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *_: object) -> None:
            closed.append(self)

    for name in ("HighLevelLlama", "XllamaServer"):
        monkeypatch.setattr(contenders, name, Opened)
    monkeypatch.setattr(contenders, "is_installed", lambda: True)
    subject: Any = type("Subject", (), {"path": Path("t"), "config": None, "n_threads": 1, "draft": draft})
    with scripted_engine(model()) as engine, ExitStack() as stack:
        found = peers(subject, engine, stack)
        assert ("xllamacpp, draft" in found) is expected
        assert {"Llama, prompt lookup", "xllamacpp, plain"} <= set(found)
        assert all(peer.is_peer for peer in found.values())
    assert len(closed) == len(found)
