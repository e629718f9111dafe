"""From a generation to a sequence of tokens, and where it stands."""

from __future__ import annotations

import pytest

from exsa_lab.engine.sequence import begin_sequence, encode
from exsa_lab.errors import ConfigError, PromptTooLong
from exsa_lab.events import State, StateEvent
from tests.engine.parts import LETTERS, generation, sequence


def test_beginning_tokenizes_and_tells_the_generation() -> None:
    handle = generation("ab.c", max_tokens=7, seed=5, timeout=2.0)
    begun = begin_sequence(handle, LETTERS, encode(handle, LETTERS, 64))
    assert begun.tokens == handle.prompt_ids == [0, 1, 8, 2]
    assert handle.end_ids == [8]
    assert handle.stats.prompt_tokens == 4
    assert [event.state for event in handle.events if isinstance(event, StateEvent)] == [State.WAITING]
    assert (begun.num_prompt, begun.num_tokens, begun.num_generated, begun.num_left) == (4, 4, 0, 7)
    assert begun.deadline == handle.submitted + 2.0
    assert begun.age() >= 0


def test_a_seed_is_drawn_where_none_is_given_and_kept_where_one_is() -> None:
    drawn = {sequence("a").generation.seed for _ in range(8)}
    assert len(drawn) > 1
    assert None not in drawn
    kept = sequence("a", seed=3)
    assert kept.generation.seed == 3
    assert kept.random.draft_uniform() == sequence("a", seed=3).random.draft_uniform()


@pytest.mark.parametrize(("prompt", "error"), [("", ConfigError), ("a" * 64, PromptTooLong)])
def test_a_prompt_that_cannot_run_leaves_the_generation_as_it_was(prompt: str, error: type[Exception]) -> None:
    handle = generation(prompt)
    with pytest.raises(error):
        encode(handle, LETTERS, 64)
    assert not handle.events
    assert not handle.prompt_ids


def test_it_is_looked_at_by_setting_or_by_listeners() -> None:
    begun = sequence("a")
    assert begun.is_looked_at(True)
    assert not begun.is_looked_at(False)
    assert not begun.is_looked_at("auto")
    forget = begun.generation.subscribe(lambda events: None)
    assert begun.is_looked_at("auto")
    forget()
    assert not begun.is_looked_at("auto")
