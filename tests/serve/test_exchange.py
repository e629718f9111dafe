"""Requests on their way: clients that go away free everything, deadlines end them, and their events are all told."""

from __future__ import annotations

import json
import time

import pytest

from exsa_lab import loading
from exsa_lab.errors import QueueFull
from exsa_lab.serve.exchange import GONE, Exchange
from exsa_lab.serve.feed import Courier
from exsa_lab.serve.limits import Limits
from exsa_lab.serve.parameters import read_chat
from exsa_lab.widgets.jobs import job_rows
from exsa_lab.widgets.timeline_rows import Recorder
from tests.gate import until
from tests.serve.parts import CHAT, chat, chunks, connected, endless, is_idle, post, serving

LONG = {**CHAT, "max_tokens": 60_000}


@pytest.mark.parametrize("streams", [True, False])
def test_a_client_that_goes_away_cancels_all_of_its_choices(streams: bool) -> None:
    with serving(endless(step_s=0.002), n_ctx=1 << 16) as server:
        engine = loading.get_engine()
        with connected(server) as opened:
            opened.sendall(post(server, json.dumps({**LONG, "n": 3, "stream": streams}).encode()))
            until(lambda: len(engine.active) == 3 and all(gen.tokens for gen in engine.active))
        until(lambda: is_idle(engine))
        assert {(gen.state, gen.cancel_reason) for gen in engine.generations} == {("cancelled", GONE)}
        assert chat(server).status_code == 200


def test_so_does_one_that_goes_while_it_waits_for_a_slot() -> None:
    with serving(endless(step_s=0.002), n_ctx=1 << 16, n_seq_max=1) as server:
        engine = loading.get_engine()
        first = engine.submit("a", chat=False, max_tokens=60_000)
        until(lambda: first.tokens)
        with connected(server) as opened:
            opened.sendall(post(server, json.dumps(LONG).encode()))
            until(lambda: len(engine.active) == 2)
        until(lambda: engine.active == [first])
        first.cancel()
        until(lambda: is_idle(engine))


@pytest.mark.parametrize("streams", [True, False])
def test_a_deadline_ends_it_with_the_text_so_far(streams: bool) -> None:
    with serving(endless(step_s=0.005), n_ctx=1 << 16) as server:
        reply = chat(server, max_tokens=60_000, stream=streams, exsa={"timeout": 1.5, "draft_length": 0})
        assert reply.status_code == 200
        if streams:
            last = chunks(reply)[-1]
            choice, notes = last["choices"][0], last["exsa"]["notes"]
        else:
            choice, notes = reply.json()["choices"][0], reply.json()["exsa"]["notes"]
            assert choice["message"]["content"]
        assert choice["finish_reason"] == "length"
        assert notes == ["timeout of 1.5 s"]


def test_the_servers_own_deadline_cannot_be_passed() -> None:
    with serving(endless(step_s=0.005), n_ctx=1 << 16, limits=Limits(request_seconds=0.2)) as server:
        begin = time.monotonic()
        assert chat(server, max_tokens=60_000, exsa={"timeout": 1e6}).json()["choices"][0]["finish_reason"] == "length"
        assert time.monotonic() - begin < 30


def test_it_stands_in_the_table_and_the_timeline_with_where_it_came_from() -> None:
    with serving() as server:
        engine = loading.get_engine()
        chat(server)
        mine = engine.generate("abc", max_tokens=3)
        assert [row["name"] for row in job_rows(engine, {"mine": mine})] == ["http 127.0.0.1 req 1", "mine"]
        lanes = [row for row in Recorder(engine.started).read(engine.generations)[0] if row[0] == "lane"]
        assert [row[3] for row in lanes] == ["http 127.0.0.1 req 1: abc", "abc"]


def test_where_one_choice_is_refused_none_goes_on() -> None:
    with serving(endless(step_s=0.002), n_ctx=1 << 16, n_seq_max=1, max_waiting=2):
        engine = loading.get_engine()
        busy = engine.submit("a", chat=False, max_tokens=60_000)
        until(lambda: busy.tokens)
        waiting = engine.submit("a", chat=False, max_tokens=60_000)
        until(lambda: engine.status().waiting == 1)
        with pytest.raises(QueueFull):
            Exchange(engine, read_chat({**LONG, "n": 8}, Limits()), "test")
        until(lambda: engine.active == [busy, waiting])
        busy.cancel()
        waiting.cancel()


async def test_all_events_of_all_choices_come_once_and_in_order() -> None:
    with serving():
        engine = loading.get_engine()
        exchange = Exchange(engine, read_chat({**CHAT, "n": 4, "temperature": 1.0, "seed": 1}, Limits()), "test")
        told: list[list[object]] = [[], [], [], []]
        async for index, events in exchange.events(Courier()):
            told[index] += events
        assert told == [gen.events for gen in exchange.generations]
