"""The process that renders unknown templates: what it answers, and what it may take."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from exsa_lab.prompts import child
from exsa_lab.prompts.marked import mark
from exsa_lab.prompts.wire import marked_by, packed

HI = {"messages": [{"role": "user", "content": mark("hi", "\x01")}]}


def request(source: str, values: Any = HI) -> bytes:
    return json.dumps({"source": source, "values": packed(values)}).encode()


def test_a_text_is_answered_with_its_marks() -> None:
    answer = child.answer(request("<{{ messages[0].content }}>"))
    assert answer["text"] == "<hi>"
    assert getattr(marked_by(answer["text"], answer["runs"]), "marks", "")[1:3] == "\x01\x01"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("{{ raise_exception('no') }}", "refused"),
        ("{{ 'a' * 10**10 }}", "costly"),
        ("{% for %}", "invalid"),
    ],
)
def test_a_failure_is_named_by_its_kind(source: str, kind: str) -> None:
    answer = child.answer(request(source))
    assert answer["failure"] == kind
    assert set(answer) == {"failure", "message", "hint"}


def test_it_answers_line_by_line_until_nobody_asks() -> None:
    lines = b"\n".join((request("{{ 1 + 1 }}"), request("{% for %}"), request("x"), b""))
    command = [sys.executable, "-c", "from exsa_lab.prompts.child import main; main()"]
    done = subprocess.run(command, input=lines, capture_output=True, timeout=240, check=True)
    ready, *answers = done.stdout.splitlines()
    assert ready == b"ready"
    assert [json.loads(answer).get("text") for answer in answers] == ["2", None, "x"]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of other systems differ")
def test_it_has_little_memory_and_writes_no_files() -> None:
    code = (
        "import resource as r; from exsa_lab.prompts import child; child._limit()\n"
        "print(r.getrlimit(r.RLIMIT_FSIZE)[0], r.getrlimit(r.RLIMIT_CORE)[0])\n"
        "try: bytearray(child.MEMORY); print('all of it')\n"
        "except MemoryError: print('refused')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True)
    assert done.stdout.split() == ["0", "0", "refused"]
