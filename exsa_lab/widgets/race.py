"""The race: one prompt under several settings, replayed together on one clock.

The settings run one after the other (`exsa_lab.races`); the page gets their traces once and plays them by itself. Saved
traces race without a model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import traitlets

from exsa_lab.config import SamplingParams, did_you_mean
from exsa_lab.errors import ConfigError
from exsa_lab.loading import get_engine
from exsa_lab.prompts.messages import Message
from exsa_lab.races import run_race
from exsa_lab.trace.trace import Trace
from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.page import write_page
from exsa_lab.widgets.progress_bar import ProgressBar
from exsa_lab.widgets.race_lanes import RaceLane, SpeedRatio, lanes_of_traces, ratio, verdict
from exsa_lab.widgets.race_static import place, static_html, static_text
from exsa_lab.widgets.rows import visible
from exsa_lab.widgets.run import run_of
from exsa_lab.widgets.scripts import read_script, read_styles

DEFAULT_SETTINGS: dict[str, dict[str, Any]] = {"plain": {"draft_length": 0}, "auto": {}}
_PARAMS = {item.name for item in fields(SamplingParams)}


class Race(LiveWidget):
    """Replays recorded runs side by side: what was drafted, kept and refused, who ends first, and where the time went.

    ``traces`` has one trace of each setting, or as many repeats of each in the order they were run. Play, pause, speed
    and scrub in the page, or with the keyboard: space, the arrow keys, page up and down, home and end.

    Example::

        Race({"plain": Trace.load("plain.json"), "auto": Trace.load("auto.json")})
    """

    _esm = read_script("race.js")
    _css = read_styles("player.css", "marked.css", "race.css")

    race = traitlets.Dict().tag(sync=True)
    """``lanes``: runs as in `exsa_lab.widgets.run.run_of`, each with its name, settings and place; ``verdict``."""

    def __init__(self, traces: Mapping[str, Trace | Sequence[Trace]]) -> None:
        """Raises ConfigError where there are not two settings with as many runs each, or a run has no times."""
        self.lanes = lanes_of_traces(traces)
        super().__init__(race=race_of(self.lanes))

    @classmethod
    def from_traces(cls, traces: Mapping[str, Trace | Sequence[Trace]]) -> Self:
        """Race saved traces; no model is needed."""
        return cls(traces)

    @property
    def traces(self) -> dict[str, list[Trace]]:
        """Every run, by the name of its setting."""
        return {lane.name: list(lane.runs) for lane in self.lanes}

    def ratio(self, name: str, against: str | None = None) -> SpeedRatio:
        """How many times as fast ``name`` decodes as ``against``, the first setting where it is left out."""
        lanes = {lane.name: lane for lane in self.lanes}
        for asked in (name, against or name):
            if asked not in lanes:
                raise ConfigError(f"no setting is called {asked!r}.", hint=f"There are {', '.join(lanes)}.")
        return ratio(lanes[name], lanes[against] if against else self.lanes[0])

    def to_html(self, path: str | Path, *, title: str = "A race") -> Path:
        """Write the race, and each of its runs token by token and round by round, as one page; see `Trace.to_html`."""
        return write_page(path, title, self.race["lanes"], self.race["verdict"])

    def static(self) -> tuple[str, str]:
        """Return the end of the race, as HTML and as text."""
        return static_html(self.lanes), static_text(self.lanes)


def race_of(lanes: Sequence[RaceLane]) -> dict[str, Any]:
    """Return what the page needs of a race, as JSON."""
    return {
        "verdict": [visible(sentence) for sentence in verdict(lanes)],
        "lanes": [
            {
                **run_of(lane.shown),
                "name": visible(lane.name),
                "settings": visible(lane.settings(lanes)),
                "place": place(lane, lanes),
            }
            for lane in lanes
        ],
    }


def race(
    prompt: str | list[Message] | None = None,
    *,
    repeats: int = 1,
    traces: Mapping[str, Trace | Sequence[Trace]] | None = None,
    engine: Any = None,
    **settings: Any,
) -> Race:
    """Generate one prompt under several settings, one after the other, and replay them together.

    Each setting is a keyword with a dictionary of generation parameters; other parameters go for all of them. Without
    any setting plain decoding races against ``draft_length="auto"``. ``repeats`` runs of each tell how sure the ratio
    is; the one of median speed is shown. With ``traces`` nothing is generated and no model is needed.

    Raises ConfigError for a wrong setting before anything runs, EngineNotLoaded, and what `Engine.generate` raises.

    Example::

        xl.race("Why is the sky blue?", plain=dict(draft_length=0), three=dict(draft_length=3), max_tokens=96)
    """
    if traces is not None:
        if prompt is not None or settings:
            raise ConfigError("traces are given, and something to generate too.", hint="Give one of both.")
        return Race(traces)
    if prompt is None:
        raise ConfigError("there is no prompt.", hint="Give one, or traces={name: trace, ...}.")
    lanes = settings_of(settings)
    engine = engine or get_engine()
    bar = ProgressBar("Racing")

    def tell(name: str, fraction: float) -> None:
        bar.label = f"Racing: {name}"
        bar.update(fraction)

    try:
        runs = run_race(engine, prompt, lanes, repeats=repeats, progress=tell)
    finally:
        bar.finish("")
    return Race(dict(runs))


def settings_of(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the settings by name, each with the parameters that go for all."""
    shared = {name: value for name, value in given.items() if name in _PARAMS}
    named = {name: value for name, value in given.items() if name not in _PARAMS}
    for name, value in named.items():
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{name} is neither a parameter nor a setting.{did_you_mean(name, _PARAMS)}",
                hint=f"Write a setting as a dictionary: {name}=dict(draft_length=3).",
            )
    return {name: {**shared, **values} for name, values in (named or DEFAULT_SETTINGS).items()}
