"""Connections that are slow, too many, too large, or full of requests."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from dataclasses import replace

import pytest

from exsa_lab import loading
from exsa_lab.serve import Limits
from exsa_lab.serve.connection import protocol_of
from tests.gate import until
from tests.serve.parts import CHAT, chat, client, connected, endless, head, is_idle, model, post, read_all, serving

HASTY = Limits(header_seconds=1, body_seconds=1, idle_seconds=2)
"""Short, and yet longer than a busy machine keeps a test from its next line."""


def test_each_server_has_limits_of_its_own() -> None:
    first, second = protocol_of(HASTY), protocol_of(Limits())
    assert first is not second


def test_a_connection_that_says_nothing_is_closed() -> None:
    with serving(limits=HASTY) as server, connected(server) as opened:
        assert read_all(opened) == b""


def test_a_head_that_comes_byte_by_byte_is_not_waited_for() -> None:
    with serving(limits=HASTY) as server, connected(server) as opened:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for byte in head(server):
                opened.sendall(bytes([byte]))
                time.sleep(0.03)
            pytest.fail("all of it was taken")  # some 130 bytes take more than three seconds
        assert read_all(opened) == b""


def test_nor_is_that_of_a_second_request() -> None:
    with serving(limits=HASTY) as server, connected(server) as opened:
        opened.sendall(head(server) + b"GET /v1/mod")
        assert read_all(opened).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_long_reply_is_not_taken_for_a_slow_head() -> None:
    with serving(endless(step_s=0.05), limits=replace(HASTY, idle_seconds=10)) as server:
        reply = chat(server, max_tokens=40, exsa={"draft_length": 0}).json()  # 2 s
        assert reply["usage"]["completion_tokens"] == 40


@pytest.mark.parametrize("size", [20_000, 1_000_000])
def test_a_head_that_is_too_large_is_refused(size: int) -> None:
    with serving() as server, connected(server) as opened:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            opened.sendall(head(server, X_Long="x" * size))
        assert read_all(opened).split(b" ")[1:2] in ([b"431"], [b"400"], [])


@pytest.mark.parametrize(
    "junk",
    [b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.7\r\n\r\n", b"\r\n" * 99],
)
def test_junk_is_refused_and_nothing_is_said_of_it_here(junk: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with serving(limits=HASTY) as server:
        with connected(server) as opened:
            opened.sendall(junk)
            assert read_all(opened).split(b" ")[1:2] in ([b"400"], [b"403"], [])
        assert chat(server).status_code == 200
    assert capfd.readouterr().err == ""


def test_too_many_connections_are_told_so() -> None:
    with serving(limits=Limits(max_connections=3)) as server, contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connected(server))
        until(lambda: len(server._uvicorn.server_state.connections) == 3)
        with connected(server) as opened:
            reply = read_all(opened)
        assert reply.startswith(b"HTTP/1.1 429 ")
        assert b"retry-after: 1\r\n" in reply
        stack.close()
        until(lambda: not server._uvicorn.server_state.connections)
        assert chat(server).status_code == 200


def test_ten_thousand_pipelined_requests_are_answered_in_turn_or_cut_off() -> None:
    """They are taken one at a time: what is sent ahead waits in the client's own buffers, not here."""
    with serving() as server, connected(server) as opened:
        requests = head(server, "/health") * 9_999 + head(server, "/health", Connection="close")
        sender = threading.Thread(target=opened.sendall, args=(requests,))
        sender.start()
        replies = read_all(opened)
        sender.join()
        assert replies.count(b"HTTP/1.1 200 OK") == 10_000
        assert chat(server).status_code == 200


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    with serving(limits=replace(HASTY, write_seconds=0.3, idle_seconds=30)) as server, connected(server) as opened:
        opened.setblocking(False)
        asked = head(server, "/metrics") * 100
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            until(lambda: _send_some(opened, asked))
        until(lambda: not server._uvicorn.server_state.connections)
        assert chat(server).status_code == 200


def _send_some(opened: socket.socket, data: bytes) -> bool:
    with contextlib.suppress(BlockingIOError):
        opened.send(data)
    return False


def test_a_stream_that_nobody_takes_is_cancelled() -> None:
    with serving(endless(), limits=Limits(write_seconds=0.3), n_ctx=1 << 16) as server:
        engine = loading.get_engine()
        with socket.socket() as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            opened.connect(("127.0.0.1", server.port))
            body = {**CHAT, "max_tokens": 60_000, "stream": True, "logprobs": True, "top_logprobs": 8, "n": 8}
            opened.sendall(post(server, json.dumps(body).encode()))
            until(lambda: engine.generations and is_idle(engine))
            assert {gen.state for gen in engine.generations} == {"cancelled"}


def test_pipelined_completions_run_one_after_another() -> None:
    with serving(model(step_s=0.02)) as server:  # which needs ten seconds for all of them
        engine = loading.get_engine()
        with connected(server) as opened:
            opened.sendall(post(server, json.dumps(CHAT).encode()) * 50)
            while opened.recv(1 << 16).count(b"HTTP/1.1 200 OK") == 0:
                pass
            assert len(engine.active) <= 1
        until(lambda: is_idle(engine))
        assert len(engine.generations) < 50  # who went away wants no more of them
        with client(server) as http:
            assert http.get("/health").status_code == 200


def test_connections_reset_at_any_place_leave_nothing() -> None:
    random_source = random.Random(0)
    with serving() as server:
        engine = loading.get_engine()
        request = post(server, json.dumps({**CHAT, "stream": True}).encode())
        for _ in range(60):
            with connected(server) as opened:
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset, not an end
                opened.sendall(request[: random_source.randrange(len(request) + 1)])
        until(lambda: not server._uvicorn.server_state.connections and is_idle(engine))
        assert chat(server).status_code == 200
