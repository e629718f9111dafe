"""The child's side: what it does when its parent is gone before it began, and what of a model may be asked for."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import deque
from types import SimpleNamespace
from typing import Any

from exsa_lab.config import EngineConfig
from exsa_lab.engine.stats import EngineStatus, StepRecord
from exsa_lab.engine.worker import wire
from exsa_lab.engine.worker.child import Child, Outbox
from tests.engine.worker.child_models import Opener


def test_without_a_parent_it_ends() -> None:
    command = [sys.executable, "-m", "exsa_lab.engine.worker.child"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=240, check=False)
    assert done.returncode != 0
    assert done.stdout == b""


def answers(*names: str) -> list[Any]:
    file = io.BytesIO()
    models = Opener()(lambda _: True)
    worker: Any = SimpleNamespace(
        target=models.target, draft=None, cancel=None, positions=None, costs=lambda: models.costs
    )
    child = Child(worker, EngineConfig(), Outbox(file))
    for number, name in enumerate(names):
        child._answer(number, name, 1)
    file.seek(0)
    return [wire.json.loads(wire.read_frame(file)) for _ in names]


def test_a_model_is_asked_for_words_and_nothing_else() -> None:
    label, close, dunder, absent = answers("target.token_label", "target.close", "target.__init__", "draft.token_label")
    assert label["value"] == "b"
    assert [answer["error"][0] for answer in (close, dunder)] == ["ConfigError"] * 2
    assert "error" in absent


def test_every_step_is_sent_once_while_more_are_made() -> None:
    file, steps = io.BytesIO(), deque[StepRecord](maxlen=4)
    worker: Any = SimpleNamespace(steps=steps, notes=(), status=lambda: EngineStatus("open"))
    outbox = Outbox(file, worker)
    for numbers in ([], [1, 2], [], [3], [4, 5, 6], range(7, 20)):
        steps.extend(StepRecord(float(number), *[0] * 8, *[0.0] * 4) for number in numbers)
        outbox.flush()
    file.seek(0)
    told = [wire.decode_steps(wire.json.loads(wire.read_frame(file))["steps"]) for _ in range(6)]
    assert [[step.time_s for step in each] for each in told] == [[], [1, 2], [], [3], [4, 5, 6], [16, 17, 18, 19]]
