"""One text of a strip: its rows in messages and snapshots."""

from __future__ import annotations

import pytest

from exsa_lab.events import Source
from exsa_lab.widgets import strand
from exsa_lab.widgets.rows import to_rows
from exsa_lab.widgets.strand import Strand
from tests.widgets.fake import FakeGeneration, refused, round_event, token


def test_a_branch_has_only_what_its_parent_has_not() -> None:
    events = [token(0, "a", Source.KEPT), token(1, "b", Source.CHOSEN), token(2, "c"), round_event(3, 0, 0, 0.1)]
    gen = FakeGeneration()
    gen.publish(events)
    branch = Strand(2, gen, parent=0, position=1, label="b")
    assert branch.add(events) == 0
    assert branch.rows == to_rows(events[1:])
    [message] = branch.messages(0)
    assert message["strand"] == 2
    assert message["branch"] == {"parent": 0, "position": 1, "label": "b"}
    assert branch.title == "Branch 2 at token 1: b"
    assert branch.own_events() == events[1:]
    whole = Strand(0, gen)
    whole.add(events)
    assert whole.rows == to_rows(events)


def test_a_snapshot_counts_the_tokens_that_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    text = Strand(0, FakeGeneration())
    assert text.add([token(0, "a"), refused(1, "x"), round_event(1, 1, 0, 0.1), token(1, "b")]) == 0
    assert text.add([token(2, "c")]) == 4
    assert text.snapshot()["before"] == 0
    monkeypatch.setattr(strand, "MAX_SNAPSHOT_ROWS", 2)
    snapshot = text.snapshot()
    assert (snapshot["start"], snapshot["before"], len(snapshot["rows"])) == (3, 1, 2)
