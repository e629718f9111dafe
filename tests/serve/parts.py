"""A server on a scripted model, and clients for it: httpx, and a bare socket for what no client would send."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from exsa_lab import loading
from exsa_lab.engine.engine import Engine
from exsa_lab.serve import Limits, serve, stop
from exsa_lab.serve.server import Server
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

PIECES = [*"abcdefgh", " ", "é", b"\xf0\x9f", b"\x98\x80", "<end>"]
END = len(PIECES) - 1
PATIENCE_S = 30.0
"""How long to wait for what must happen; never an assertion about speed."""
CHAT = {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 12}


def model(seed: int = 1, **options: Any) -> ScriptedModel:
    return ScriptedModel(PIECES, markov(len(PIECES), seed), ends=[END], **options)


def endless(**options: Any) -> ScriptedModel:
    """A model that goes on until it is stopped."""

    def next_probs(tokens: tuple[int, ...]) -> NDArray[np.float64]:
        probs = np.zeros(len(PIECES))
        probs[tokens[-1] % 8] = 0.9
        probs[(tokens[-1] + 1) % 8] += 0.1
        return probs

    return ScriptedModel(PIECES, next_probs, ends=[END], **options)


@contextmanager
def serving(target: ScriptedModel | None = None, *, limits: Limits | None = None, **config: Any) -> Iterator[Server]:
    """A server on an engine of the scripted model; both are gone afterwards."""
    loading.use(scripted_engine(target or model(), **config))
    try:
        yield serve(limits=limits)
    finally:
        stop()
        loading.unload()


def client(server: Server, **headers: str) -> httpx.Client:
    """A client that has the key."""
    given = {"authorization": f"Bearer {server.api_key}", **headers}
    return httpx.Client(base_url=server.url, headers=given, timeout=PATIENCE_S, trust_env=False)


def chat(server: Server, **fields: Any) -> httpx.Response:
    with client(server) as http:
        return http.post("/v1/chat/completions", json={**CHAT, **fields})


def completion(server: Server, **fields: Any) -> httpx.Response:
    with client(server) as http:
        return http.post("/v1/completions", json={"prompt": "abc", "max_tokens": 12, **fields})


def chunks(response: httpx.Response) -> list[dict[str, Any]]:
    """The pieces of a streamed reply, which must end as one does."""
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as opened:
        yield opened


def head(server: Server, path: str = "/v1/models", *, method: str = "GET", **headers: str) -> bytes:
    """The bytes of a request's head, with the key; headers given replace those of an ordinary one."""
    given = {"Host": f"127.0.0.1:{server.port}", "Authorization": f"Bearer {server.api_key}"}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(server: Server, body: bytes, path: str = "/v1/chat/completions") -> bytes:
    """The bytes of a whole request."""
    return head(server, path, method="POST", Content_Type="application/json", Content_Length=str(len(body))) + body


def read_all(opened: socket.socket) -> bytes:
    """Everything until the server closes."""
    found = b""
    try:
        while part := opened.recv(1 << 16):
            found += part
    except ConnectionResetError:
        pass
    return found


def is_idle(engine: Engine) -> bool:
    """Whether nothing waits or runs, and all slots and cells but those for reuse are free."""
    status = engine.status()
    return not engine.active and not status.slots_used and status.cells_used == status.cells_cached
