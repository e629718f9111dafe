"""Probabilities in OpenAI's forms: finite, of the text that was written, the model's own."""

from __future__ import annotations

import math
from typing import Any

import pytest

from exsa_lab import loading
from exsa_lab.events import TokenEvent
from exsa_lab.serve.server import Server
from tests.serve.parts import chat, chunks, completion, serving


def entries_of(server: Server, *, streams: bool, **fields: Any) -> tuple[list[dict[str, Any]], str]:
    reply = chat(server, logprobs=True, stream=streams, **fields)
    if not streams:
        choice = reply.json()["choices"][0]
        return choice["logprobs"]["content"], choice["message"]["content"]
    choices = [choice for piece in chunks(reply) for choice in piece["choices"]]
    entries = [entry for choice in choices if choice["logprobs"] for entry in choice["logprobs"]["content"]]
    return entries, "".join(choice["delta"].get("content", "") for choice in choices)


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("most", [None, 0, 3])
def test_each_token_of_a_chat_has_its_own(streams: bool, most: int | None) -> None:
    fields: dict[str, Any] = {} if most is None else {"top_logprobs": most}
    with serving() as server:
        entries, text = entries_of(server, streams=streams, **fields)
        written = [event for event in loading.get_engine().generations[-1].events if isinstance(event, TokenEvent)]
    assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == text
    for entry, event in zip(entries, written, strict=False):
        assert entry["logprob"] == event.logprob
        assert len(entry["top_logprobs"]) == (most or 0)
        assert all(other["logprob"] <= 0 and math.isfinite(other["logprob"]) for other in entry["top_logprobs"])
        if most:  # greedy: the token itself is the most probable one
            assert entry["token"] == entry["top_logprobs"][0]["token"]
            assert entry["logprob"] == pytest.approx(entry["top_logprobs"][0]["logprob"])


def test_those_of_a_completion_stand_in_lists_of_one_length() -> None:
    with serving() as server:
        choice = completion(server, logprobs=2).json()["choices"][0]
        logprobs = choice["logprobs"]
        lengths = {len(logprobs[name]) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}
        assert len(lengths) == 1
        assert "".join(logprobs["tokens"]) == choice["text"]
        for token, logprob, top in zip(
            logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
        ):
            assert top[token] == pytest.approx(logprob)
            assert len(top) == 2
        assert completion(server, logprobs=0).json()["choices"][0]["logprobs"]["top_logprobs"] is None


@pytest.mark.parametrize("most", [0, 2])
def test_those_of_an_echoed_prompt_come_before(most: int) -> None:
    with serving() as server:
        plain = completion(server, logprobs=most).json()["choices"][0]
        choice = completion(server, logprobs=most, echo=True).json()["choices"][0]
        found = choice["logprobs"]
        assert choice["text"] == "abc" + plain["text"]
        assert found["tokens"] == ["a", "b", "c", *plain["logprobs"]["tokens"]]
        assert found["text_offset"] == [0, 1, 2, *(3 + at for at in plain["logprobs"]["text_offset"])]
        assert found["token_logprobs"][0] is None
        assert all(logprob <= 0 for logprob in found["token_logprobs"][1:])
        gen = loading.get_engine().generate("ab", chat=False, max_tokens=1, logit_bias={2: 100}, top_logprobs=1)
        first = next(event for event in gen.events if isinstance(event, TokenEvent))
        assert (gen.text, found["token_logprobs"][2]) == ("c", pytest.approx(first.logprob))
        if most:
            assert [top and len(top) for top in found["top_logprobs"][:3]] == [None, 2, 2]
        pieces = chunks(completion(server, logprobs=most, echo=True, stream=True))
        told = [piece["choices"][0]["logprobs"] for piece in pieces if piece["choices"][0]["logprobs"]]
        for name in ("tokens", "token_logprobs", "text_offset"):
            assert [value for logprobs in told for value in logprobs[name]] == found[name]


def test_none_are_given_where_none_were_asked_for() -> None:
    with serving() as server:
        assert chat(server).json()["choices"][0]["logprobs"] is None
        assert completion(server).json()["choices"][0]["logprobs"] is None
