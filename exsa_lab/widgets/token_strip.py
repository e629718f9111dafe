"""The token strip: a generation's text, live, each token marked by where it came from.

How the page keeps up. Rows (see `rows`) go to it once each, as custom messages ``{"type": "delta", "start": i,
"rows": [...]}``; they arrive even while a cell blocks the kernel, and anywidget hands them over only after the page's
``initialize`` ran, so none is lost. A page that opens later finds a gap and says ``{"type": "hello", "have": n}``. When
the generation ends everything is put into the ``snapshot`` trait once, for views opened after that.

A page asks for a branch by ``{"type": "branch", "strand": n, "position": i, "token": id}``; its rows then come under a
number of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import traitlets

from exsa_lab.errors import ConfigError
from exsa_lab.events import Event, TokenEvent
from exsa_lab.widgets.feed import Feed
from exsa_lab.widgets.live import LiveWidget
from exsa_lab.widgets.rows import Tally
from exsa_lab.widgets.scripts import read_script, read_styles
from exsa_lab.widgets.static import static_views
from exsa_lab.widgets.strand import Strand

MAX_BRANCHES = 32
SAVE_S = 30.0
"""A generation that runs longer than this is put into the notebook before it ends, then again each time it took twice
as long: its kernel may not live to see the end."""


class TokenStrip(LiveWidget):
    """Shows one generation while it runs and after. Stop in the page cancels it once the kernel is free to listen.

    Example::

        gen = engine.submit("Why is the sky blue?")
        TokenStrip(gen)
    """

    _esm = read_script("token_strip.js")
    _css = read_styles("token_strip.css")

    snapshot = traitlets.Dict().tag(sync=True)
    """Rows and header of a finished generation; empty before."""

    def __init__(
        self, gen: Any, *, update_hz: float = 15.0, start: bool = True, on_final: Callable[[], None] | None = None
    ) -> None:
        """Follow ``gen``; with ``start=False`` only once ``feed.start()`` is called.

        ``on_final`` runs on the feeds' thread after everything was sent.
        """
        super().__init__()
        self.gen = gen
        self._on_final = on_final
        self._update_hz = update_hz
        self._started = time.monotonic()
        self._save_after = SAVE_S
        self._strands = [Strand(0, gen)]
        self._lock = threading.Lock()  # guards the strands and the order of messages: feeds' thread and kernel's send
        self.feed = Feed(gen, self._deliver, update_hz, conclude=self._conclude, on_error=self._report_feed)
        if start:
            self.feed.start()

    @property
    def tally(self) -> Tally:
        """Headline numbers of the generation itself."""
        return self._strands[0].tally

    @property
    def branches(self) -> list[Any]:
        """The generations that branched off in this view, oldest first."""
        return [strand.gen for strand in self._strands[1:]]

    @property
    def is_final(self) -> bool:
        """Whether the end of the generation and of all its branches was shown."""
        return all(strand.is_final for strand in self._strands)

    def _deliver(self, events: list[Event], is_last: bool) -> None:
        self._add(self._strands[0], events)
        elapsed = time.monotonic() - self._started
        if not is_last and elapsed > self._save_after:
            self._save_after = 2 * elapsed
            self.publish()

    def _add(self, strand: Strand, events: list[Event]) -> None:
        with self._lock:
            self._send_from(strand, strand.add(events))

    def _send_from(self, strand: Strand, start: int) -> None:
        for message in strand.messages(start):
            self.send(message)

    def _conclude(self) -> None:
        self._keep()
        if self._on_final is not None:
            self._on_final()

    def _keep(self) -> None:
        """Keep the whole for views opened later, and for the notebook."""
        with self._lock:
            first, *branches = (strand.snapshot() for strand in self._strands)
            self.snapshot = first | {"branches": branches}
        self.publish()

    def _report_feed(self, error: Exception) -> None:
        self.report(error, "This view stopped; the generation itself goes on.")

    def answer(self, content: Any) -> None:
        """Cancel a generation, send the rows a page lacks, or branch off."""
        match content:
            case {"type": "stop"}:
                self._strand(content.get("strand", 0)).gen.cancel()
            case {"type": "hello", "have": int(have)}:
                strand = self._strand(content.get("strand", 0))
                with self._lock:
                    self._send_from(strand, min(max(0, have), len(strand.rows)))
            case {"type": "branch", "strand": int(number), "position": int(position), "token": int(token)}:
                self._branch(self._strand(number), position, token)

    def _strand(self, number: Any) -> Strand:
        is_there = type(number) is int and 0 <= number < len(self._strands)
        return self._strands[number if is_there else 0]

    def _branch(self, parent: Strand, position: int, token: int) -> None:
        if len(self._strands) > MAX_BRANCHES:
            raise ConfigError(f"there are {MAX_BRANCHES} branches already.", hint="gen.branch(...) makes more.")
        self.problem = ""
        label = _label(parent.gen.events, position, token)
        gen = parent.gen.branch(position, token)
        with self._lock:
            strand = Strand(len(self._strands), gen, parent=parent.number, position=position, label=label)
            self._strands.append(strand)
        Feed(
            gen,
            lambda events, _is_last: self._add(strand, events),
            self._update_hz,
            conclude=self._keep,
            on_error=self._report_feed,
        ).start()

    def static(self) -> tuple[str, str]:
        """Return the strip without a script, and its text."""
        branches = [(strand.title, strand.own_events()) for strand in self._strands[1:]]
        return static_views(list(self.gen.events), self.gen.stats, thinking=self.gen.thinking, branches=branches)

    def bundle(self, *, is_final: bool | None = None) -> dict[str, Any]:
        """Return the data of a display; a finished strip names no widget."""
        return super().bundle(is_final=self.is_final if is_final is None else is_final)


def _label(events: list[Event], position: int, token: int) -> str:
    """How a token is shown that was among the alternatives of a place."""
    there = [event for event in list(events) if isinstance(event, TokenEvent) and event.position == position]
    return next((other.text for event in there for other in event.top if other.token_id == token), f"token {token}")
