"""What many generations did, as compact rows on one clock: what the live timeline and its static view both draw.

A row is a short list, first its kind. Times are seconds on the timeline's clock, which leaves out idle time.

    ["lane", lane, t, label]                                           a generation was submitted
    ["state", lane, t, state, detail]
    ["prefill", lane, t0, t1, tokens, cached, prompt_tokens, donor]    a chunk of the prompt; cached is 0 or 1, and
                                                                       donor a lane with the same cells, 0 if unknown
    ["rounds", lane, t0, t1, rounds, drafted, accepted, committed]     one round, or some short ones together
    ["step", t0, t1, steps, slots, cells, prefill, draft, decode, uses]  tokens are sums, slots and cells the highest;
                                                                       uses: [[slot, lane, cells, shared, same as], ...]
                                                                       at the end; lane 0: of one that is over
    ["idle", t, seconds]                                               so much idle time was left out here
    ["held", lane, t0, t1]                                             computed: a slot held for nothing
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from typing import Any

from exsa_lab.engine.stats import StepRecord
from exsa_lab.events import Event, PrefillEvent, RoundEvent, State, StateEvent, TokenEvent
from exsa_lab.widgets.rows import visible

Row = list[Any]

MIN_SPAN_S = 0.005
"""Rounds and steps shorter than this are put together, so that a fast machine does not flood the page."""
MAX_ROWS = 20_000
"""Beyond so many rows (about 1 MB) the short ones are put together more coarsely."""
SAME_S = 1e-6
"""Times of an event and of its step, taken from the same clock, differ by less."""
KEPT_IDLE_S = 1.0
"""Longest idle time that is shown at its length."""
MAX_LANES = 80
"""Beyond so many generations the older half is dropped, but for those still running."""
LABEL_CHARS = 48
FINAL_STATES = frozenset(str(state) for state in State if state.is_final)

_MERGED = {"rounds": 4, "step": 3}
"""Kinds that can be put together, and the column after their key and two times."""
_USES = 9
"""Column of what a step's slots held."""


class Clock:
    """Maps engine time to the timeline's, which starts at 0 and cuts idle time short."""

    def __init__(self) -> None:
        self._begins: list[float] = []
        self._offsets: list[float] = []

    def cut(self, begin: float, idle_from: float | None) -> Row | None:
        """Work begins at ``begin`` after none since ``idle_from`` (None: ever); returns the row of a cut."""
        if idle_from is None:
            self._add(begin, begin)
            return None
        idle = begin - idle_from
        if idle <= KEPT_IDLE_S:
            return None
        self._add(begin, self._offsets[-1] + idle - KEPT_IDLE_S)
        return ["idle", _round(self(begin) - KEPT_IDLE_S / 2), round(idle, 1)]

    def __call__(self, time_s: float) -> float:
        index = bisect_right(self._begins, time_s) - 1
        return max(0.0, time_s - self._offsets[max(0, index)])

    def _add(self, begin: float, offset: float) -> None:
        self._begins.append(begin)
        self._offsets.append(offset)


class _Reading:
    """How far one generation was read."""

    def __init__(self, lane: int, submitted: float) -> None:
        self.lane = lane
        self.submitted = submitted
        self.num_read = 0
        self.last_s = submitted
        self.num_committed = 0
        self.is_final = False


