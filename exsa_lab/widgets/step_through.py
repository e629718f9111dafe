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
from exsa_lab.widgets.run import run_of
from exsa_lab.widgets.scripts import read_script, read_styles
from exsa_lab.widgets.step_static import static_html, static_text


class StepThrough(LiveWidget):
    """Plays a run round by round: drafts, tests against p, q and u, the replacement, the KV rollback, both clocks.

    ``source`` is a trace or a generation; a saved trace needs no model. Play, pause and scrub in the page, or with the
    keyboard: space, the arrow keys, page up and down, home and end.

    Example::

        StepThrough(Trace.load("run.json"))
    """

    _esm = read_script("step_through.js")
    _css = read_styles("player.css", "marked.css", "step_through.css")

    run = traitlets.Dict().tag(sync=True)
    """See `exsa_lab.widgets.run.run_of`."""

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
