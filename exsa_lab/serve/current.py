"""The kernel's one server: opened, found, closed with the engine."""

from __future__ import annotations

import atexit
import importlib.util
import os
import secrets
import threading
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING

from exsa_lab import loading
from exsa_lab.config import as_list, whole
from exsa_lab.errors import ConfigError, ExsaError, how_to_install, shown
from exsa_lab.serve.limits import Limits

if TYPE_CHECKING:
    from exsa_lab.serve.server import Server

_PACKAGES = {"starlette": "starlette", "uvicorn": "uvicorn", "prometheus_client": "prometheus-client"}
_Asked = tuple[int, str, str | None, Limits, tuple[str, ...]]

_lock = threading.RLock()
# The open server and what was asked for; written under the lock only.
_current: tuple[Server, _Asked] | None = None


def serve(
    port: int = 0,
    host: str = "127.0.0.1",
    api_key: str | None = None,
    *,
    limits: Limits | None = None,
    allowed_hosts: Iterable[str] = (),
) -> Server:
    """Put the kernel's engine behind an OpenAI-compatible endpoint, and return its server.

    ``port`` 0 takes a free one. ``host`` is the address to listen on: others than this machine's own are reached by
    other machines, without encryption, and get a warning. ``api_key`` is what clients must send; None makes a random
    one. ``allowed_hosts`` are further names that clients may call this machine by.

    The same arguments return the server that is open already; other arguments close it first. It uses whatever engine
    is loaded when a request comes: while another one is loaded it answers 503, and `unload` closes it. Raises
    EngineNotLoaded where nothing is loaded, ConfigError for an argument that cannot be, ExsaError without the packages.

    Example::

        server = xl.serve()
        openai.OpenAI(base_url=server.base_url, api_key=server.api_key)
    """
    global _current
    need_extra()
    asked = _checked(port, host, api_key, limits, allowed_hosts)
    with _lock:
        loading.get_engine()
        if _current is not None and _current[1] == asked and _current[0].is_open:
            return _current[0]
        stop()
        server = _open(asked)
        _current = (server, asked)
        return server


def current() -> Server | None:
    """Return the server that is open; None where there is none."""
    found = _current
    return found[0] if found is not None and found[0].is_open else None


def stop() -> bool:
    """Close the kernel's server; False when there was none."""
    global _current
    with _lock:
        found, _current = _current, None
    if found is None:
        return False
    was_open = found[0].is_open
    found[0].close()
    return was_open


def need_extra() -> None:
    """Raise ExsaError where a package is missing that serving needs."""
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ExsaError(f"{package} is not installed.", hint=how_to_install(*_PACKAGES.values()))


def _checked(port: object, host: object, api_key: object, limits: object, allowed_hosts: Iterable[str]) -> _Asked:
    number = whole("port", port, 0, 65535)
    if not isinstance(host, str) or not host:
        raise ConfigError(f"host is {shown(host)}.", hint='It must be an address of this machine, such as "127.0.0.1".')
    if api_key is not None and (
        not isinstance(api_key, str)
        or not api_key.isascii()
        or not api_key.isprintable()
        or not api_key.split() == [api_key]
    ):
        raise ConfigError("api_key is no key.", hint="It must be a text of ASCII characters without blanks.")
    if limits is not None and not isinstance(limits, Limits):
        raise ConfigError(f"limits is {shown(limits)}.", hint="Give a Limits of exsa_lab.serve.")
    names = as_list("allowed_hosts", allowed_hosts, of="names")
    if not all(isinstance(name, str) for name in names):
        raise ConfigError(f"allowed_hosts is {shown(names)}.", hint="It must be a list of names.")
    return number, host, api_key, limits or Limits(), tuple(names)


def _open(asked: _Asked) -> Server:
    from exsa_lab.serve.guard import is_loopback
    from exsa_lab.serve.server import Server

    port, host, api_key, limits, allowed_hosts = asked
    key = api_key or f"exsa-{secrets.token_urlsafe(32)}"
    server = Server(port=port, host=host, api_key=key, limits=limits, allowed_hosts=allowed_hosts)
    if not is_loopback(host):
        warnings.warn(
            f"{server.base_url} is open to other machines: whoever has the key can use this engine, and key and texts "
            "cross the network unencrypted.",
            stacklevel=4,
        )
    return server


def _forget_in_fork() -> None:
    """A fork has the socket, but not the thread that answers."""
    global _lock, _current
    found, _lock, _current = _current, threading.RLock(), None
    if found is not None:
        found[0].forget_in_fork()


loading.on_unload(stop)
atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_fork)
