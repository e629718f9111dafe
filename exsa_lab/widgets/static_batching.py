"""How a static batcher would have scheduled recorded requests, computed: what continuous batching is compared with.

A static batcher takes the requests that wait, as many as it has slots, reads their prompts, and decodes in lockstep
until the last of them is done; only then it takes the next ones. The same requests with the same rounds, drafts and
cached prompt tokens are scheduled so here, and each step gets the mean time of recorded steps of as many tokens. A
request that is done leaves no padding behind to be computed, which is more than many static batchers can do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any

from exsa_lab.engine.stats import StepRecord
from exsa_lab.events import PrefillEvent, RoundEvent, TokenEvent
from exsa_lab.widgets.timeline_rows import MIN_SPAN_S, Row, lanes_of, merge

MAX_ROWS = 6_000
MOST_PAUSE_S = 0.02
"""Steps with a longer pause between them do not follow at once: there was nothing to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """A recorded request, as a batcher sees it."""

    lane: int
    label: str
    arrival_s: float
    prompt_tokens: int
    cached: int
    """Prompt tokens that need not be computed."""
    donor: int
    """The lane that has the same cells; 0 where unknown."""
    rounds: tuple[tuple[int, int, int], ...]
    """Drafted, accepted and committed tokens; the first round is that of the prompt."""


def requests_of(generations: Iterable[Any], rows: Sequence[Row]) -> list[Request]:
    """Return the requests among the rows' lanes that are over and have text, in their order.

    Only those since the engine was idle last: that time is cut short on the rows' clock, and a slower batcher would run
    into the next requests.
    """
    lanes = lanes_of(list(rows))
    since = max((row[1] for row in rows if row[0] == "idle"), default=0.0)
    found = []
    for generation in generations:
        lane = lanes.get(generation.id)
        if lane is None or lane.begin_s < since or not generation.state.is_final:
            continue
        rounds, committed = [], 0
        for event in generation.events:
            if isinstance(event, TokenEvent):
                committed += 1
            elif isinstance(event, RoundEvent):
                rounds.append((event.k, event.accepted, committed))
                committed = 0
        prefill = next((event for event in generation.events if isinstance(event, PrefillEvent)), None)
        if rounds and prefill is not None:
            size = prefill.prompt_tokens
            cached = min(prefill.tokens, size - 1) if prefill.cached else 0
            donor = next((row[7] for row in lane.rows if row[0] == "prefill" and row[5]), 0)
            found.append(Request(lane.lane, lane.label, lane.begin_s, size, cached, donor, tuple(rounds)))
    return found


class StepTimes:
    """What a step of so many tokens took: means of recorded steps, straight lines between them.

    A step's time ends where the next one begins, if that follows at once. Means keep the sum: what was recorded takes
    as long when it is scheduled again.
    """

    def __init__(self, steps: Iterable[StepRecord]) -> None:
        """Raises ValueError where no step computed anything."""
        seconds: Mapping[int, list[float]] = defaultdict(list)
        for step, after in pairwise([*steps, None]):
            if step is None or not step.tokens:
                continue
            pause = after.time_s - step.time_s - step.step_s if after is not None else 0.0
            seconds[step.tokens].append(step.step_s + (pause if 0 < pause < MOST_PAUSE_S else 0.0))
        if not seconds:
            raise ValueError("no step was recorded")
        self._sizes = sorted(seconds)
        self._seconds = [fmean(seconds[size]) for size in self._sizes]

    def __call__(self, tokens: int) -> float:
        """Seconds of a step; beyond the largest recorded one its time per token holds."""
        sizes, seconds = self._sizes, self._seconds
        if tokens >= sizes[-1]:
            return seconds[-1] * tokens / sizes[-1]
        if tokens <= sizes[0]:
            return seconds[0]
        i = bisect_left(sizes, tokens)
        share = (tokens - sizes[i - 1]) / (sizes[i] - sizes[i - 1])
        return seconds[i - 1] + share * (seconds[i] - seconds[i - 1])


def static_rows(requests: Sequence[Request], times: StepTimes, *, slots: int, step_tokens: int) -> list[Row]:
    """Return the rows of a timeline (see `timeline_rows`) on which a static batcher serves the requests."""
    waiting = sorted(requests, key=lambda request: request.arrival_s)
    rows: list[Row] = [["lane", request.lane, request.arrival_s, request.label] for request in waiting]
    now = 0.0
    while waiting:
        now = max(now, waiting[0].arrival_s)
        arrived = [request for request in waiting if request.arrival_s <= now]
        batch = _Batch(arrived[: max(1, slots)], times, now)
        batch.read_prompts(step_tokens)
        batch.decode()
        now = batch.now
        rows += batch.rows
        waiting = [request for request in waiting if request not in batch.requests]
    span = MIN_SPAN_S
    merged = merge(rows, span)
    while len(merged) > MAX_ROWS and span < 60:
        span *= 2
        merged = merge(rows, span)
    return merged


