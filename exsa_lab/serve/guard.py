"""Who may ask: checked before anything of a request is read but its head.

A page in the user's browser must not reach the server: whatever carries an ``Origin`` is refused, and so is a request
to another name than this machine's, which is how a page gets around that (DNS rebinding). There are no CORS headers.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Iterable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from exsa_lab.serve.api_errors import ApiError

_HOST = re.compile(rb"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(:[0-9]{1,5})?")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


class Guard:
    """Lets only those requests through that name this server, come from no web page and have the key.

    ``routes`` are the paths that answer, with their methods; ``open_paths`` are those of them that need no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        api_key: str,
        routes: Mapping[str, str],
        max_header_bytes: int,
        open_paths: Iterable[str] = (),
        allowed_hosts: Iterable[str] = (),
    ) -> None:
        self._app = app
        self._is_local = is_loopback(host)
        own = () if self._is_local else (socket.gethostname().lower(),)
        self._names = {name.lower() for name in (*_LOOPBACK_NAMES, host, *own, *allowed_hosts)}
        self._key = _digest(api_key.encode())
        self._routes = {path.encode(): method for path, method in routes.items()}
        self._max_header_bytes = max_header_bytes
        self._open_paths = {path.encode() for path in open_paths}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except ApiError as error:
            error.headers.setdefault("connection", "close")  # its body, if there is one, is not read
            await error.response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        if scope["type"] != "http":
            raise ApiError(404, "There is nothing here.")
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        if sum(len(name) + len(value) + 4 for name, value in headers) > self._max_header_bytes:
            raise ApiError(431, f"The headers have more than {self._max_header_bytes:,} bytes.")
        self._check_host([value for name, value in headers if name == b"host"])
        given = dict(headers)
        if b"origin" in given or given.get(b"sec-fetch-site", b"none") != b"none":
            raise ApiError(403, "Web pages may not use this server.", code="origin_refused")
        path: bytes = scope["raw_path"]  # as it was sent: no other spelling of a path is one
        if path not in self._open_paths:
            self._check_key([value for name, value in headers if name == b"authorization"])
        if path not in self._routes:
            raise ApiError(404, "There is nothing here.", code="unknown_url")
        if scope["method"] != (allowed := self._routes[path]):
            raise ApiError(405, f"Use {allowed}.", code="method_not_allowed", headers={"allow": allowed})

    def _check_host(self, hosts: list[bytes]) -> None:
        found = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        name = found[1].decode().strip("[]") if found else ""
        address = _address(name)
        # A page's own name can be made to lead here, a number cannot; from outside, any number may be this machine's.
        is_own = address is not None and (address.is_loopback or not self._is_local)
        if name not in self._names and not is_own:
            raise ApiError(403, "This server does not go by that name; see allowed_hosts.", code="host_refused")

    def _check_key(self, values: list[bytes]) -> None:
        scheme, _, key = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        is_right = hmac.compare_digest(_digest(key.strip()), self._key)
        if scheme.lower() != b"bearer" or not is_right:
            raise ApiError(
                401,
                "The API key is missing or wrong: send it as Authorization: Bearer KEY.",
                type="authentication_error",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )


def _digest(key: bytes) -> bytes:
    """Of one length whatever the key's, so that comparing takes the same time for all."""
    return hashlib.sha256(key).digest()
