"""Sending to a client: events as they come, and noticing that it is gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from starlette.types import Message, Receive, Send

from exsa_lab.serve.body import ClientGone

DONE = b"data: [DONE]\n\n"
_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class Sender:
    """Sends, and knows whether the reply began."""

    def __init__(self, send: Send) -> None:
        self.status: int | None = None
        self._send = send

    async def __call__(self, message: Message) -> None:
        """Send one message of ASGI."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    async def begin_events(self, headers: Mapping[str, str]) -> None:
        """Begin a stream of server-sent events."""
        own = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store", **headers}
        raw = [(name.encode(), value.encode("latin-1")) for name, value in own.items()]
        await self({"type": "http.response.start", "status": 200, "headers": raw})

    async def events(self, items: Iterable[Any]) -> None:
        """Send these as one piece, each as an event of its own."""
        if text := b"".join(map(_event, items)):
            await self({"type": "http.response.body", "body": text, "more_body": True})

    async def end_events(self, last: bytes = b"") -> None:
        await self({"type": "http.response.body", "body": last, "more_body": False})


def _event(item: Any) -> bytes:
    return b"data: %b\n\n" % _to_json(item).encode("utf-8", "replace")


async def while_there(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; where the client closes its connection before it is done, stop it and raise ClientGone."""
    job, gone = asyncio.create_task(work), asyncio.create_task(_until_gone(receive))
    try:
        await asyncio.wait({job, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise ClientGone
        job.result()
    finally:
        for task in (job, gone):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
