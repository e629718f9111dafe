"""``%%exsa --race`` through a real IPython shell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exsa_lab import loading
from exsa_lab.engine.engine import Engine
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.widgets.race import Race
from tests.shell import Shell, shell

LETTERS = [chr(97 + i) for i in range(26)]


@pytest.fixture(scope="module")
def ip() -> Iterator[Shell]:
    with shell() as made:
        yield made


@pytest.fixture(autouse=True)
def engine() -> Iterator[Engine]:
    yield loading.use(scripted_engine(ScriptedModel(LETTERS, markov(26, 1)), ScriptedModel(LETTERS, markov(26, 2))))
    loading.unload()


def test_a_race_is_shown_and_bound(ip: Shell) -> None:
    result = ip.run("%%exsa --race 2 --max-tokens 9 --no-chat --draft-length 2 --name made\nabc")
    assert result.succeeded
    made = ip.ip.user_ns["made"]
    assert isinstance(made, Race)
    assert list(made.traces) == ["plain", "drafted"]
    assert [len(runs) for runs in made.traces.values()] == [2, 2]
    assert ip.ip.user_ns["_exsa"].params.max_tokens == 9
    assert "2 runs each" in str(result.displays)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("--race --background", "a race runs alone"),
        ("--race --chat", "a race runs alone"),
        ("--race none", "--race is 'none'"),
        ("--race 0", "--race is 0"),
    ],
)
def test_mistakes_are_one_line(ip: Shell, line: str, what: str) -> None:
    result = ip.run(f"%%exsa {line} --no-chat\nabc")
    assert not result.succeeded
    assert what in str(result.error)
