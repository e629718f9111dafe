"""A notebook that shows every view once, for the front ends that must show them."""

from __future__ import annotations

from pathlib import Path

from tests.browser.lab import write_notebook

SET_UP = """
%load_ext exsa_lab
import exsa_lab as xl
import ipywidgets
from exsa_lab import plots
engine = xl.load("smollm2-135m")
"""
OUTPUT_WIDGET = """
held = ipywidgets.Output()
with held:
    shown = xl.show(engine.submit("Name a fruit.", max_tokens=8))
display(held)
"""
VIEWS = {
    "strip": ("%%exsa --max-tokens 40 --draft-length 3 --name gen\nWhat is photosynthesis?", "Photosynthesis"),
    "background": ("%%exsa --background --max-tokens 8 --name later\nName a colour.", "finished"),
    "wait": ("later.result();", ""),
    "show": ("xl.show(gen)", "Photosynthesis"),
    "captured": (OUTPUT_WIDGET, ""),
    "steps": ("assert shown.wait(60)\nxl.StepThrough(gen.trace)", "round"),
    "timeline": ("xl.show_timeline(engine)", "finished"),
    "race": ('xl.race("Name a tree.", plain=dict(draft_length=0), auto={}, max_tokens=8)', "auto"),
    "explore": ("xl.explore()", "draft length"),
    "play": ('xl.play("Write a line about the sea.")', "p"),
    "tuner": ("xl.Tuner(engine)", "kernel"),
    "jobs": ("%exsa_jobs", "finished"),
    "status": ("%exsa_status", "SmolLM2"),
    "doctor": ("%exsa_doctor", "What is active"),
    "trace": ("gen.trace", "rounds"),
    "figure": ("plots.acceptance_by_position(gen)", ""),
    "end": ("print('the end')", "the end"),
}
"""Cells by name, each with a word that its output has for a reader, in pages and, but for figures, as text."""
PROBLEM = "Error loading widget|Error displaying widget|Loading widget|model not found|Traceback|NaN"
"""What no reader may find, as a regular expression."""


def index(name: str) -> int:
    """The place of a view's cell; the set-up is cell 0."""
    return 1 + list(VIEWS).index(name)


def write(path: Path) -> Path:
    """Write the notebook; its first cell is the set-up."""
    return write_notebook(path, SET_UP, *(source for source, _ in VIEWS.values()))
