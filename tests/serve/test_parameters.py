"""What clients send becomes what the engine is asked for; what it cannot be is said with the name of its field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.config import SamplingParams
from exsa_lab.serve.api_errors import ApiError
from exsa_lab.serve.limits import Limits
from exsa_lab.serve.parameters import DEFAULT_MAX_TOKENS, read_chat, read_completion

MESSAGES = [{"role": "user", "content": "Hi"}]
LIMITS = Limits()


def chat_params(**fields: Any) -> SamplingParams:
    return SamplingParams.from_kwargs(**read_chat({"messages": MESSAGES, **fields}, LIMITS).params)


def refused(read: Any, body: dict[str, Any]) -> dict[str, Any]:
    with pytest.raises(ApiError) as caught:
        read(body, LIMITS)
    assert caught.value.status == 400
    error: dict[str, Any] = caught.value.body["error"]
    return error


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"max_tokens": DEFAULT_MAX_TOKENS, "temperature": 0.0, "seed": None, "overflow": "error", "chat": True}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"temperature": 0.5, "top_p": 0.9, "seed": 3}, {"temperature": 0.5, "top_p": 0.9, "seed": 3}),
        ({"seed": -1}, {"seed": 2**64 - 1}),
        ({"stop": "x"}, {"stop": ("x",)}),
        ({"stop": ["x", "y"]}, {"stop": ("x", "y")}),
        ({"presence_penalty": 1, "frequency_penalty": -1}, {"presence_penalty": 1, "frequency_penalty": -1}),
        ({"logit_bias": {"5": -100}}, {"logit_bias": {5: -100}}),
        ({"response_format": {"type": "text"}}, {"response_format": None}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {}}}},
            {"response_format": {"type": "json_schema", "schema": {}}},
        ),
        ({"top_k": 3, "min_p": 0.1, "repeat_penalty": 1.1}, {"top_k": 3, "min_p": 0.1, "repeat_penalty": 1.1}),
        ({"exsa": {"draft_length": 4, "drafter": "ngram"}}, {"draft_length": 4, "drafter": "ngram"}),
        ({"exsa": {"timeout": 5}}, {"timeout": 5.0}),
        ({"exsa": {"timeout": 1e9}}, {"timeout": LIMITS.request_seconds}),
        ({"temperature": None, "stop": None, "n": None, "logprobs": None, "stream": None, "exsa": None}, {}),
    ],
)
def test_chat_parameters(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    params = chat_params(**fields)
    assert {name: getattr(params, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 2}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_completion_tokens": -3}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"n": 17}, "n"),
        ({"n": "2"}, "n"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"stop": 3}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"logit_bias": [1]}, "logit_bias"),
        ({"logit_bias": {"a": "b"}}, "logit_bias"),
        ({"presence_penalty": []}, "presence_penalty"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"stream": "yes"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "include_usage"),
        ({"logprobs": 3}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"model": 3}, "model"),
        ({"exsa": []}, "exsa"),
        ({"exsa": {"unknown": 1}}, "exsa"),
        ({"exsa": {"special": True}}, "exsa"),
        ({"exsa": {"chat": False}}, "exsa"),
        ({"exsa": {"draft_length": 99}}, "exsa.draft_length"),
        ({"exsa": {"drafter": "x"}}, "exsa.drafter"),
        ({"messages": []}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": [3]}, "messages"),
        ({"messages": [{"role": "wizard", "content": "Hi"}]}, "messages"),
        ({"messages": [{"role": ["user"], "content": "Hi"}]}, "messages"),
        ({"messages": [{"content": "Hi"}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
    ],
)
def test_a_bad_value_names_its_field(fields: dict[str, Any], param: str) -> None:
    assert refused(read_chat, {"messages": MESSAGES, **fields})["param"] == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": ["a", [1]]}, "prompt"),
        ({"prompt": [1, True]}, "prompt"),
        ({"prompt": [1, 2.0]}, "prompt"),
        ({"prompt": [[1], []]}, "prompt"),
        ({"prompt": [[[1]]]}, "prompt"),
        ({"prompt": [[1]] * 9, "n": 2}, "prompt"),
        ({"prompt": ["x"] * 9, "n": 2}, "prompt"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 99}, "logprobs"),
        ({"echo": 1}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_a_bad_value_of_a_completion_names_its_field(fields: dict[str, Any], param: str) -> None:
    assert refused(read_completion, {"prompt": "Hi", **fields})["param"] == param


def test_unknown_fields_are_ignored_and_named() -> None:
    request = read_chat({"messages": MESSAGES, "store": True, "reasoning_effort": "high", "user": "me"}, LIMITS)
    assert request.ignored == ("reasoning_effort", "store")
    assert read_completion({"prompt": "Hi", "best_of": 1}, LIMITS).ignored == ("best_of",)
    options = {"include_usage": True, "include_obfuscation": False}
    request = read_chat({"messages": MESSAGES, "stream": True, "stream_options": options}, LIMITS)
    assert (request.ignored, request.includes_usage) == (("stream_options.include_obfuscation",), True)


def test_unknown_fields_of_messages_are_ignored_and_named() -> None:
    reply = {"role": "assistant", "content": "Yes", "refusal": None, "annotations": [], "provider": {"a": 1}}
    request = read_chat({"messages": [*MESSAGES, reply, *MESSAGES]}, LIMITS)
    assert request.ignored == ("messages.provider",)
    assert request.prompts[0][1] == {"role": "assistant", "content": "Yes"}


def test_tokens_by_number_do_not_get_in() -> None:
    """They could be control tokens, which no text of a client becomes."""
    reply = {"role": "assistant", "content": "Yes", "token_ids": [1, 2]}
    request = read_chat({"messages": [*MESSAGES, reply, *MESSAGES]}, LIMITS)
    assert request.ignored == ("messages.token_ids",)
    assert "token_ids" not in request.prompts[0][1]


def test_each_choice_has_its_own_seed() -> None:
    request = read_chat({"messages": MESSAGES, "n": 3, "seed": 5}, LIMITS)
    assert [request.params_of(choice)["seed"] for choice in range(3)] == [5, 6, 7]
    assert request.num_texts == 3


def test_prompts_of_a_completion() -> None:
    request = read_completion({"prompt": ["a", "b"], "n": 2, "logprobs": 0}, LIMITS)
    assert (request.prompts, request.num_texts, request.logprobs) == (["a", "b"], 4, 0)
    assert request.params["chat"] is False


def test_prompts_by_number_are_one_or_several() -> None:
    assert read_completion({"prompt": [5, 6]}, LIMITS).prompts == [[5, 6]]
    several = read_completion({"prompt": [[5, 6], [7]], "n": 2}, LIMITS)
    assert (several.prompts, several.num_texts) == ([[5, 6], [7]], 4)


@pytest.mark.parametrize("token", [-1, 10, 1 << 80])
def test_tokens_that_the_model_does_not_have_are_a_bad_prompt(token: int) -> None:
    read_completion({"prompt": [0, 9]}, LIMITS).check_tokens(10)
    request = read_completion({"prompt": [[0, 9], [1, token]]}, LIMITS)
    with pytest.raises(ApiError) as caught:
        request.check_tokens(10)
    error = caught.value.body["error"]
    assert (caught.value.status, error["param"], error["code"]) == (400, "prompt", "invalid_value")


def test_a_prompt_far_beyond_the_context_is_not_even_tokenized() -> None:
    """A letter for each byte of the largest body keeps the engine busy for ten seconds."""
    letters = read_chat({"messages": [{"role": "user", "content": "a" * 3_300}]}, LIMITS)
    messages = read_chat({"messages": MESSAGES * 26}, LIMITS)
    texts = read_completion({"prompt": ["a", "a" * 3_300]}, LIMITS)
    tokens = read_completion({"prompt": [1] * 103}, LIMITS)
    for request in (letters, messages, texts, tokens):
        request.check_size(104)
        with pytest.raises(ApiError) as caught:
            request.check_size(102)
        assert caught.value.body["error"]["code"] == "context_length_exceeded"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        *("messages", "prompt", "n", "stream", "stream_options", "stop", "seed", "temperature", "top_p", "logit_bias"),
        *(
            "logprobs",
            "top_logprobs",
            "response_format",
            "max_tokens",
            "max_completion_tokens",
            "exsa",
            "model",
            "tools",
        ),
        *("suffix", "echo", "chat_template_kwargs", "presence_penalty", "anything"),
    ]
)


@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_whatever_is_sent_is_a_request_or_a_bad_value(fields: dict[str, Any]) -> None:
    for read, least in ((read_chat, {"messages": MESSAGES}), (read_completion, {"prompt": "Hi"})):
        error = None
        try:
            request = read({**least, **fields}, LIMITS)
        except ApiError as refusal:
            error = refusal
        if error is None:
            SamplingParams.from_kwargs(**request.params)
        else:
            assert error.status == 400
