"""Who may not ask: without the key, by another name, from a web page, or for what is not there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import exsa_lab.serve.guard
from exsa_lab import loading
from exsa_lab.serve.guard import is_loopback
from exsa_lab.serve.server import Server
from tests.serve.parts import CHAT, client, connected, head, read_all, serving

PROTECTED = [("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("GET", "/v1/models"), ("GET", "/metrics")]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as opened:
        yield opened


@pytest.mark.parametrize(("method", "path"), PROTECTED)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": "Basic {key}"},
        {"authorization": "{key}"},
        {"authorization": "Bearer {key}x"},
        {"authorization": "Bearer {short}"},
        {"x-api-key": "{key}"},
        {"cookie": "authorization=Bearer {key}"},
    ],
)
def test_nothing_but_the_key_opens(server: Server, method: str, path: str, headers: dict[str, str]) -> None:
    key = server.api_key
    given = {name: value.format(key=key, short=key[:-1]) for name, value in headers.items()}
    reply = httpx.request(method, server.url + path, headers=given, json=CHAT, trust_env=False)
    assert reply.status_code == 401
    assert reply.json()["error"]["code"] == "invalid_api_key"
    assert reply.headers["www-authenticate"] == "Bearer"
    assert key not in reply.text
    in_url = httpx.request(method, f"{server.url}{path}?api_key={key}&key={key}", json=CHAT, trust_env=False)
    assert in_url.status_code == 401


def test_two_keys_are_none(server: Server) -> None:
    with connected(server) as opened:
        opened.sendall(head(server).replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer x\r\n\r\n"))
        assert read_all(opened).startswith(b"HTTP/1.1 401 ")


def test_keys_are_compared_in_constant_time() -> None:
    """By hmac.compare_digest, of digests of one length: no test asserts a time."""
    tree = ast.parse(Path(exsa_lab.serve.guard.__file__).read_text(encoding="utf-8"))
    uses = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "_key"]
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert len(uses) == 2  # kept, and compared
    assert "hmac.compare_digest(_digest(key.strip()), self._key)" in calls


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example@127.0.0.1",
        "10.0.0.1",
        "[2001:db8::1]",
        "",
        " ",
        "localhost.",
        "127.0.0.1:port",
        "127.0.0.1,evil.example",
    ],
)
def test_other_names_of_the_machine_are_refused(server: Server, host: str) -> None:
    """A web page can have its own name lead to this machine, and its browser then sends that name."""
    with connected(server) as opened:
        opened.sendall(head(server, Host=host or " "))
        assert read_all(opened).split(b"\r\n")[0] in (b"HTTP/1.1 403 Forbidden", b"HTTP/1.1 400 Bad Request")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:8000", "127.9.9.9:1"])
def test_its_own_names_are_known_whatever_the_port(server: Server, host: str) -> None:
    """Behind a tunnel the port is another one."""
    with client(server, host=host) as http:
        assert http.get("/v1/models").status_code == 200


def test_no_host_and_two_hosts_are_refused(server: Server) -> None:
    for request in (
        head(server, Host=""),
        head(server).replace(b"\r\n\r\n", b"\r\nHost: evil.example\r\n\r\n"),
        head(server, Host="").replace(b"HTTP/1.1", b"HTTP/1.0"),
    ):
        with connected(server) as opened:
            opened.sendall(request)
            assert read_all(opened).split(b" ")[1] in (b"400", b"403")


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:8888", "http://127.0.0.1", "file://"]
)
@pytest.mark.parametrize(("method", "path"), [*PROTECTED, ("GET", "/health"), ("OPTIONS", "/v1/chat/completions")])
def test_no_web_page_reaches_it(server: Server, origin: str, method: str, path: str) -> None:
    with client(server, origin=origin) as http:
        reply = http.request(method, path, json=CHAT)
        assert reply.status_code == 403
        assert not [name for name in reply.headers if name.startswith("access-control-")]


def test_a_page_that_sends_no_origin_is_known_by_its_fetch_metadata(server: Server) -> None:
    for site in ("cross-site", "same-site", "same-origin"):
        with client(server, **{"sec-fetch-site": site}) as http:
            assert http.get("/health").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/",
            "//",
            "/v1",
            "/v1/",
            "/docs",
            "/openapi.json",
            "/favicon.ico",
            "/static/x",
            "/v1/models/",
            "//v1/models",
        ),
        *(
            "/v1//models",
            "/v1/../metrics",
            "/v1/./models",
            "/v1/%6dodels",
            "/v1%2fmodels",
            "/%2e%2e/metrics",
            "/v1/models%00",
        ),
        *("/V1/models", "/v1/models;x", "/v1/models/scripted", "/health/../metrics", "http://127.0.0.1/v1/models", "*"),
        *("/v1/embeddings", "/v1/files", "/v1/responses", "/v1/models#x", "/..;/metrics", "\\v1\\models"),
    ],
)
def test_nothing_but_the_routes_answers(server: Server, path: str) -> None:
    with connected(server) as opened:
        opened.sendall(head(server, path, Connection="close"))
        assert read_all(opened).split(b" ")[1] in (b"404", b"400")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((method, "/v1/models") for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "X")),
        *((method, "/v1/chat/completions") for method in ("GET", "HEAD", "PUT", "OPTIONS")),
        *((method, "/health") for method in ("POST", "HEAD")),
    ],
)
def test_each_route_has_one_method(server: Server, method: str, path: str) -> None:
    with connected(server) as opened:
        opened.sendall(head(server, path, method=method, Connection="close"))
        assert read_all(opened).split(b" ")[1] in (b"405", b"400")


def test_websockets_are_none_of_it(server: Server) -> None:
    with connected(server) as opened:
        wanted = {
            "Upgrade": "websocket",
            "Sec_WebSocket_Version": "13",
            "Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        }
        opened.sendall(head(server, "/v1/chat/completions", Connection="Upgrade", **wanted))
        assert read_all(opened).split(b" ")[1] in (b"405", b"400", b"404")


def test_what_a_proxy_claims_is_not_believed(server: Server) -> None:
    claims = {"x-forwarded-for": "1.2.3.4", "x-forwarded-host": "evil.example", "forwarded": "host=evil.example"}
    with client(server, **claims) as http:
        assert http.get("/v1/models").status_code == 200
    with client(server, **claims) as http:
        http.post("/v1/chat/completions", json=CHAT)
    assert loading.get_engine().generations[-1].origin.startswith("http 127.0.0.1 req ")


def test_loopback_is_known() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "::1", "127.1.2.3")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.7", "example.org", "")))
