"""A connection as uvicorn has it, but bounded in number and in the time that a request's head takes, and no log."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from exsa_lab.serve.api_errors import RETRY_SECONDS
from exsa_lab.serve.limits import Limits

_silent = logging.getLogger("exsa_lab.serve.connections")
_silent.propagate = False
_silent.addHandler(logging.NullHandler())

_BODY = b'{"error":{"message":"Too many connections.","type":"rate_limit_error","param":null,"code":"too_many"}}'
_FULL = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nconnection: close\r\n"
    b"retry-after: %d\r\ncontent-length: %d\r\n\r\n%b" % (RETRY_SECONDS, len(_BODY), _BODY)
)


def protocol_of(limits: Limits) -> type[asyncio.Protocol]:
    """Return the class of connections under these limits."""

    class LimitedConnection(BoundedConnection):
        pass

    LimitedConnection.limits = limits
    return LimitedConnection


class BoundedConnection(H11Protocol):
    """Closes itself where the head of a request does not come in time, or a reply is not taken.

    What anybody can send is told to nobody: it would fill the notebook that the server runs in.
    """

    limits: Limits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = self.access_logger = _silent
        self.access_log = False
        self._deadline: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if len(self.connections) >= self.limits.max_connections:
            self.transport = transport
            self.flow = None  # type: ignore[assignment]
            transport.write(_FULL)
            transport.close()
            return
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # so that whatever is not taken at once is known of
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        self._watch_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        # To close it would wait for the client, too.
        self._write_deadline = self.loop.call_later(self.limits.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_write_deadline()

    def _stop_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self._stop_write_deadline()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_watching()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self.limits.header_seconds, self._give_up)

    def _stop_watching(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
