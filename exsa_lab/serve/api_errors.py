"""What a client is told when something is wrong: a status, and OpenAI's form of an error."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse

from exsa_lab.errors import (
    ConfigError,
    EngineClosed,
    EngineFailed,
    EngineNotLoaded,
    ExsaError,
    GenerationCancelled,
    OutOfMemory,
    PromptTooLong,
    QueueFull,
    RuntimeUnavailable,
)

RETRY_SECONDS = 1
"""When to come again after 429."""
RELOAD_SECONDS = 5
"""When to come again while there is no engine."""

_INVALID = "invalid_request_error"
_KINDS: tuple[tuple[type[ExsaError], int, str, str | None], ...] = (
    (PromptTooLong, 400, _INVALID, "context_length_exceeded"),
    (ConfigError, 400, _INVALID, "invalid_value"),
    (QueueFull, 429, "rate_limit_error", "queue_full"),
    (EngineNotLoaded, 503, "service_unavailable", "no_engine"),
    (EngineClosed, 503, "service_unavailable", "no_engine"),
    (EngineFailed, 503, "service_unavailable", "engine_failed"),
    (OutOfMemory, 503, "service_unavailable", "out_of_memory"),
    (GenerationCancelled, 503, "service_unavailable", "cancelled"),
    (RuntimeUnavailable, 501, "not_implemented", None),
)


class ApiError(Exception):
    """A reply that says what is wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = _INVALID,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.error = {"message": message, "type": type, "param": param, "code": code}
        if status in (429, 503):
            self.headers.setdefault("retry-after", str(RETRY_SECONDS if status == 429 else RELOAD_SECONDS))

    @property
    def body(self) -> dict[str, Any]:
        """The error as OpenAI's interface has it."""
        return {"error": self.error}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, headers=self.headers)


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """Return the error for a bad value."""
    return ApiError(400, message, param=param, code=code)


def api_error(error: ExsaError, param: str | None = None) -> ApiError:
    """Return what a client is told of one of our errors."""
    for kind, status, type_name, code in _KINDS:
        if isinstance(error, kind):
            return ApiError(status, str(error), type=type_name, code=code, param=param)
    return ApiError(500, str(error), type="server_error", code=None)
