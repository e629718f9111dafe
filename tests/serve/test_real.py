"""On the real pair: greedy texts over HTTP are those of cells, and a reload keeps the server."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from exsa_lab import loading
from exsa_lab.serve import serve, stop
from tests.gate import until
from tests.serve.parts import chat, chunks, client, is_idle

pytestmark = pytest.mark.real

QUESTIONS = ["Why is the sky blue?", "List three colours.", "What is 2 + 2?", "Écris un mot. 😀"]


def test_texts_are_those_of_cells_and_a_reload_keeps_the_server() -> None:
    engine = loading.load(n_ctx=2048, reproducible=True)
    server = serve()
    try:
        messages = [[{"role": "user", "content": question}] for question in QUESTIONS]
        expected = [engine.generate(message, max_tokens=24).text for message in messages]

        def ask(message: list[dict[str, str]]) -> list[str]:
            fields: dict[str, Any] = {"messages": message, "max_tokens": 24, "model": "smollm2-135m"}
            whole = chat(server, **fields).json()["choices"][0]["message"]["content"]
            pieces = chunks(chat(server, stream=True, **fields))
            told = "".join(piece["choices"][0]["delta"].get("content", "") for piece in pieces)
            return [whole, told]

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(ask, messages)) == [[text, text] for text in expected]
        until(lambda: is_idle(engine))
        assert _statuses_while_reloading(server) <= {200, 503}
        assert server.is_open
        again = loading.get_engine()
        assert again is not engine
        assert ask(messages[0])[0] == again.generate(messages[0], max_tokens=24).text
        loading.unload()
        assert not server.is_open
    finally:
        stop()
        loading.unload()


def _statuses_while_reloading(server: Any) -> set[int]:
    statuses: Counter[int] = Counter()
    is_over = threading.Event()

    def poll() -> None:
        with client(server) as http:
            while not is_over.wait(0.01):
                reply = http.get("/v1/models")
                statuses[reply.status_code] += 1
                assert reply.status_code == 200 or int(reply.headers["retry-after"]) > 0

    poller = threading.Thread(target=poll)
    poller.start()
    loading.load(n_ctx=1024, reproducible=True)
    is_over.set()
    poller.join()
    assert statuses[503] > 0
    return set(statuses)
