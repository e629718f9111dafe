"""The body of a request: read within bounds of size and time, and parsed strictly."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from exsa_lab.files import parse_json
from exsa_lab.serve.api_errors import ApiError, invalid
from exsa_lab.serve.limits import Limits


class ClientGone(Exception):
    """The client closed its connection."""


async def read_object(scope: Scope, receive: Receive, limits: Limits) -> dict[str, Any]:
    """Return the JSON object that a request carries; raises ApiError for anything else, ClientGone."""
    headers = Headers(scope=scope)
    if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _unread(415, "Send JSON, with the header Content-Type: application/json.")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise _unread(415, "Send the JSON as it is, without a Content-Encoding.")
    try:
        async with asyncio.timeout(limits.body_seconds):
            data = await _read(headers, receive, limits.max_body_bytes)
    except TimeoutError:
        raise _unread(408, f"The body did not come within {limits.body_seconds:g} s.") from None
    return parse_object(data)


async def _read(headers: Headers, receive: Receive, most: int) -> bytes:
    length = headers.get("content-length", "0")
    body = bytearray()
    too_large = _unread(413, f"The body is larger than {most:,} bytes.")
    if len(length) > 18 or int(length) > most:  # h11 lets digits through only
        raise too_large
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > most:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object; raises ApiError."""
    try:
        found = parse_json(data)
    except ValueError as cause:
        raise invalid(f"The body is not JSON: {cause}.", code="invalid_json") from None
    if not isinstance(found, dict):
        raise invalid("The body must be a JSON object.", code="invalid_json")
    if b"\\u" in data:  # the only way in for half a character
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise invalid("The body has half a character in it: a lone surrogate.", code="invalid_json") from None
    return found


def _unread(status: int, message: str) -> ApiError:
    """An error about a body that was not read to its end, after which the connection cannot go on."""
    return ApiError(status, message, headers={"connection": "close"})