class Recorder:
    """Reads generations and steps as they grow, and keeps the rows of all of them, bounded.

    It only reads lists the engine thread appends to, so it may run on any thread, one at a time.
    """

    def __init__(self, started: float = 0.0, *, own_steps: bool = False) -> None:
        """``started`` is the engine's time 0 on the clock of `time.perf_counter`.

        With ``own_steps`` only steps in which one of the generations took part are read.
        """
        self.rows: list[Row] = []
        self.span_s = MIN_SPAN_S
        self._started = started
        self._clock = Clock()
        self._open: dict[int, _Reading] = {}
        self._newest = 0
        self._begin_s: float | None = None
        self._end_s: float | None = None
        self._step_s = float("-inf")
        self._own_steps = own_steps
        self._times: list[float] = []  # of events since the last step that was read, sorted; engine's time
        self._read: dict[int, Any] = {}  # generations by their lane

    @property
    def is_busy(self) -> bool:
        """Whether a generation is not over yet."""
        return bool(self._open)

    def read(self, generations: Sequence[Any], steps: Sequence[StepRecord] = ()) -> tuple[list[Row], bool]:
        """Return the rows that are new, and whether all of `rows` changed and must be looked at again.

        ``generations`` are in order of submission, each time those of before (or the newest of them) and new ones.
        ``steps`` were taken before the generations were: what happened in them is in the generations' events.
        """
        new: list[Row] = []
        for generation in generations:
            if generation.id > self._newest:
                self._begin(generation, new)
            if (reading := self._open.get(generation.id)) is not None:
                events = generation.events[reading.num_read :]
                reading.num_read += len(events)
                self._read_events(reading, events, new)
        if self._begin_s is not None:
            self._read_steps(steps, self._begin_s, new)
        new = merge(new, self.span_s)
        self.rows.extend(new)
        return new, self._bound()

    def _begin(self, generation: Any, new: list[Row]) -> None:
        submitted = generation.submitted - self._started
        if not self._open and (cut := self._clock.cut(submitted, self._end_s)) is not None:
            new.append(cut)
        self._begin_s = submitted if self._begin_s is None else self._begin_s
        self._newest = generation.id
        self._open[generation.id] = _Reading(generation.id, submitted)
        self._read[generation.id] = generation
        new.append(["lane", generation.id, _round(self._clock(submitted)), _label(generation)])

    def _read_events(self, reading: _Reading, events: list[Event], new: list[Row]) -> None:
        for event in events:
            if isinstance(event, TokenEvent):
                reading.num_committed += 1
            elif isinstance(event, RoundEvent | PrefillEvent | StateEvent):
                now = reading.submitted + event.time_s
                if self._own_steps and not isinstance(event, StateEvent):
                    insort(self._times, now)
                new.append(self._row(reading, event, now))
                reading.last_s = max(reading.last_s, now)
        if reading.is_final:
            del self._open[reading.lane]
            self._end_s = max(self._end_s or 0.0, reading.last_s)

    def _row(self, reading: _Reading, event: RoundEvent | PrefillEvent | StateEvent, now: float) -> Row:
        t1 = _round(self._clock(now))
        match event:
            case StateEvent():
                reading.is_final = event.state.is_final
                return ["state", reading.lane, t1, str(event.state), visible(event.detail)]
            case PrefillEvent():
                # What it did before in this lane ended when this chunk began, but for steps it did not take part in.
                t0 = t1 if event.cached else _round(self._clock(reading.last_s))
                donor = self._donor(reading.lane, event.tokens) if event.cached else 0
                return ["prefill", reading.lane, t0, t1, event.tokens, int(event.cached), event.prompt_tokens, donor]
        begin = max(reading.last_s, now - event.draft_s - event.verify_s)
        committed, reading.num_committed = reading.num_committed, 0
        return ["rounds", reading.lane, _round(self._clock(begin)), t1, 1, event.k, event.accepted, committed]

    def _read_steps(self, steps: Sequence[StepRecord], begin: float, new: list[Row]) -> None:
        first = bisect_right(steps, self._step_s, key=lambda step: step.time_s)
        for step in steps[first:]:
            self._step_s = step.time_s
            end = step.time_s + step.step_s
            if self._own_steps:
                own = bisect_right(self._times, end + SAME_S)
                is_own = own > bisect_right(self._times, step.time_s)
                del self._times[:own]
            else:
                is_own = end >= begin
            if step.tokens and is_own:
                t0, t1 = _round(self._clock(step.time_s)), _round(self._clock(step.time_s + step.step_s))
                decode = step.tokens - step.prefill_tokens - step.draft_tokens
                counts = [step.slots_used, step.cells_used, step.prefill_tokens, step.draft_tokens, decode]
                new.append(["step", t0, t1, 1, *counts, [list(use) for use in step.uses]])

    def _donor(self, lane: int, num_tokens: int) -> int:
        """A lane before this one with the same first tokens: the oldest that runs, else the newest that is over."""
        own = list(getattr(self._read[lane], "prompt_ids", ()))[:num_tokens]
        if len(own) < num_tokens:
            return 0
        alike = [other for other, gen in self._read.items() if other != lane and _first(gen, num_tokens) == own]
        running = [other for other in alike if other in self._open]
        return (running or alike[-1:] or [0])[0]

    def _bound(self) -> bool:
        """Drop the oldest lanes and put short rows together where there are too many; whether there were."""
        lanes = [row for row in self.rows if row[0] == "lane"]
        too_many_lanes, too_many_rows = len(lanes) > MAX_LANES, len(self.rows) > MAX_ROWS
        if too_many_lanes:
            self.rows = _without_before(self.rows, lanes[-MAX_LANES // 2])
            kept = {row[1] for row in self.rows if row[0] == "lane"}
            self._read = {lane: generation for lane, generation in self._read.items() if lane in kept}
        while too_many_rows and len(self.rows) > MAX_ROWS // 2:
            self.span_s *= 2
            self.rows = merge(self.rows, self.span_s)
        return too_many_lanes or too_many_rows


def _without_before(rows: list[Row], lane_row: Row) -> list[Row]:
    """The rows without the lanes before this one that are over, and without what happened before it."""
    over = {row[1] for row in rows if row[0] == "state" and row[3] in FINAL_STATES and row[1] < lane_row[1]}
    return [
        row
        for row in rows
        if (row[1] not in over if row[0] in ("lane", "state", "prefill", "rounds") else row[1] >= lane_row[2])
    ]


def merge(rows: list[Row], span_s: float) -> list[Row]:
    """Put neighbouring rounds of a lane, and neighbouring steps, together until each lasts ``span_s`` seconds."""
    merged: list[Row] = []
    last: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        kind = row[0]
        first = _MERGED.get(kind)
        if first is None:
            merged.append(row)
            if kind in ("prefill", "state"):
                last.pop(("rounds", row[1]), None)
            continue
        key = tuple(row[: first - 2])
        before = last.get(key)
        if before is not None and row[first - 1] - before[first - 2] <= span_s:
            before[first - 1] = row[first - 1]
            highest = () if kind == "rounds" else (first + 1, first + 2)
            for i in range(first, min(len(row), _USES)):
                before[i] = max(before[i], row[i]) if i in highest else before[i] + row[i]
            before[_USES:] = row[_USES:]
        else:
            last[key] = list(row)
            merged.append(last[key])
    return merged


def _first(generation: Any, num_tokens: int) -> list[int]:
    prompt = list(getattr(generation, "prompt_ids", ()))[:num_tokens]
    return prompt + list(getattr(generation, "tokens", ()))[: num_tokens - len(prompt)]


def _label(generation: Any) -> str:
    prompt, origin = generation.prompt, generation.origin
    text = prompt if isinstance(prompt, str) else str(prompt[-1].get("content", "")) if prompt else ""
    text = visible(" ".join(f"{origin}: {text}".split() if origin else text.split()))
    return shortened(text, LABEL_CHARS)


def shortened(text: str, length: int) -> str:
    """Return a text of at most so many characters, with a sign where the rest was.

    Example: ``shortened("a long prompt", 8)`` is ``"a long…"``.
    """
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _round(seconds: float) -> float:
    return round(seconds, 4)


class Lane:
    """One generation's rows, added up: what its label says."""

    def __init__(self, lane: int, begin_s: float, label: str) -> None:
        self.lane = lane
        self.begin_s = begin_s
        self.end_s = begin_s
        self.label = label
        self.state = str(State.WAITING)
        self.detail = ""
        self.tokens = self.rounds = self.drafted = self.accepted = self.prompt = self.cached = 0
        self.first_s: float | None = None
        self.first_tokens = 0
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        self.rows.append(row)
        match row:
            case ["state", _, t, state, detail]:
                self.state, self.detail, self.end_s = state, detail, max(self.end_s, t)
            case ["prefill", _, _, t1, tokens, cached, prompt, *_]:
                self.prompt, self.end_s = prompt, max(self.end_s, t1)
                self.cached += tokens if cached else 0
            case ["rounds", _, _, t1, rounds, drafted, accepted, committed]:
                if self.first_s is None:
                    self.first_s, self.first_tokens = t1, committed
                self.rounds += rounds
                self.drafted += drafted
                self.accepted += accepted
                self.tokens += committed
                self.end_s = max(self.end_s, t1)

    @property
    def tokens_per_second(self) -> float:
        seconds = self.end_s - self.first_s if self.first_s is not None else 0.0
        return (self.tokens - self.first_tokens) / seconds if seconds > 0 else 0.0


def lanes_of(rows: list[Row]) -> dict[int, Lane]:
    """Return the lanes of the rows, in order of submission."""
    lanes: dict[int, Lane] = {}
    for row in rows:
        if row[0] == "lane":
            lanes[row[1]] = Lane(row[1], row[2], row[3])
        elif row[0] in ("state", "prefill", "rounds", "held"):
            lanes[row[1]].add(row)
    return lanes
