"""How agreement on held-out prompts is told, and what is promised of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exsa_lab.bench import acceptance
from exsa_lab.bench.acceptance import DEFAULT_MODEL, TEMPERATURES
from exsa_lab.bench.setting import Options
from exsa_lab.distill.held_out import HELD_OUT
from exsa_lab.errors import ConfigError
from exsa_lab.testing import ScriptedModel, scripted_engine


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Options of a run whose draft guesses chat always right, and everything else never."""
    kinds = list(HELD_OUT)

    def agreement(target: Path, draft: Path, texts: Any, temperature: float, n_threads: int) -> list[list[bool]]:
        return [[kind == kinds[0]] * 12 for kind in kinds for _ in range(2)]

    model = ScriptedModel("ab", lambda tokens: [0.5, 0.5])
    subject = SimpleNamespace(
        name="the pair",
        path=Path("t"),
        draft=Path("draft.gguf"),
        n_threads=1,
        open_engine=lambda: scripted_engine(model),
    )
    monkeypatch.setattr(acceptance, "subjects", lambda options, **room: [subject])
    monkeypatch.setattr(acceptance, "answers", lambda engine, prompts, tokens, temperature: prompts)
    monkeypatch.setattr(acceptance, "agreement", agreement)
    monkeypatch.setattr(acceptance, "draft_step_seconds", lambda draft, n_threads: 0.001)
    return SimpleNamespace(
        model=DEFAULT_MODEL,
        draft="auto",
        given=SimpleNamespace(prompts=2, tokens=12),
        pick=lambda usual, quick: usual,
        progress=lambda text: None,
        subject=subject,
    )


def test_each_kind_and_temperature_is_told_with_all_of_them(options: Any) -> None:
    report = acceptance.run(options)
    rows, positions = (table.rows for table in report.tables)
    assert len(rows) == len(TEMPERATURES) * (len(HELD_OUT) + 1)
    first = {row[0]: row[1] for row in rows}
    assert first[f"greedy, {next(iter(HELD_OUT))}"] == 1.0
    assert [value for name, value in first.items() if name.startswith("greedy, ")][1:-1] == [0.0] * (len(HELD_OUT) - 1)
    assert 0 < first["greedy, all"] < 1
    assert len(positions) == len(TEMPERATURES)


def test_promises_are_of_the_default_pair_only(options: Any) -> None:
    assert len(acceptance.run(options).checks) == 3
    options.model = "another"
    assert acceptance.run(options).checks == []


def test_a_target_without_a_draft_is_refused() -> None:
    with pytest.raises(ConfigError, match="smollm2-135m has no draft to measure"):
        acceptance.check(Options(draft="none"))
    acceptance.check(Options())
