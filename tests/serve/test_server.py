"""The server itself: it opens, is shown, answers while an engine is there, and closes."""

from __future__ import annotations

import json
import logging
import os
import sys

import httpx
import pytest

from exsa_lab import loading
from exsa_lab.errors import ConfigError
from exsa_lab.serve.server import Server
from exsa_lab.testing import scripted_engine
from tests.gate import until
from tests.serve.parts import CHAT, chat, client, endless, model, serving


def test_a_client_gets_what_a_direct_call_gets() -> None:
    with serving() as server:
        said = chat(server).json()["choices"][0]["message"]["content"]
        assert said == loading.get_engine().generate([{"role": "user", "content": "abc"}], max_tokens=12).text
        assert said


def test_the_key_is_shown_once_and_only_there(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving() as server:
        assert server.api_key not in repr(server)
        first, second = server._repr_mimebundle_(), server._repr_mimebundle_()
        assert server.api_key in first["text/plain"]
        assert server.api_key in first["text/html"]
        assert server.base_url in first["text/plain"]
        assert server.api_key not in json.dumps(second)
        assert server.api_key not in repr(server)
        chat(server)
        httpx.get(f"{server.base_url}/models", headers={"authorization": "Bearer wrong"})
        key = server.api_key
    assert key not in caplog.text


def test_the_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        exec(server.snippet().replace("Why is the sky blue?", "abc"), {})
    assert capsys.readouterr().out.strip()


def test_closing_is_idempotent_and_final() -> None:
    with serving() as server:
        assert server.is_open
        server.close()
        server.close()
        assert not server.is_open
        assert "closed" in repr(server)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{server.url}/health")


def test_closing_ends_what_its_clients_asked_for() -> None:
    with serving(endless(step_s=0.005), n_ctx=1 << 16) as server:
        engine = loading.get_engine()
        with client(server) as http, http.stream("POST", "/v1/chat/completions", json=CHAT | {
            "max_tokens": 60_000, "stream": True
        }) as response:  # fmt: skip
            lines = response.iter_lines()
            assert next(lines).startswith("data: ")
            server.close()
            assert any('"code":"cancelled"' in line for line in lines)
        until(lambda: not engine.active)


def test_a_port_in_use_is_said_at_once() -> None:
    with serving() as server, pytest.raises(ConfigError, match="cannot be listened on"):
        Server(port=server.port, host="127.0.0.1", api_key="k", limits=server.limits, allowed_hosts=())


def test_it_answers_for_the_engine_that_is_there() -> None:
    with serving() as server:
        loading.use(scripted_engine(model(2, name="another")))
        with client(server) as http:
            assert http.get("/v1/models").json()["data"][0]["id"] == "another"
            loading.get_engine().close()
            for reply in (http.get("/v1/models"), http.get("/health"), chat(server)):
                assert reply.status_code == 503
                assert int(reply.headers["retry-after"]) > 0
            loading.use(scripted_engine(model()))
            assert http.get("/health").json() == {"status": "ok"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_lets_go_of_it() -> None:
    with serving() as server:
        child = os.fork()
        if child == 0:
            os._exit(0 if not server.is_open and server._socket.fileno() == -1 else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert server.is_open
        assert chat(server).status_code == 200
    assert sys.platform != "win32"
