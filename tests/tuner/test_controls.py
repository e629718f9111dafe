"""The controls: the code they stand for, and the prompt sets."""

from __future__ import annotations

from exsa_lab.tuner import Tuner


def test_code_follows_the_controls(tuner: Tuner) -> None:
    tuner.controls.temperature.value = 0.6
    tuner.controls.draft_length.value = 4
    magic, python = dict(tuner.code.texts).values()
    assert magic.startswith("%%exsa --draft-length 4 --temperature 0.6")
    assert magic.endswith("\na")
    assert "draft_length=4" in python
    tuner.controls.own.value = ""
    assert all(text.startswith("# there is no prompt") for _, text in tuner.code.texts)


def test_prompt_sets_come_with_the_package(tuner: Tuner) -> None:
    tuner.controls.prompt_set.value = "code"
    tuner.controls.num_prompts.value = 3
    assert len(tuner.controls.prompts()) == 3
    assert tuner.controls.own.layout.display == "none"
