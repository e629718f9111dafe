"""Figures show the numbers of the traces they are given; they are self-contained and take texts as text."""

from __future__ import annotations

import pytest

from exsa_lab import plots
from exsa_lab.errors import ConfigError
from exsa_lab.trace.trace import Trace


def test_empty_and_wrong_sources() -> None:
    empty = Trace([])
    assert "Nothing was drafted." in plots.acceptance_by_position(empty).layout.annotations[0].text
    assert plots.calibration(empty).layout.annotations
    plots.round_times(empty)
    for wrong in (3, "text", [1]):
        with pytest.raises(ConfigError, match="neither"):
            plots.acceptance_by_position(wrong)
    with pytest.raises(ConfigError, match="nothing to compare"):
        plots.compare([], [empty])


def test_public_names_are_there() -> None:
    for name in plots.__all__:
        assert getattr(plots, name) is not None
    with pytest.raises(AttributeError):
        plots.no_such_plot  # noqa: B018
