"""Probabilities in OpenAI's forms."""

from __future__ import annotations

import math

import pytest

from tests.serve.parts import chat, chunks, completion, serving


@pytest.mark.parametrize("streams", [True, False])
def test_each_token_of_a_chat_has_its_own(streams: bool) -> None:
    with serving(probabilities=True) as server:
        reply = chat(server, logprobs=True, stream=streams)
        if streams:
            choices = [choice for piece in chunks(reply) for choice in piece["choices"]]
            entries = [entry for choice in choices if choice["logprobs"] for entry in choice["logprobs"]["content"]]
            text = "".join(choice["delta"].get("content", "") for choice in choices)
        else:
            choice = reply.json()["choices"][0]
            entries, text = choice["logprobs"]["content"], choice["message"]["content"]
        assert b"".join(bytes(entry["bytes"]) for entry in entries).decode() == text
        assert all(entry["logprob"] <= 0 and math.isfinite(entry["logprob"]) for entry in entries)


def test_none_are_given_where_none_were_asked_for() -> None:
    with serving() as server:
        assert chat(server).json()["choices"][0]["logprobs"] is None
        assert completion(server).json()["choices"][0]["logprobs"] is None
