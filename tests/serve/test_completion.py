"""Completions, whole and streamed."""

from __future__ import annotations

from typing import Any

from exsa_lab import loading
from exsa_lab.config import EngineConfig
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.worker.isolated import IsolatedWorker
from tests.engine.worker import child_models
from tests.serve.parts import PIECES, chunks, completion, serving


def direct(prompt: str = "abc", **params: Any) -> str:
    return loading.get_engine().generate(prompt, chat=False, **{"max_tokens": 12, **params}).text


def texts(pieces: list[dict[str, Any]], number: int) -> list[str]:
    choices = [choice for piece in pieces for choice in piece["choices"]]
    return ["".join(choice["text"] for choice in choices if choice["index"] == index) for index in range(number)]


def test_texts_are_those_of_direct_calls() -> None:
    with serving() as server:
        expected = [direct(prompt) for prompt in ("abc", "abc", "hg", "hg")]
        reply = completion(server, prompt=["abc", "hg"], n=2).json()
        assert [choice["text"] for choice in reply["choices"]] == expected
        assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2, 3]
        assert reply["usage"]["prompt_tokens"] == 5
        assert texts(chunks(completion(server, prompt=["abc", "hg"], n=2, stream=True)), 4) == expected


def test_the_prompt_is_echoed_where_asked_for() -> None:
    with serving() as server:
        expected = "abc" + direct()
        assert completion(server, echo=True).json()["choices"][0]["text"] == expected
        assert texts(chunks(completion(server, echo=True, stream=True)), 1) == [expected]


TOKENS = [PIECES.index(letter) for letter in "abc"]


def test_a_prompt_may_be_tokens() -> None:
    with serving() as server:
        expected = [direct(prompt) for prompt in ("abc", "a")]
        one = completion(server, prompt=TOKENS, echo=True).json()
        assert [choice["text"] for choice in one["choices"]] == ["abc" + expected[0]]
        assert one["usage"]["prompt_tokens"] == 3
        several = completion(server, prompt=[TOKENS, TOKENS[:1]]).json()
        assert [choice["text"] for choice in several["choices"]] == expected
        assert texts(chunks(completion(server, prompt=[TOKENS, TOKENS[:1]], stream=True)), 2) == expected
        refused = completion(server, prompt=[[0], [len(PIECES)]])
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt")


def test_so_it_may_be_for_an_isolated_engine() -> None:
    config = EngineConfig(n_ctx=512, n_seq_max=4)
    with serving() as server:
        loading.use(Engine.on(IsolatedWorker(child_models.Opener(), config), config))
        tokens = loading.get_engine().target.tokenize("abc", add_special=False, parse_special=False)
        reply = completion(server, prompt=tokens, echo=True).json()
        assert reply["choices"][0]["text"] == "abc" + direct("abc")


def test_the_form_of_its_pieces() -> None:
    with serving() as server:
        pieces = chunks(completion(server, stream=True, stream_options={"include_usage": True}))
        assert {piece["object"] for piece in pieces} == {"text_completion"}
        assert pieces[-1]["usage"]["prompt_tokens"] == 3
        assert [piece["choices"][0]["finish_reason"] for piece in pieces[:-1]][-1] in ("stop", "length")


def test_text_offsets_go_on_over_pieces() -> None:
    with serving() as server:
        whole = completion(server, logprobs=0).json()["choices"][0]["logprobs"]
        pieces = chunks(completion(server, logprobs=0, stream=True))
        told = [choice["logprobs"] for piece in pieces for choice in piece["choices"] if choice["logprobs"]]
        assert [at for logprobs in told for at in logprobs["text_offset"]] == whole["text_offset"]
        assert [token for logprobs in told for token in logprobs["tokens"]] == whole["tokens"]