class _Batch:
    """Requests that begin and end together."""

    def __init__(self, requests: list[Request], times: StepTimes, now: float) -> None:
        self.requests = requests
        self.now = now
        self.rows: list[Row] = [["state", request.lane, _short(now), "running", ""] for request in requests]
        self._times = times
        self._cells = {request.lane: request.cached for request in requests}
        self._shared = _shared_beginnings(requests)

    def read_prompts(self, step_tokens: int) -> None:
        """Compute the prompts in chunks, one after the other; the last chunk of each gives its first token."""
        left = {request.lane: request.prompt_tokens - request.cached for request in self.requests}
        for request in self.requests:
            if request.cached:
                at = _short(self.now)
                self.rows.append(
                    ["prefill", request.lane, at, at, request.cached, 1, request.prompt_tokens, request.donor]
                )
        while any(left.values()):
            budget = max(1, step_tokens)
            chunks: list[tuple[Request, int]] = []
            for request in self.requests:
                size = min(left[request.lane], budget)
                if size:
                    chunks.append((request, size))
                    left[request.lane] -= size
                    self._cells[request.lane] += size
                    budget -= size
            begin = self._step(prefill=sum(size for _, size in chunks))
            for request, size in chunks:
                lane, span = request.lane, [_short(begin), _short(self.now)]
                self.rows.append(["prefill", lane, *span, size, 0, request.prompt_tokens, 0])
                if not left[lane]:
                    at = _short(self.now)
                    self.rows.append(["rounds", lane, at, at, 1, 0, 0, request.rounds[0][2]])
                    if len(request.rounds) == 1:
                        self.rows.append(["state", lane, at, "finished", ""])

    def decode(self) -> None:
        """Decode in lockstep until the last one is done; every slot is held until then."""
        ends: dict[int, float] = {request.lane: self.now for request in self.requests}
        for number in range(1, max(len(request.rounds) for request in self.requests)):
            running = [request for request in self.requests if number < len(request.rounds)]
            for request in running:
                self._cells[request.lane] += request.rounds[number][2]
            draft = sum(request.rounds[number][0] for request in running)
            begin = self._step(decode=len(running), draft=draft)
            for request in running:
                span = [_short(begin), _short(self.now)]
                self.rows.append(["rounds", request.lane, *span, 1, *request.rounds[number]])
                if number == len(request.rounds) - 1:
                    self.rows.append(["state", request.lane, _short(self.now), "finished", ""])
                    ends[request.lane] = self.now
        for lane, end in ends.items():
            if end < self.now:
                self.rows.append(["held", lane, _short(end), _short(self.now)])

    def _step(self, *, prefill: int = 0, decode: int = 0, draft: int = 0) -> float:
        """Let the time of a step pass; returns when it began."""
        begin = self.now
        self.now += self._times(prefill + decode + draft)
        span = [_short(begin), _short(self.now)]
        uses = [
            [slot, lane, size, *self._shared[lane]] for slot, (lane, size) in enumerate(self._cells.items()) if size
        ]
        cells = sum(size - shared for _, _, size, shared, _ in uses)
        self.rows.append(["step", *span, 1, len(self.requests), cells, prefill, draft, decode, uses])
        return begin


def _shared_beginnings(requests: Sequence[Request]) -> dict[int, tuple[int, int]]:
    """How many cells of a cached beginning lie in another slot of the batch, and in which: of the lane it was taken
    from, or of the first one with the same beginning."""
    found: dict[int, tuple[int, int]] = {}
    there: dict[int, tuple[int, int]] = {}  # lane, in the batch or not -> cells of it, and their slot
    for slot, request in enumerate(requests):
        most, same_as = there.get(request.donor, (0, 0))
        found[request.lane] = (min(request.cached, most), same_as)
        there[request.lane] = (request.prompt_tokens, slot)
        if request.donor:
            there.setdefault(request.donor, (request.cached, slot))
    return found


def compared(rows: Sequence[Row], computed: Sequence[Row]) -> str:
    """Say what the same requests took both ways; "" where nothing was computed."""
    real, static = lanes_of(list(rows)), lanes_of(list(computed))
    both = [(real[lane], static[lane]) for lane in static if lane in real]
    if not both:
        return ""
    sides = list(zip(*both, strict=True))
    ends = [max(lane.end_s for lane in side) - min(lane.begin_s for lane in side) for side in sides]
    firsts = [fmean((lane.first_s or lane.end_s) - lane.begin_s for lane in side) for side in sides]
    return (
        f"Computed: a static batcher would have needed {ends[1]:.2f} s for these {len(both)} requests instead of "
        f"{ends[0]:.2f} s, and the first token would have come after {firsts[1]:.2f} s on average instead of "
        f"{firsts[0]:.2f} s."
    )


def _short(seconds: float) -> float:
    return round(seconds, 4)
