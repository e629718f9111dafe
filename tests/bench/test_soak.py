"""A short soak finds nothing, and would count what it is made to find."""

from __future__ import annotations

import argparse
import random

import pytest

from exsa_lab.bench import soak
from exsa_lab.bench.setting import Options
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

PIECES = [chr(ord("a") + i) for i in range(12)]


def test_wrong_texts_are_counted() -> None:
    prompts = ["".join(random.Random(i).choices(PIECES, k=5)) for i in range(soak.BATCH)]
    with scripted_engine(ScriptedModel(PIECES, markov(12, 1)), n_seq_max=4) as engine:
        alone = {prompt: engine.generate(prompt, max_tokens=32, draft_length=0).text for prompt in prompts}
        right, wrong = soak.Count(), soak.Count()
        soak._serve(engine, random.Random(1), right, alone)
        soak._serve(engine, random.Random(1), wrong, dict.fromkeys(alone, "nothing of the kind"))
    assert right.served == soak.BATCH
    assert (right.lost, right.wrong, right.hung, right.cells_left) == (0, 0, 0, 0)
    assert wrong.wrong > 0


@pytest.mark.real
def test_two_loads_of_the_real_pair() -> None:
    report = soak.run(Options(given=given(minutes=0.05)))
    assert report.checks[0].is_met, report.tables[0].to_text()


@pytest.mark.real
def test_an_engine_whose_process_is_killed_serves_on() -> None:
    report = soak.run(Options(given=given(loads=1, kill=True)))
    assert report.checks[0].is_met, report.tables[0].to_text()
    assert dict(row[:2] for row in report.tables[0].rows)["killed"] == 1


def given(**options: object) -> argparse.Namespace:
    return argparse.Namespace(**{"minutes": None, "loads": None, "kill": False, "seed": 3, **options})
