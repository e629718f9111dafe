"""Events, and clients that vanish."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from exsa_lab.serve.body import ClientGone
from exsa_lab.serve.sending import DONE, Sender, while_there


async def test_events_are_sent_as_they_are_written_in_streams() -> None:
    sent: list[Any] = []

    async def take(message: Message) -> None:
        sent.append(message)

    sender = Sender(take)
    await sender.begin_events({"x-y": "z"})
    await sender.events([{"a": "é\n"}, {"b": 1}])
    await sender.events([])
    await sender.end_events(DONE)
    assert sender.status == 200
    assert (b"x-y", b"z") in sent[0]["headers"]
    bodies = [message["body"] for message in sent[1:]]
    assert bodies == ['data: {"a":"é\\n"}\n\ndata: {"b":1}\n\n'.encode(), DONE]
    assert [message["more_body"] for message in sent[1:]] == [True, False]


async def test_work_stops_when_the_client_goes() -> None:
    was_stopped = False

    async def work() -> None:
        nonlocal was_stopped
        try:
            await asyncio.Event().wait()
        finally:
            was_stopped = True

    async def receive() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        await while_there(receive, work())
    assert was_stopped


async def test_what_the_work_raises_is_raised() -> None:
    async def work() -> None:
        raise KeyError("x")

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(KeyError):
        await while_there(receive, work())
