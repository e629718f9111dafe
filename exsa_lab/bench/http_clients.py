"""Clients of an OpenAI-compatible server, in a process of their own, as real ones are: they share no lock with it.

Run as a module it reads one job a line and answers with one line each: ``python -m exsa_lab.bench.http_clients``.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of requests that were sent at once."""

    seconds: float
    """From the first request to the end of the last reply."""
    first_s: list[float]
    """Of each, from its request to the first piece of its text."""
    num_tokens: list[int]
    prompt_tokens: list[int]
    texts: list[str] = field(default_factory=list)


class Clients:
    """A process with so many clients. Each request has a connection of its own, which is open before its time counts.

    Example::

        with Clients(16) as clients:
            clients.ask(server.base_url, server.api_key, ["Hi"], max_tokens=8).seconds
    """

    def __init__(self, number: int) -> None:
        command = [sys.executable, "-m", "exsa_lab.bench.http_clients", str(number)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, base_url: str, key: str, prompts: list[str], *, streams: bool = True, **params: Any) -> Answered:
        """Send a chat completion for each prompt at once and wait for all; raises RuntimeError for a refusal."""
        job = {"url": base_url, "key": key, "prompts": prompts, "streams": streams, "params": params}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "the clients are gone"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return Answered(**answer)

    def close(self) -> None:
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ask_one(job: dict[str, Any], prompt: str) -> tuple[float, int, int, str]:
    """Return (seconds until text came, its tokens, those of the prompt, the text)."""
    parts = urlsplit(job["url"])
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=PATIENCE_S)
    connection.connect()
    body: dict[str, Any] = {"messages": [{"role": "user", "content": prompt}], "temperature": 0, **job["params"]}
    if job["streams"]:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {job['key']}"}
    with contextlib.closing(connection):
        begin = time.perf_counter()
        connection.request("POST", f"{parts.path}/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(response.read().decode("utf-8", "replace"))
        if not job["streams"]:
            reply = json.loads(response.read())
            usage, text = reply["usage"], reply["choices"][0]["message"]["content"]
            return time.perf_counter() - begin, usage["completion_tokens"], usage["prompt_tokens"], text
        return _read_events(response, begin)


def _read_events(response: http.client.HTTPResponse, begin: float) -> tuple[float, int, int, str]:
    first, usage, pieces = 0.0, {"completion_tokens": 0, "prompt_tokens": 0}, []
    while line := response.readline():
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        for choice in event.get("choices", ()):
            if text := choice["delta"].get("content"):
                first = first or time.perf_counter() - begin
                pieces.append(text)
    return first, usage["completion_tokens"], usage["prompt_tokens"], "".join(pieces)


def _ask_all(job: dict[str, Any], pool: ThreadPoolExecutor) -> dict[str, Any]:
    try:
        begin = time.perf_counter()
        replies = list(pool.map(lambda prompt: _ask_one(job, prompt), job["prompts"]))
        seconds = time.perf_counter() - begin
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    first, tokens, prompt_tokens, texts = (list(column) for column in zip(*replies, strict=True))
    return asdict(Answered(seconds, first, tokens, prompt_tokens, texts))


def main(number: int) -> None:
    with ThreadPoolExecutor(number) as pool:
        for line in sys.stdin:
            print(json.dumps(_ask_all(json.loads(line), pool)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
