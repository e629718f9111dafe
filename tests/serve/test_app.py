"""The routes."""

from __future__ import annotations

from exsa_lab.serve.app import OPEN_PATHS, ROUTES
from tests.serve.parts import client, serving


def test_these_are_all() -> None:
    assert ROUTES == {
        "/v1/chat/completions": "POST",
        "/v1/completions": "POST",
        "/v1/models": "GET",
        "/health": "GET",
        "/metrics": "GET",
    }
    assert OPEN_PATHS == ("/health",)


def test_what_is_asked_for_by_get() -> None:
    with serving() as server, client(server) as http:
        models = http.get("/v1/models").json()
        assert [model["id"] for model in models["data"]] == ["scripted"]
        assert models["object"] == "list"
        assert http.get("/health").json() == {"status": "ok"}
        assert "server" not in http.get("/health").headers
        del http.headers["authorization"]
        assert http.get("/health").json() == {"status": "ok"}
