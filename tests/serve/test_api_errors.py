"""Our errors in OpenAI's form, each with a status that says whose fault it is and when to come again."""

from __future__ import annotations

import pytest

from exsa_lab.errors import (
    ConfigError,
    DecodeError,
    EngineClosed,
    EngineNotLoaded,
    ExsaError,
    PromptTooLong,
    QueueFull,
)
from exsa_lab.serve.api_errors import api_error, invalid


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (ConfigError, 400, "invalid_value"),
        (PromptTooLong, 400, "context_length_exceeded"),
        (QueueFull, 429, "queue_full"),
        (EngineNotLoaded, 503, "no_engine"),
        (EngineClosed, 503, "no_engine"),
        (DecodeError, 500, None),
    ],
)
def test_each_kind_has_its_status(kind: type[ExsaError], status: int, code: str | None) -> None:
    error = api_error(kind("It went wrong.", hint="Do it right."), "temperature")
    assert error.status == status
    assert set(error.body) == {"error"}
    assert set(error.body["error"]) == {"message", "type", "param", "code"}
    assert error.body["error"]["code"] == code
    assert error.body["error"]["message"] == "It went wrong. Do it right."
    assert ("retry-after" in error.headers) == (status in (429, 503))


def test_a_bad_value_names_its_field() -> None:
    response = invalid("n is 0.", "n").response()
    assert response.status_code == 400
    assert b'"param":"n"' in bytes(response.body)
