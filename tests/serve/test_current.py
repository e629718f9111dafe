"""One server for a kernel: found again, replaced, closed with the engine, and refused with what is wrong."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

import exsa_lab as xl
from exsa_lab import loading
from exsa_lab.errors import ConfigError, EngineNotLoaded, ExsaError
from exsa_lab.serve import Limits, current, serve, stop
from exsa_lab.testing import scripted_engine
from tests.serve.parts import chat, client, model, serving


def test_the_same_arguments_find_the_same_server() -> None:
    with serving() as server:
        assert xl.serve() is server
        assert current() is server
        other = serve(api_key="another")
        assert other is not server
        assert not server.is_open
        assert other.api_key == "another"
        assert chat(other).status_code == 200


def test_unloading_closes_it_and_another_engine_does_not() -> None:
    with serving() as server:
        loading.use(scripted_engine(model(2)))
        assert server.is_open
        loading.unload()
        assert not server.is_open
        assert current() is None
        assert not stop()


def test_without_an_engine_there_is_nothing_to_serve() -> None:
    loading.unload()
    with pytest.raises(EngineNotLoaded):
        serve()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"port": -1}, "port"),
        ({"port": "x"}, "port"),
        ({"host": ""}, "host"),
        ({"host": "no.such.host.invalid"}, "no address"),
        ({"api_key": ""}, "api_key"),
        ({"api_key": "a key"}, "api_key"),
        ({"api_key": "ключ"}, "api_key"),
        ({"limits": 3}, "limits"),
        ({"allowed_hosts": "name"}, "allowed_hosts"),
        ({"allowed_hosts": [3]}, "allowed_hosts"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], words: str) -> None:
    with serving() as server:
        with pytest.raises(ConfigError, match=words):
            serve(**arguments)
        assert server.is_open or arguments.get("host") == "no.such.host.invalid"


def test_other_machines_get_a_warning_first() -> None:
    with serving(), pytest.warns(UserWarning, match="open to other machines"):
        server = serve(host="0.0.0.0", limits=Limits(max_requests=3))
    assert server.api_key not in repr(server)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ExsaError, match=r"starlette is not installed\. Run `pip install starlette uvicorn prometheus-client`"
    ):
        serve()


def test_names_that_were_given_are_known_too() -> None:
    with serving():
        server = serve(allowed_hosts=["lab.example"])
        with client(server, host="lab.example:80") as http:
            assert http.get("/v1/models").status_code == 200
        with client(server, host="evil.example") as http:
            assert http.get("/v1/models").status_code == 403


def test_open_to_others_it_goes_by_any_number_but_no_foreign_name() -> None:
    with serving():
        with pytest.warns(UserWarning, match="open to other machines"):
            server = serve(host="0.0.0.0")
        for host, status in (("192.168.1.7:8000", 200), ("evil.example", 403)):
            with client(server, host=host) as http:
                assert http.get("/v1/models").status_code == status
