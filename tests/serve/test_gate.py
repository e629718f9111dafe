"""No more inside than there is room for, and everybody leaves."""

from __future__ import annotations

import pytest

from exsa_lab import loading
from exsa_lab.serve import Limits
from exsa_lab.serve.api_errors import ApiError
from exsa_lab.serve.gate import Gate
from tests.gate import until
from tests.serve.parts import CHAT, chat, client, endless, is_idle, serving


def test_places_are_given_and_given_back() -> None:
    gate = Gate(3)
    with gate.enter(2), gate.enter(1):
        with pytest.raises(ApiError) as caught, gate.enter(1):
            pytest.fail("there was room")
        assert caught.value.status == 429
        assert caught.value.headers["retry-after"] == "1"
    with pytest.raises(KeyError), gate.enter(3):
        raise KeyError
    with pytest.raises(ApiError) as caught, gate.enter(4):
        pytest.fail("there was room")
    assert caught.value.status == 400  # coming again would not help
    assert gate.num_inside == 0


def test_a_client_too_many_gets_429_and_may_come_again() -> None:
    with serving(endless(step_s=0.002), limits=Limits(max_requests=2), n_ctx=1 << 16) as server:
        engine = loading.get_engine()
        body = {**CHAT, "max_tokens": 60_000, "stream": True}
        with client(server) as http, http.stream("POST", "/v1/chat/completions", json={**body, "n": 2}) as response:
            lines = response.iter_lines()
            next(lines)
            refused = chat(server)
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["error"]["code"] == "too_many_requests"
        until(lambda: is_idle(engine))
        until(lambda: chat(server).status_code == 200)


def test_the_engines_own_queue_is_bounded_too() -> None:
    with serving(endless(step_s=0.002), n_ctx=1 << 16, n_seq_max=1, max_waiting=1) as server:
        engine = loading.get_engine()
        held = [engine.submit("a", chat=False, max_tokens=60_000)]
        until(lambda: held[0].tokens)
        held.append(engine.submit("a", chat=False, max_tokens=60_000))
        until(lambda: engine.status().waiting == 1)
        refused = chat(server)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        for generation in held:
            generation.cancel()
        until(lambda: is_idle(engine))
        assert chat(server).status_code == 200


def test_more_choices_than_a_request_may_have_are_a_bad_value() -> None:
    with serving(limits=Limits(max_choices=4)) as server:
        assert chat(server, n=4).status_code == 200
        assert chat(server, n=5).json()["error"]["param"] == "n"
