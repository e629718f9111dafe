"""A server: a socket, a thread with an event loop, and what is shown of them."""

from __future__ import annotations

import asyncio
import contextlib
import html
import os
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any, Self

import uvicorn

from exsa_lab.errors import ConfigError, EngineError, shown
from exsa_lab.serve.app import build_app
from exsa_lab.serve.connection import protocol_of
from exsa_lab.serve.desk import Desk
from exsa_lab.serve.limits import Limits
from exsa_lab.signals import held_interrupts

CLOSED = "the server was closed"
_PATIENCE_S = 10.0
"""Longest wait for the thread to begin or to end."""


class Server:
    """The kernel's engine behind an OpenAI-compatible endpoint; see `exsa_lab.serve`.

    Example::

        with xl.serve() as server:
            client = openai.OpenAI(base_url=server.base_url, api_key=server.api_key)
    """

    def __init__(self, *, port: int, host: str, api_key: str, limits: Limits, allowed_hosts: Iterable[str]) -> None:
        """Raises ConfigError where the address cannot be listened on."""
        self.api_key = api_key
        self.host = host
        self._pid = os.getpid()
        self._desk = Desk(limits)
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._was_shown = False
        self._is_closed = False
        self._closing = threading.Lock()
        app = build_app(self._desk, host=host, api_key=api_key, allowed_hosts=allowed_hosts)
        self._uvicorn = uvicorn.Server(_config(app, limits))
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exsa-serve", daemon=True)
        self._thread.start()
        self._begun.wait(_PATIENCE_S)
        if not self._uvicorn.started:
            self.close()
            raise EngineError("the server did not begin.", hint="Try another port.")

    # On the thread

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._begun.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        tell = asyncio.create_task(self._tell_begun())
        await self._uvicorn.serve(sockets=[self._socket])
        await tell

    async def _tell_begun(self) -> None:
        while not self._uvicorn.started and not self._uvicorn.should_exit:
            await asyncio.sleep(0.001)
        self._begun.set()

    # For users

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def base_url(self) -> str:
        """What clients of OpenAI's interface are given."""
        return f"{self.url}/v1"

    @property
    def limits(self) -> Limits:
        return self._desk.limits

    @property
    def is_open(self) -> bool:
        """Whether it listens; asked of its thread and process."""
        return not self._is_closed and self._pid == os.getpid() and self._thread.is_alive()

    def snippet(self) -> str:
        """Return code to paste into another notebook or a script; it holds the key."""
        return (
            "from openai import OpenAI\n\n"
            f'client = OpenAI(base_url="{self.base_url}", api_key="{self.api_key}")\n'
            'messages = [{"role": "user", "content": "Why is the sky blue?"}]\n'
            "reply = client.chat.completions.create(model=client.models.list().data[0].id, messages=messages)\n"
            "print(reply.choices[0].message.content)"
        )

    def close(self) -> None:
        """Cancel what its clients asked for and stop listening. Calling it again does nothing."""
        with held_interrupts(), self._closing:
            was_closed, self._is_closed = self._is_closed, True
            if was_closed or self._pid != os.getpid():
                return
            self._uvicorn.should_exit = True
            with contextlib.suppress(RuntimeError, AttributeError):  # the loop is over, or did not begin
                self._loop.call_soon_threadsafe(self._desk.cancel_all, CLOSED)  # type: ignore[union-attr]
            if threading.current_thread() is not self._thread:
                self._thread.join(_PATIENCE_S)
                self._socket.close()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is closed; False when ``timeout`` seconds passed before that."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.is_open and (deadline is None or time.monotonic() < deadline):
            self._thread.join(0.2)  # short waits can be interrupted everywhere
        return not self.is_open

    def forget_in_fork(self) -> None:
        """In a fork of the process: let go of the socket, which is the parent's."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        """Never the key: this is what logs and debuggers show."""
        return f"<Server {self.base_url}: {'open' if self.is_open else 'closed'}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What a notebook shows: the first time with the key in a snippet, later without."""
        text = self.introduction()
        return {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}

    def introduction(self) -> str:
        """Return what there is to say about it: the snippet with the key, once."""
        was_shown, self._was_shown = self._was_shown, True
        if not self.is_open:
            return repr(self)
        if was_shown:
            return f"{self!r}\nThe key is in .api_key; print(server.snippet()) shows the code for a client again."
        return f"Serving at {self.base_url}. The key is shown this once:\n\n{self.snippet()}"


def _config(app: Any, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=protocol_of(limits),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,  # logging belongs to the notebook
        proxy_headers=False,  # who asks is who connected
        server_header=False,
        h11_max_incomplete_event_size=limits.max_header_bytes,
        timeout_keep_alive=limits.idle_seconds,
        timeout_graceful_shutdown=2,
        backlog=128,
    )


def _listen(host: str, port: int) -> socket.socket:
    """Open the socket here, so that what is wrong with the address is said at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as cause:
        raise ConfigError(f"host is {shown(host)}, which is no address of this machine: {cause}.") from None
    try:
        if os.name == "posix":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(128)
    except OSError as cause:
        opened.close()
        raise ConfigError(
            f"{host} port {port} cannot be listened on: {cause.strerror or cause}.", hint="port=0 takes a free one."
        ) from None
    return opened
