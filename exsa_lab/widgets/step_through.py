"""The step-through: a recorded run, replayed round by round. It needs a trace and no model.

The page gets the trace once, as the rows of `rows` plus the times of each round, and plays it by itself; the kernel has
nothing to do afterwards.
"""

from __future__ import annotations

from typing import Any

import traitlets

from exsa_lab.errors import ConfigError
from exsa_lab.trace.trace import Trace
from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.rows import Row, visible
from exsa_lab.widgets.scripts import read_script, read_styles
from exsa_lab.widgets.step_static import rows_of, static_html, static_text

MAX_ROUNDS = 2_000
"""Rounds shown, the first ones (about 1 MB)."""
PROMPT_CHARS = 400


class StepThrough(LiveWidget):
    """Plays a run round by round: drafts, tests against p, q and u, the replacement, the KV rollback, both clocks.

    ``source`` is a trace or a generation; a saved trace needs no model. Play, pause and scrub in the page, or with the
    keyboard: space, the arrow keys, page up and down, home and end.

    Example::

        StepThrough(Trace.load("run.json"))
    """

    _esm = read_script("step_through.js")
    _css = read_styles("step_through.css")

    run = traitlets.Dict().tag(sync=True)
    """``prompt``, ``rows``, ``times`` by round, ``prompt_tokens``, ``greedy``, ``models``."""

    def __init__(self, source: Any) -> None:
        trace = source if isinstance(source, Trace) else getattr(source, "trace", None)
        if not isinstance(trace, Trace):
            raise ConfigError(
                "this is neither a trace nor a generation.", hint="Give gen, gen.trace or Trace.load(path)."
            )
        self.trace = trace
        super().__init__(run=run_of(trace))

    def static(self) -> tuple[str, str]:
        """Return every round in words, as HTML and as text."""
        return static_html(self.trace), static_text(self.trace)


def run_of(trace: Trace) -> dict[str, Any]:
    """Return what the page needs of a trace, as JSON."""
    rounds = trace.rounds
    last = rounds[MAX_ROUNDS - 1].round if len(rounds) > MAX_ROUNDS else None
    rows = [row for row in rows_of(trace) if last is None or _round_of(row) <= last]
    times = {
        str(event.round): [
            *(round(1000 * s, 3) for s in (event.draft_s, event.verify_s, event.sample_s)),
            event.batch_tokens,
        ]
        for event in rounds[:MAX_ROUNDS]
    }
    return {
        "prompt": visible(trace.prompt[-PROMPT_CHARS:]),
        "rows": rows,
        "times": times,
        "prompt_tokens": int(trace.stats.get("prompt_tokens", 0)),
        "greedy": trace.params.get("temperature", 0) == 0,
        "models": trace.models,
        "left_out": max(0, len(rounds) - MAX_ROUNDS),
    }


def _round_of(row: Row) -> int:
    return int(row[1] if row[0] == "R" else row[6])
