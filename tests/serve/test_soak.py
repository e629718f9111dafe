"""Many clients that stream, some of which go away: nothing is lost, and everything is free in the end.

``EXSA_SOAK_S=60 pytest tests/serve/test_soak.py`` makes it last.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import threading
import time
from collections import Counter
from typing import Any

import httpx

from exsa_lab import loading
from exsa_lab.serve.server import Server
from tests.gate import until
from tests.serve.parts import PATIENCE_S, is_idle, model, serving

SECONDS = float(os.environ.get("EXSA_SOAK_S", "5"))
NUM_CLIENTS = 32
LEAST = 3
"""Requests of each client, however long they take."""
PROMPTS = ["abc", "hg fe", "a", "éa", "abc abc abc abc", "fed cab " * 4, "b" * 30, "gh gh"]
MAX_TOKENS = (1, 7, 40, 90)


class Visitor:
    """A client that asks again and again, and now and then goes before it was answered."""

    def __init__(self, number: int, server: Server, solo: dict[tuple[str, int], str], counts: Counter[str]) -> None:
        self._random = random.Random(number)
        self._server = server
        self._solo = solo
        self._counts = counts

    async def stay(self, until_s: float) -> None:
        headers = {"authorization": f"Bearer {self._server.api_key}"}
        async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_S, trust_env=False) as http:
            for number in itertools.count():
                if number >= LEAST and time.monotonic() >= until_s:
                    return
                key = self._random.choice(PROMPTS), self._random.choice(MAX_TOKENS)
                body = {"messages": [{"role": "user", "content": key[0]}], "max_tokens": key[1], "stream": True}
                patience = self._random.choice([None, None, None, 0, 1, 3])
                await self._ask(http, body, self._solo[key], patience)

    async def _ask(self, http: httpx.AsyncClient, body: dict[str, Any], expected: str, patience: int | None) -> None:
        text, is_whole = "", False
        async with http.stream("POST", f"{self._server.base_url}/chat/completions", json=body) as response:
            assert response.status_code == 200
            num_events = 0
            async for line in response.aiter_lines():
                if patience is not None and num_events >= patience:
                    break
                num_events += bool(line)
                if line == "data: [DONE]":
                    is_whole = True
                elif line:
                    text += json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content", "")
        self._counts["answered" if is_whole else "gone"] += 1
        assert text == expected if is_whole else expected.startswith(text)


def test_many_clients_come_and_go() -> None:
    threads = set(threading.enumerate())
    with serving(model(3, step_s=0.001), n_ctx=768, n_seq_max=8) as server:
        engine = loading.get_engine()
        solo = {
            (prompt, most): engine.generate([{"role": "user", "content": prompt}], max_tokens=most, draft_length=0).text
            for prompt in PROMPTS
            for most in MAX_TOKENS
        }
        counts: Counter[str] = Counter()

        async def visit() -> None:
            end = time.monotonic() + SECONDS
            visitors = [Visitor(number, server, solo, counts) for number in range(NUM_CLIENTS)]
            await asyncio.gather(*(visitor.stay(end) for visitor in visitors))

        asyncio.run(visit())
        until(lambda: is_idle(engine) and not server._uvicorn.server_state.connections)
        until(lambda: server._desk.gate.num_inside == 0 and not server._desk._open)
        assert counts.total() >= NUM_CLIENTS * LEAST
        assert counts["answered"] > NUM_CLIENTS / 2
        assert counts["gone"] > NUM_CLIENTS / 2
        assert not [gen.error for gen in engine.generations if gen.error]
        assert not engine.notes
    until(lambda: not set(threading.enumerate()) - threads)
    print(dict(counts))
