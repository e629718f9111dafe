"""How the tests of the tuner let it run."""

from __future__ import annotations

from exsa_lab.experiments import Experiment, Setting
from exsa_lab.tuner import Tuner

PIECES = [chr(ord("a") + i) for i in range(12)]
SETTING = Setting(max_tokens=15, chat=False)


def run_with(tuner: Tuner, **values: object) -> Experiment:
    """Set controls, run, and wait."""
    for name, value in values.items():
        getattr(tuner.controls, name).value = value
    tuner.run_button.click()
    assert tuner.wait(60)
    return tuner.runs[-1]
