"""Arguments are checked where they enter, and what is like a number is one."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.config import EngineConfig, SamplingParams, as_list
from exsa_lab.errors import ConfigError
from exsa_lab.experiments import Setting


def test_numbers_of_numpy_are_numbers() -> None:
    params = SamplingParams(
        max_tokens=np.int64(3),  # type: ignore[arg-type]
        temperature=np.float32(0.5),  # type: ignore[arg-type]
        seed=np.uint64(2**63),  # type: ignore[arg-type]
        draft_length=np.int8(2),  # type: ignore[arg-type]
        chat=np.True_,  # type: ignore[arg-type]
    )
    assert params == SamplingParams(max_tokens=3, temperature=0.5, seed=2**63, draft_length=2)
    values = (params.max_tokens, params.temperature, params.seed, params.draft_length, params.chat)
    assert [type(value) for value in values] == [int, float, int, int, bool]
    config = EngineConfig(n_ctx=np.int32(512), reproducible=np.False_, probabilities=np.True_)  # type: ignore[arg-type]
    assert [type(each) for each in (config.n_ctx, config.reproducible, config.probabilities)] == [int, bool, bool]
    setting = Setting(concurrency=np.int64(2), seeds=np.arange(2))  # type: ignore[arg-type]
    assert (setting.concurrency, setting.seeds) == (2, (0, 1))
    assert {type(seed) for seed in setting.seeds} == {int}


def test_own_parameters_may_be_used_more_than_once() -> None:
    class City(pydantic.BaseModel):
        name: str

    tokens = [1]
    own = SamplingParams.own(stop=iter("ab"), max_tokens=np.int64(3), suppress_tokens=tokens, response_format=City)
    tokens.append(2)
    assert own == {"stop": ("a", "b"), "max_tokens": 3, "suppress_tokens": (1,), "response_format": City}
    assert SamplingParams.own(**own) == own
    with pytest.raises(ConfigError):
        SamplingParams.own(stop=iter([3]))


def test_no_stop_is_none() -> None:
    assert SamplingParams(stop=None).stop == ()  # type: ignore[arg-type]
    assert SamplingParams(stop="x").stop == ("x",)  # type: ignore[arg-type]
    assert SamplingParams(stop=["a", "b"]).stop == ("a", "b")  # type: ignore[arg-type]


def test_for_ever_is_no_timeout() -> None:
    assert SamplingParams(timeout=math.inf).timeout is None


@pytest.mark.parametrize("value", ["abc", b"abc", bytearray(b"abc"), {"a": 1}, 3, None])
def test_a_lone_text_is_no_list(value: Any) -> None:
    with pytest.raises(ConfigError, match="prompts"):
        as_list("prompts", value)


WRONG = [
    {"stop": b"a"}, {"stop": [b"a"]}, {"stop": {"a": 1}}, {"stop": [""]}, {"stop": 3}, {"stop": "a" * 0},
    {"stop": (str(i + 1) for i in range(10**9))}, {"max_tokens": True}, {"max_tokens": 1.0}, {"max_tokens": 10**5000},
    {"max_tokens": "3"}, {"max_tokens": np.array([1, 2])}, {"temperature": 10**400}, {"temperature": math.nan},
    {"temperature": "1"}, {"temperature": True}, {"top_p": -1}, {"chat": "no"}, {"chat": 1}, {"system": b"a"},
    {"system": 3}, {"drafter": []}, {"drafter": None}, {"draft_length": "\x1b[2J"}, {"draft_length": None},
    {"timeout": "1"}, {"seed": -1}, {"seed": 1.5}, {"\x1b[2J": 1},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: next(iter(wrong)))
def test_what_fits_nothing_is_one_clear_line(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        SamplingParams.from_kwargs(**wrong)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(st.text(max_size=3)),
    st.dictionaries(st.text(), st.integers()), st.complex_numbers(), st.decimals(), st.fractions(), st.dates(),
)  # fmt: skip


@given(st.sampled_from([SamplingParams, EngineConfig]), st.data(), ANYTHING)
def test_any_value_is_taken_or_refused_by_our_own_error(config: type[Any], data: st.DataObject, value: Any) -> None:
    name = data.draw(st.sampled_from(list(config.__dataclass_fields__)))
    try:
        made = config(**{name: value})
    except ConfigError as error:
        made, text = config(), str(error)
        assert_shown(text)
    assert config(**{name: getattr(made, name)}) == made


def assert_shown(text: str) -> None:
    assert text.isprintable()
    assert len(text) < 300


def test_tokens_by_number_or_text() -> None:
    params = SamplingParams(logit_bias={"5": 1, "a": np.float32(-2)}, suppress_tokens=["7", "b", np.int64(3)])  # type: ignore[dict-item,arg-type]
    assert params.logit_bias == {5: 1, "a": -2.0}
    assert params.suppress_tokens == (7, "b", 3)


@pytest.mark.parametrize(
    "params",
    [
        {"repeat_penalty": 0}, {"repeat_penalty": math.nan}, {"presence_penalty": math.inf}, {"penalty_last_n": -2},
        {"logit_bias": [1]}, {"logit_bias": {-1: 1.0}}, {"logit_bias": {"": 1.0}}, {"logit_bias": {1: math.inf}},
        {"logit_bias": {1.5: 1.0}}, {"logit_bias": {True: 1.0}}, {"suppress_tokens": "a"}, {"suppress_tokens": [b"a"]},
        {"suppress_tokens": range(10**9)},
    ],
)  # fmt: skip
def test_shapes_that_are_none(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(params))):
        SamplingParams.from_kwargs(**params)


def test_parameters_survive_json() -> None:
    params = SamplingParams(logit_bias={5: 1.0, "a": 2.0}, suppress_tokens=[1, "b"], stop="x", seed=3)  # type: ignore[arg-type]
    assert SamplingParams.from_kwargs(**json.loads(json.dumps(params.as_json()))) == params
