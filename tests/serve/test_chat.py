"""Chat completions, whole and streamed: the same text, whole characters, thoughts apart."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from exsa_lab import loading
from exsa_lab.prompts.thinking import Thinking
from exsa_lab.testing import ScriptedModel
from tests.serve.parts import CHAT, END, PIECES, chat, chunks, serving


def said(pieces: list[dict[str, object]], index: int = 0, field: str = "content") -> str:
    found = [choice for piece in pieces for choice in piece["choices"] if choice["index"] == index]  # type: ignore[attr-defined]
    return "".join(choice["delta"].get(field) or "" for choice in found)


def direct(**params: object) -> str:
    return loading.get_engine().generate(CHAT["messages"], **{"max_tokens": 12, **params}).text  # type: ignore[arg-type]


@pytest.mark.parametrize("draft_length", [0, 4, "auto"])
def test_greedy_texts_are_those_of_a_direct_call(draft_length: object) -> None:
    with serving() as server:
        expected = direct()
        extra = {"exsa": {"draft_length": draft_length}}
        assert chat(server, **extra).json()["choices"][0]["message"]["content"] == expected
        assert said(chunks(chat(server, stream=True, **extra))) == expected


def test_sampled_texts_depend_on_the_seed_alone() -> None:
    fields = {"temperature": 1.0, "seed": 7, "max_tokens": 20}
    with serving() as server:
        expected = [direct(temperature=1.0, seed=7 + choice, max_tokens=20) for choice in range(3)]
        choices = chat(server, n=3, **fields).json()["choices"]
        assert [choice["message"]["content"] for choice in choices] == expected
        assert [choice["index"] for choice in choices] == [0, 1, 2]
        pieces = chunks(chat(server, n=3, stream=True, **fields))
        assert [said(pieces, index) for index in range(3)] == expected


def test_the_form_of_a_whole_reply() -> None:
    with serving() as server:
        reply = chat(server).json()
        assert set(reply) == {"id", "object", "created", "model", "choices", "usage", "exsa"}
        assert reply["object"] == "chat.completion"
        assert reply["model"] == "scripted"
        usage = reply["usage"]
        assert usage["prompt_tokens"] == 3
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        assert {"acceptance", "rounds", "cached_tokens"} <= set(reply["exsa"])
        again = chat(server).json()
        assert again["id"] != reply["id"]
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == again["exsa"]["cached_tokens"] == 2


def test_the_form_of_a_stream() -> None:
    with serving() as server:
        response = chat(server, stream=True, n=2, stream_options={"include_usage": True})
        assert response.headers["content-type"].startswith("text/event-stream")
        pieces = chunks(response)
        assert {piece["object"] for piece in pieces} == {"chat.completion.chunk"}
        assert len({piece["id"] for piece in pieces}) == 1
        for index in (0, 1):
            own = [choice for piece in pieces for choice in piece["choices"] if choice["index"] == index]
            assert own[0]["delta"]["role"] == "assistant"
            assert [choice["finish_reason"] for choice in own][:-1] == [None] * (len(own) - 1)
            assert own[-1]["finish_reason"] in ("stop", "length")
            assert own[-1]["delta"] == {}
        *others, last = pieces
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] > 0
        assert all(piece["usage"] is None for piece in others)
        assert all("usage" not in piece for piece in chunks(chat(server, stream=True)))


def test_why_it_ended() -> None:
    with serving(written("hello")) as server:
        full = direct()
        assert full == "hello"
        assert chat(server, max_tokens=1).json()["choices"][0]["finish_reason"] == "length"
        stopped = chat(server, stop=[full[2]]).json()["choices"][0]
        assert stopped["finish_reason"] == "stop"
        assert stopped["message"]["content"] == full[:2]
        assert said(chunks(chat(server, stop=full[2], stream=True))) == full[:2]


def written(text: str, end: bool = True, step_s: float = 0.0) -> ScriptedModel:
    """A model that writes this text, byte by byte where it is none of its pieces."""
    pieces: list[bytes] = [bytes([byte]) for byte in sorted({*text.encode(), *b"abc"})] + [b"<end>"]
    ids = [pieces.index(bytes([byte])) for byte in text.encode()] + [len(pieces) - 1]

    def next_probs(tokens: tuple[int, ...]) -> NDArray[np.float64]:
        probs = np.full(len(pieces), 1e-9)
        probs[ids[min(len(tokens) - 3, len(ids) - 1)]] = 1.0
        return probs / probs.sum()

    template = "{% for message in messages %}{{ message.content }}{% endfor %}{# <think></think> #}"
    ends = [len(pieces) - 1] if end else []
    return ScriptedModel(pieces, next_probs, ends=ends, chat_template=template, step_s=step_s)


def test_streams_are_of_whole_characters() -> None:
    text = "aé€😀b"
    with serving(written(text, step_s=0.1)) as server:  # slower than what is sent together
        pieces = chunks(chat(server, stream=True, max_tokens=40))
        assert said(pieces) == text
        contents = [choice["delta"].get("content", "") for piece in pieces for choice in piece["choices"]]
        assert all(content in text for content in contents)
        assert len([content for content in contents if content]) > 1


def test_a_thought_stands_apart() -> None:
    with serving(written("<think>\nab a</think>\n\nb c")) as server:
        message = chat(server, max_tokens=60).json()["choices"][0]["message"]
        assert (message["reasoning_content"], message["content"]) == ("ab a", "b c")
        pieces = chunks(chat(server, stream=True, max_tokens=60))
        assert (said(pieces, field="reasoning_content"), said(pieces)) == ("ab a", "b c")
        cut = chat(server, max_tokens=10).json()["choices"][0]
        assert (cut["message"]["reasoning_content"], cut["message"]["content"]) == ("ab", "")
        assert isinstance(loading.get_engine().generations[-1].thinking, Thinking)


def test_a_form_is_kept() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["b"]}}, "required": ["a"], "additionalProperties": False}
    pieces = [bytes([byte]) for byte in range(127)] + [b"<end>"]
    target = ScriptedModel(pieces, lambda tokens: np.full(128, 1 / 128), ends=[127])
    with serving(target) as server:
        asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
        fields = {"response_format": asked, "max_tokens": 60, "temperature": 1.0, "seed": 1}
        assert json.loads(chat(server, **fields).json()["choices"][0]["message"]["content"]) == {"a": "b"}
        assert json.loads(said(chunks(chat(server, stream=True, **fields)))) == {"a": "b"}
        bad = chat(server, response_format={"type": "json_schema", "json_schema": {"schema": {"type": "no"}}})
        assert bad.status_code == 400


def test_the_vocabulary_of_these_tests_has_an_end() -> None:
    assert PIECES[END] == "<end>"
