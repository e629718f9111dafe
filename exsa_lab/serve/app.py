"""The routes, and nothing beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exsa_lab import loading
from exsa_lab.errors import EngineNotLoaded
from exsa_lab.serve.api_errors import ApiError
from exsa_lab.serve.desk import Desk
from exsa_lab.serve.endpoint import CHAT, COMPLETION, Endpoint, current_engine
from exsa_lab.serve.guard import Guard
from exsa_lab.serve.metrics import CONTENT_TYPE

ROUTES = {
    "/v1/chat/completions": "POST",
    "/v1/completions": "POST",
    "/v1/models": "GET",
    "/health": "GET",
    "/metrics": "GET",
}
"""Every path that answers, and how it is asked."""
OPEN_PATHS = ("/health",)
"""Paths that need no key."""


def build_app(desk: Desk, *, host: str, api_key: str, allowed_hosts: Iterable[str]) -> ASGIApp:
    """Return the application of one server."""

    async def metrics(request: Request) -> Response:
        return Response(desk.metrics.text(), media_type=CONTENT_TYPE)

    endpoints: dict[str, Callable[..., Any]] = {
        "/v1/chat/completions": Endpoint(CHAT, desk),
        "/v1/completions": Endpoint(COMPLETION, desk),
        "/v1/models": _models,
        "/health": _health,
        "/metrics": metrics,
    }
    routes = [Route(path, endpoints[path], methods=[method]) for path, method in ROUTES.items()]
    router = Router(routes, redirect_slashes=False)
    guard = Guard(
        router,
        host=host,
        api_key=api_key,
        routes=ROUTES,
        max_header_bytes=desk.limits.max_header_bytes,
        open_paths=OPEN_PATHS,
        allowed_hosts=allowed_hosts,
    )
    return _Counting(guard, desk)


class _Counting:
    """Counts requests by route and status."""

    def __init__(self, app: ASGIApp, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = "gone"

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counting)
        finally:
            route = scope.get("path", "")
            self._desk.metrics.requests.labels(route if route in ROUTES else "other", status).inc()


async def _models(request: Request) -> Response:
    try:
        _, name = current_engine(None)
    except ApiError as error:
        return error.response()
    model = {"id": name, "object": "model", "created": 0, "owned_by": "exsa_lab"}
    return JSONResponse({"object": "list", "data": [model]})


async def _health(request: Request) -> Response:
    try:
        loading.get_engine()
    except EngineNotLoaded:
        status = "loading" if loading.is_loading() else "no engine"
        return JSONResponse({"status": status}, 503, headers=ApiError(503, status).headers)
    return JSONResponse({"status": "ok"})
