"""Bodies that are too large, too slow, or no JSON object."""

from __future__ import annotations

import contextlib
import json
import time

import pytest

from exsa_lab.serve import Limits
from exsa_lab.serve.api_errors import ApiError
from exsa_lab.serve.body import parse_object
from tests.serve.parts import CHAT, chat, client, connected, head, post, read_all, serving

SMALL = Limits(max_body_bytes=1000, body_seconds=1)


def test_a_large_body_is_refused_by_its_announcement() -> None:
    with serving(limits=SMALL) as server, connected(server) as opened:
        opened.sendall(head(server, "/v1/chat/completions", method="POST", Content_Type="application/json",
                            Content_Length="1001"))  # fmt: skip
        assert read_all(opened).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("length", ["99999999999999999999999999", "-1", "1e3", "0x10", "1001, 5"])
def test_announcements_that_are_none_are_refused(length: str) -> None:
    with serving(limits=SMALL) as server, connected(server) as opened:
        opened.sendall(head(server, "/v1/chat/completions", method="POST", Content_Type="application/json",
                            Content_Length=length))  # fmt: skip
        assert read_all(opened).split(b" ")[1] in (b"400", b"413")


def test_a_large_body_without_an_announcement_is_refused_too() -> None:
    with serving(limits=SMALL) as server, connected(server) as opened:
        opened.sendall(head(server, "/v1/chat/completions", method="POST", Content_Type="application/json",
                            Transfer_Encoding="chunked"))  # fmt: skip
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(300):
                opened.sendall(b"400\r\n" + b"x" * 0x400 + b"\r\n")
        assert read_all(opened).startswith(b"HTTP/1.1 413 ")


def test_a_length_and_chunks_at_once_do_not_smuggle_a_request() -> None:
    with serving(limits=SMALL) as server, connected(server) as opened:
        hidden = head(server, "/metrics")
        opened.sendall(head(server, "/v1/chat/completions", method="POST", Content_Type="application/json",
                            Content_Length="5", Transfer_Encoding="chunked", Connection="close")
                       + b"0\r\n\r\n" + hidden)  # fmt: skip
        reply = read_all(opened)
        assert reply.count(b"HTTP/1.1 ") == 1
        assert b"exsa_up" not in reply


def test_a_slow_body_is_not_waited_for() -> None:
    with serving(limits=SMALL) as server, connected(server) as opened:
        opened.sendall(post(server, b"x" * 900)[:-899])
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(100):
                opened.sendall(b"x")
                time.sleep(0.03)
        assert read_all(opened).startswith(b"HTTP/1.1 408 ")


def test_a_body_of_the_largest_size_is_taken() -> None:
    with serving(limits=SMALL) as server, client(server) as http:
        body = json.dumps(CHAT).ljust(1000).encode()
        reply = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
        assert reply.status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_of_a_page_could_send_is_refused(kind: str) -> None:
    with serving() as server, client(server) as http:
        headers = {"content-type": kind} if kind else {}
        reply = http.post("/v1/chat/completions", content=json.dumps(CHAT).encode(), headers=headers)
        assert reply.status_code == 415


def test_compressed_bodies_are_refused() -> None:
    with serving() as server, client(server) as http:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        assert http.post("/v1/chat/completions", content=b"\x1f\x8b", headers=headers).status_code == 415


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b"[]", b"null", b'"x"', b"3", b"\xff", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":Infinity}'),
        *(b'{"a":"\\ud800"}', b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"1" * 10_000 + b"}"),
    ],
    ids=range(14),
)
def test_what_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        parse_object(data)
    assert caught.value.status == 400


def test_whole_characters_may_be_written_as_escapes() -> None:
    assert parse_object(b'{"a":"\\ud83d\\ude00"}') == {"a": "\U0001f600"}


def test_a_defect_is_not_shown_to_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    from exsa_lab.serve import endpoint

    async def broken(*_: object) -> None:
        raise RuntimeError("a secret of the house")

    with serving() as server:
        monkeypatch.setattr(endpoint, "read_object", broken)
        reply = chat(server)
        assert reply.status_code == 500
        assert "secret" not in reply.text
        assert reply.json()["error"]["type"] == "server_error"
