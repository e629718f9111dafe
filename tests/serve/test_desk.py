"""What requests share: numbers, places, and an end for all of them."""

from __future__ import annotations

from exsa_lab.serve.desk import Desk
from exsa_lab.serve.exchange import Exchange
from exsa_lab.serve.limits import Limits
from exsa_lab.serve.parameters import read_chat
from exsa_lab.testing import scripted_engine
from tests.gate import until
from tests.serve.parts import CHAT, endless


def test_requests_are_numbered_and_say_where_they_came_from() -> None:
    desk = Desk(Limits())
    assert desk.next_origin({"client": ("1.2.3.4", 5)}) == "http 1.2.3.4 req 1"
    assert desk.next_origin({"client": None}) == "http ? req 2"


async def test_all_that_is_open_can_be_cancelled_and_no_more() -> None:
    desk = Desk(Limits())
    with scripted_engine(endless(step_s=0.002), n_ctx=1 << 16) as engine:
        exchange = Exchange(engine, read_chat({**CHAT, "max_tokens": 60_000}, Limits()), "test")
        mine = engine.submit("a", max_tokens=60_000)
        with desk.watching(exchange):
            desk.cancel_all("enough")
        generation = exchange.generations[0]
        assert generation.wait(30)
        assert (generation.state, generation.cancel_reason) == ("cancelled", "enough")
        assert not mine.state.is_final
        mine.cancel()
        until(lambda: not engine.active)
