"""What parent and child say: all of it comes back as it was, and what the child says is not believed."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.engine.stats import EngineStatus, Stats, StepRecord
from exsa_lab.engine.worker import wire
from exsa_lab.errors import ConfigError, EngineFailed, PromptTooLong
from exsa_lab.prompts.thinking import Thinking
from exsa_lab.testing import scripted_engine
from tests.engine.worker.child_models import Opener


def sent(value: Any) -> Any:
    return json.loads(wire.to_bytes({"value": value}))["value"]


def test_frames_come_whole_or_not_at_all() -> None:
    file = io.BytesIO()
    frames = [b"", b"abc", bytes(100_000)]
    for data in frames:
        wire.write_frame(file, data)
    file.seek(0)
    assert [wire.read_frame(file) for _ in frames] == frames
    whole = len(frames[1]).to_bytes(4, "little") + frames[1]
    assert wire.read_frame(io.BytesIO(whole)) == frames[1]
    for end in range(len(whole)):
        with pytest.raises(EOFError):
            wire.read_frame(io.BytesIO(whole[:end]))
    with pytest.raises(EOFError, match="a frame of"):
        wire.read_frame(io.BytesIO(b"\xff" * 100))


def test_a_generation_comes_back_as_it_was() -> None:
    models = Opener()(lambda _: True)
    with scripted_engine(models.target, models.draft) as engine:  # type: ignore[arg-type]
        gens = [engine.generate("abc", max_tokens=30, temperature=t, seed=1, draft_length=3) for t in (0.0, 0.8)]
        steps, status = engine.steps, engine.status()
    for gen in gens:
        assert wire.decode_events(sent(wire.encode_events(gen.events))) == gen.events
        assert wire.decode_tokens(sent(gen.tokens)) == gen.tokens
        stats = Stats()
        wire.decode_stats(sent(wire.encode_stats(gen.stats)), stats)
        assert stats == gen.stats
    assert wire.decode_steps(sent(wire.encode_steps(steps))) == steps
    assert steps[0].uses
    assert isinstance(steps[0], StepRecord)
    assert wire.decode_status(sent(wire.encode_status(status))) == status
    assert isinstance(status, EngineStatus)


def test_thoughts_and_errors_come_back_as_they_were() -> None:
    thinking = Thinking("<think>", "</think>", is_open=True, labels=((1, "</think>"),), head="<answer>")
    assert wire.decode_thinking(sent(wire.encode_thinking(thinking))) == thinking
    assert wire.decode_thinking(sent(wire.encode_thinking(None))) is None
    error = wire.decode_error(sent(wire.encode_error(PromptTooLong("too long.", hint="Shorten it."))))
    assert (type(error), error.message, error.hint) == (PromptTooLong, "too long.", "Shorten it.")
    assert "KeyError" in str(wire.decode_error(sent(wire.encode_error(KeyError("x")))))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DECODERS: tuple[Callable[[Any], object], ...] = (
    wire.decode_events,
    wire.decode_steps,
    wire.decode_tokens,
    wire.decode_status,
    wire.decode_thinking,
    lambda data: wire.decode_stats(data, Stats()),
)


@given(JSON)
def test_whatever_is_said_is_a_value_or_an_error(data: Any) -> None:
    for decode in DECODERS:
        with contextlib.suppress(ValueError):
            decode(json.loads(json.dumps(data)))
    assert str(wire.decode_error(data)).isprintable()


@pytest.mark.parametrize("name", ["os", "ConfigError", "Exception", "__doc__", "annotations", "printable"])
def test_only_errors_of_ours_are_made(name: str) -> None:
    error = wire.decode_error([name, "what", "hint"])
    assert type(error) is (ConfigError if name == "ConfigError" else EngineFailed)
