"""Templates nobody knows run in a process of their own, which may die of it."""

from __future__ import annotations

import json
import os

import pytest

from exsa_lab.errors import InvalidModel
from exsa_lab.prompts import child, pool
from exsa_lab.prompts.marked import Marked, mark
from exsa_lab.prompts.pool import render_apart
from exsa_lab.prompts.template import ChatTemplate, TemplateRefusal, TemplateTooCostly
from exsa_lab.prompts.wire import packed, unpacked

HI = {"messages": [{"role": "user", "content": mark("h\ud800i", "\x01")}], "a": [1, 1.5, None, True]}
ECHO = "<{{ messages[0].content }}>{{ a }}"


def test_texts_and_marks_come_back_as_they_would_here() -> None:
    apart, here = render_apart(ECHO, HI), ChatTemplate(ECHO).render(HI)
    assert isinstance(apart, Marked)
    assert isinstance(here, Marked)
    assert (str(apart), apart.marks) == (str(here), here.marks)


def test_a_process_serves_many_templates() -> None:
    pool.close_idle()
    render_apart(ECHO, HI)
    (kept,) = pool._idle
    assert [render_apart(f"{number}", {}) for number in range(20)] == [str(number) for number in range(20)]
    assert pool._idle == [kept]


def test_failures_are_the_same_as_here() -> None:
    for source, error, message in (
        ("{{ raise_exception('No \"system\" here') }}", TemplateRefusal, 'No "system" here'),
        ("{% for %}", InvalidModel, "cannot be read"),
        ("{{ 1 / 0 }}", InvalidModel, "division by zero"),
        ("{{ 'a' * 10**10 }}", TemplateTooCostly, "too much work"),
    ):
        with pytest.raises(error, match=message):
            render_apart(source, HI)


def test_one_that_takes_too_long_is_killed_and_the_next_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    pool.close_idle()
    monkeypatch.setattr(pool, "_MAIN", "print('ready', flush=True)\nwhile True: pass")
    monkeypatch.setattr(pool, "DEADLINE_S", 0.2)
    with pytest.raises(TemplateTooCostly, match=r"more than 0\.2 s"):
        render_apart(ECHO, HI)
    assert not pool._idle
    monkeypatch.undo()
    assert render_apart("{{ 1 }}", {}) == "1"


@pytest.mark.parametrize("last_words", ["import os; os._exit(3)", "raise MemoryError", "print('half an ans', end='')"])
def test_one_that_ends_by_itself_fails_its_template_only(monkeypatch: pytest.MonkeyPatch, last_words: str) -> None:
    pool.close_idle()
    monkeypatch.setattr(pool, "_MAIN", f"print('ready', flush=True); input(); {last_words}")
    with pytest.raises(TemplateTooCostly):
        render_apart(ECHO, HI)
    monkeypatch.undo()
    assert render_apart("{{ 1 }}", {}) == "1"


def test_where_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    pool.close_idle()
    monkeypatch.setattr(pool.sys, "executable", "/no/such/python")
    with pytest.raises(InvalidModel, match="no process can be started"):
        render_apart(ECHO, HI)


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="reads /proc")
def test_it_has_little_memory_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    pool.close_idle()
    monkeypatch.setenv("HF_TOKEN", "secret")
    render_apart(ECHO, HI)
    process = pool._idle[0]._process
    with open(f"/proc/{process.pid}/environ", "rb") as environment:
        assert b"secret" not in environment.read()
    with open(f"/proc/{process.pid}/limits") as limits:
        (space,) = [line for line in limits if line.startswith("Max address space")]
    assert int(space.split()[3]) < 1 << 30


def test_an_interrupt_is_not_for_it() -> None:
    pool.close_idle()
    render_apart(ECHO, HI)
    process = pool._idle[0]._process
    assert os.getpgid(process.pid) != os.getpgid(0)


def test_requests_are_answered_a_line_each() -> None:
    request = json.dumps({"source": ECHO, "values": packed(HI)}).encode()
    assert child.answer(request)["runs"] == [(0, 1), (1, 3), (0, 21)]
    assert child.answer(json.dumps({"source": "{% x %}", "values": packed({})}).encode())["failure"] == "invalid"


def test_values_survive_the_wire() -> None:
    values = {"text": mark("a", "\x01"), "items": [{"runs": ("b",) and ["b"]}, mark("k", "\U0010ffff")], "n": None}
    back = unpacked(json.loads(json.dumps(packed(values))))
    assert back == values
    assert back["text"].marks == "\x01"
    assert back["items"][1].marks == "\U0010ffff"
