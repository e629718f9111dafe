"""From a request to a reply: which model, what is ignored, what the engine refuses."""

from __future__ import annotations

import threading

import pytest

from exsa_lab import loading
from exsa_lab.config import EngineConfig
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.worker.isolated import IsolatedWorker
from tests.engine.worker import child_models
from tests.gate import until
from tests.serve.parts import chat, chunks, client, completion, endless, serving


def test_the_model_goes_by_its_name_and_others_are_not_here() -> None:
    with serving() as server:
        assert chat(server, model="scripted").status_code == 200
        assert chat(server).status_code == 200
        refused = chat(server, model="gpt-4o")
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "model_not_found"
        assert "It is scripted." in refused.json()["error"]["message"]


def test_what_was_ignored_is_said_in_a_header() -> None:
    with serving() as server:
        assert "x-exsa-warning" not in chat(server).headers
        for streams in (True, False):
            reply = chat(server, **{"stream": streams, "store": True, "ключ\r\nSet-Cookie: x": 1})
            assert reply.status_code == 200
            assert reply.headers["x-exsa-warning"] == r"ignored: store, ????\r\nSet-Cookie: x"
            assert "set-cookie" not in reply.headers


@pytest.mark.parametrize("streams", [True, False])
def test_what_only_the_engine_can_see_is_a_bad_value_too(streams: bool) -> None:
    with serving(n_ctx=64) as server:
        for reply in (
            chat(server, messages=[{"role": "user", "content": "abc" * 100}], stream=streams),
            completion(server, prompt="abc" * 100, stream=streams),
        ):
            assert reply.status_code == 400
            assert reply.json()["error"]["code"] == "context_length_exceeded"
        assert chat(server, logit_bias={"999": 1}, stream=streams).status_code == 400
        assert chat(server, stream=streams).status_code == 200


@pytest.mark.parametrize("streams", [True, False])
def test_a_generation_that_is_cancelled_in_the_notebook_is_said_to_be(streams: bool) -> None:
    with serving(endless(step_s=0.002), n_ctx=1 << 16) as server:
        engine = loading.get_engine()

        def cancel() -> None:
            until(lambda: engine.active and engine.active[0].tokens)
            engine.active[0].cancel("%exsa_cancel")

        canceller = threading.Thread(target=cancel)
        canceller.start()
        reply = chat(server, max_tokens=60_000, stream=streams)
        canceller.join()
        if streams:
            assert reply.text.rstrip().endswith('"code":"cancelled"}}')
            assert "[DONE]" not in reply.text
        else:
            assert reply.status_code == 503
            assert "%exsa_cancel" in reply.json()["error"]["message"]


def test_a_reload_meanwhile_is_said_and_the_server_goes_on() -> None:
    with serving(endless(step_s=0.002), n_ctx=1 << 16) as server:
        engine = loading.get_engine()
        replies = []
        asker = threading.Thread(target=lambda: replies.append(chat(server, max_tokens=60_000)))
        asker.start()
        until(lambda: engine.active and engine.active[0].tokens)
        engine.close()
        asker.join()
        assert replies[0].status_code == 503
        assert "retry-after" in replies[0].headers


def test_while_one_is_loaded_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server:
        loading.get_engine().close()
        monkeypatch.setattr(loading, "_is_loading", True)
        refused = chat(server)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "loading")
        with client(server) as http:
            assert http.get("/health").json() == {"status": "loading"}
        monkeypatch.undo()


def test_an_isolated_engine_is_served_too() -> None:
    config = EngineConfig(n_ctx=512, n_seq_max=4)
    with serving() as server:
        loading.use(Engine.on(IsolatedWorker(child_models.Opener(), config), config))
        expected = loading.get_engine().generate("abc", max_tokens=6).text
        body = {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 6}
        assert chat(server, **body).json()["choices"][0]["message"]["content"] == expected
        told = [choice["delta"] for piece in chunks(chat(server, stream=True, **body)) for choice in piece["choices"]]
        assert "".join(delta.get("content", "") for delta in told) == expected
