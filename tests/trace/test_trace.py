"""A trace as a value: as a table and as a file."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.errors import ConfigError
from exsa_lab.events import MAX_ROUND_TOKENS, RoundEvent
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.trace import Trace

PIECES = [chr(ord("a") + i) for i in range(20)]


def test_numbers_nobody_computed_are_missing_numbers() -> None:
    with scripted_engine(ScriptedModel(PIECES, markov(20, 1)), probabilities=False) as engine:
        trace = engine.generate("ab", max_tokens=6, chat=False, draft_length=0).trace
    frame = trace.to_pandas()
    assert [frame[name].dtype for name in ("p", "q", "u")] == [np.float64] * 3
    assert frame["p"].isna().all()
    assert np.isnan(frame.groupby("source")["p"].mean().item())


def test_an_empty_trace_is_an_empty_table() -> None:
    assert len(Trace([]).to_pandas()) == 0


def test_a_file_keeps_everything(tmp_path: object) -> None:
    draft = ScriptedModel(PIECES, markov(20, 2))
    with scripted_engine(ScriptedModel(PIECES, markov(20, 1)), draft) as engine:
        generation = engine.generate("abc", max_tokens=9, chat=False, draft_length=3, temperature=0.7, seed=4)
    trace = generation.trace
    loaded = Trace.load(trace.save(f"{tmp_path}/run.json"))
    assert loaded == trace
    assert loaded.tokens == generation.tokens
    assert loaded.prompt_ids == [0, 1, 2]
    assert loaded.text == generation.text


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """A trace's JSON, with drafts."""
    with scripted_engine(ScriptedModel(PIECES, markov(20, 1)), ScriptedModel(PIECES, markov(20, 2))) as engine:
        trace = engine.generate("abc", max_tokens=9, chat=False, draft_length=3, temperature=0.7, seed=4).trace
    data: dict[str, Any] = json.loads(json.dumps(trace.to_json()))
    return data


def test_half_a_character_in_a_prompt_destroys_nothing(tmp_path: Path, recorded: dict[str, Any]) -> None:
    path = tmp_path / "run.json"
    trace = Trace.from_json({**recorded, "prompt": "half \ud800 a character"})
    trace.save(path)
    assert Trace.load(path) == trace


def test_what_cannot_be_saved_leaves_the_old_file(tmp_path: Path, recorded: dict[str, Any]) -> None:
    path = Trace.from_json(recorded).save(tmp_path / "run.json")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="could not be saved"):
        Trace([], stats={"ttft_s": float("nan")}).save(path)
    assert path.read_bytes() == before
    with pytest.raises(ConfigError, match="could not be saved"):
        Trace([]).save(tmp_path / "no" / "run.json")


def _changed(data: dict[str, Any], where: list[Any], value: Any) -> dict[str, Any]:
    data = copy.deepcopy(data)
    inner: Any = data
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    return data


def _round(data: dict[str, Any]) -> int:
    return next(i for i, event in enumerate(data["events"]) if event["event"] == "round")


WRONG = [2**40, -1, "x", None, [], {}, True, 1.5]


@pytest.mark.parametrize("value", [*WRONG, MAX_ROUND_TOKENS + 1])
@pytest.mark.parametrize("name", ["k", "accepted", "round", "batch_tokens"])
def test_impossible_numbers_are_refused(recorded: dict[str, Any], name: str, value: Any) -> None:
    where = ["events", _round(recorded), name]
    if name in ("round", "batch_tokens") and value == MAX_ROUND_TOKENS + 1:
        return
    with pytest.raises(ValueError):  # noqa: PT011  # every kind of message
        Trace.from_json(_changed(recorded, where, value))


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (["format"], "exsa_lab.trace/0"), (["format"], None), (["prompt"], 3), (["prompt_ids"], [-1]),
        (["prompt_ids"], "abc"), (["prompt_ids"], [2**40]), (["models"], []), (["models"], {"target": 3}),
        (["stats"], {"rounds": "x"}), (["stats"], {"rounds": 2**80}), (["params"], {"max_tokens": "x"}),
        (["params"], []), (["config"], None), (["events"], None), (["events"], [3]), (["events"], [{}]),
        (["events", 0, "event"], "other"), (["events", 0, "more"], 1), (["more"], 1),
    ],
)  # fmt: skip
def test_what_is_no_trace_is_one_clear_error(
    tmp_path: Path, recorded: dict[str, Any], where: list[Any], value: Any
) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(_changed(recorded, where, value)))
    with pytest.raises(ConfigError, match="is not a trace") as caught:
        Trace.load(path)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["", "[" * 200_000, "NaN", "null", "3", '{"format": "exsa_lab.trace/1"}'])
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ConfigError, match="is not a trace"):
        Trace.load(tmp_path / "run.json")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_a_changed_trace_is_refused_or_reports_everything(recorded: dict[str, Any], data: st.DataObject) -> None:
    where: list[Any] = []
    inner: Any = recorded
    while isinstance(inner, dict | list) and inner and (not where or data.draw(st.booleans())):
        where.append(data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner)))))
        inner = inner[where[-1]]
    try:
        trace = Trace.from_json(_changed(recorded, where, data.draw(JSON)))
    except ValueError:
        return
    trace.summary()
    trace.to_pandas()
    for k in (0, 4):
        with contextlib.suppress(ConfigError):
            str(trace.replay(k))


def test_a_trace_made_by_hand_is_summed_up_in_time() -> None:
    event = RoundEvent(0, 2**40, 0, 1, 1, 0.0, 0.0, 0.0)
    assert len(Trace([event] * 50).acceptance_by_position()) == MAX_ROUND_TOKENS  # it went on for ever
