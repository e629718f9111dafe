"""What a step did, and telling of it: statistics, events, and what drafting and prefill learn.

Nothing here decides what a later token is. Where the device computes by itself, a step's reports wait until the next
decode is submitted, so that the device does not wait for Python.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ParamSpec

from exsa_lab.costs.prefill_budget import PrefillBudget
from exsa_lab.engine.commit import Committed, emit
from exsa_lab.engine.drafting import Drafting, DraftStep
from exsa_lab.engine.proposers import Draft
from exsa_lab.engine.scheduler import Work
from exsa_lab.engine.sequence import Sequence
from exsa_lab.engine.stats import StepRecord
from exsa_lab.errors import ExsaError, as_own, shown
from exsa_lab.events import RoundEvent, State, StateEvent
from exsa_lab.runtime.protocol import Model
from exsa_lab.speculation.alternatives import Look
from exsa_lab.speculation.rejection_sampling import Verdict

P = ParamSpec("P")
MAX_STEP_RECORDS = 20_000
MAX_DEFECTS = 5


class Later:
    """A queue of what can be done while the device computes. Owned by the engine thread.

    Where a decode is computed by the time it was submitted there is nothing to wait for: everything is done at once.

    Example::

        later = Later(waits=True)
        later.do(print, "done")  # nothing yet
        later.flush()            # done
    """

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._queue: deque[Callable[[], object]] = deque()

    def do(self, action: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call ``action`` at the next `flush`, in order, or at once."""
        if self._waits:
            self._queue.append(lambda: action(*args, **kwargs))
        else:
            action(*args, **kwargs)

    def flush(self) -> None:
        """Do all that waits; raises the first error once all was done."""
        error: BaseException | None = None
        while self._queue:
            try:
                self._queue.popleft()()
            except BaseException as raised:  # what comes after it belongs to other sequences, too
                error = error or raised
        if error is not None:
            raise error


@dataclass(slots=True)
class StepCount:
    """What a step did so far. Times in seconds."""

    begin: float
    """`time.perf_counter` when it began."""
    drafting: DraftStep = field(default_factory=DraftStep)
    draft_s: float = 0.0
    verify_s: float = 0.0
    sample_s: float = 0.0
    tokens: int = 0
    prefill_tokens: int = 0
    draft_tokens: int = 0
    committed_tokens: int = 0
    sequences: int = 0
    decoding: int = 0
    committed: float | None = None
    """`time.perf_counter` when its tokens were committed; None where it computed nothing."""
    end: float = 0.0
    waiting: int = 0
    """Sequences, slots and cells at its end."""
    slots_used: int = 0
    cells_used: int = 0
    slots: bytes = b""
    """As `StepRecord.slots`."""


@dataclass(frozen=True, slots=True)
class CommittedRound:
    """One sequence's round, committed and still to be reported."""

    sequence: Sequence
    draft: Draft
    verdict: Verdict
    committed: Committed
    step: StepCount
    batch_tokens: int
    elapsed: float
    """Seconds since its generation was submitted."""
    sample_s: float
    looks: list[Look] | None = None
    """At each verified token, where alternatives are asked for."""

    @property
    def num_accepted(self) -> int:
        """Tokens committed that somebody had proposed."""
        return 0 if self.draft.is_forced else self.committed.num_accepted

    @property
    def num_forced(self) -> int:
        """Tokens committed of which there was no choice."""
        return len(self.committed.forced) + self.committed.num_accepted - self.num_accepted


class Reporter:
    """Reports steps, decodes and rounds, in order. Owned by the engine thread."""

    def __init__(self, model: Model, drafting: Drafting, prefill: PrefillBudget, *, waits: bool) -> None:
        """``waits``: whether decodes are computed asynchronously, see `Later`."""
        self.started = time.perf_counter()
        self.steps: deque[StepRecord] = deque(maxlen=MAX_STEP_RECORDS)
        self.num_steps = 0
        self.num_generated = 0
        self.failures: dict[int, ExsaError] = {}
        """What was raised while a sequence was reported, by its id; the loop ends it."""
        self.defects: deque[str] = deque(maxlen=MAX_DEFECTS)
        """What was raised by learning, which is nobody's and ends nothing."""
        self._model = model
        self._drafting = drafting
        self._prefill = prefill
        self._later = Later(waits=waits)
        self._is_in_step = False
        self._ends: list[tuple[Sequence, State, str]] = []

    @contextmanager
    def on_record(self) -> Iterator[None]:
        """Around a step: who waits for an end finds the step that brought it among `steps`, and counted."""
        self._is_in_step = True
        try:
            yield
        finally:
            self._is_in_step = False
            ends, self._ends = self._ends, []
            if ends:
                self.flush()
            for sequence, state, detail in ends:
                publish_state(sequence, state, detail)

    def end(self, sequence: Sequence, state: State, detail: str) -> None:
        """Tell that a sequence is over: at once, or when the step that runs is over."""
        if self._is_in_step:
            self._ends.append((sequence, state, detail))
        else:
            publish_state(sequence, state, detail)

    def flush(self) -> None:
        """Report what still waits."""
        self._later.flush()

    def decode(self, step: StepCount, work: list[Work], drafts: Mapping[int, Draft], num_tokens: int, s: float) -> None:
        """The target computed ``num_tokens`` for this work in ``s`` seconds."""
        self._later.do(self.learn, self._count, step, work, drafts, num_tokens, s)

    def round(self, done: CommittedRound) -> None:
        """A sequence's round was committed."""
        self._later.do(self._own, done.sequence, self._tell, done)

    def events(self, sequence: Sequence) -> None:
        """A sequence's part of the step is over: give its events to those who listen."""
        self._later.do(self._own, sequence, publish, sequence)

    def step(self, step: StepCount) -> None:
        """A step ended."""
        self._later.do(self.learn, self._learn_drafting, step)
        self._later.do(self.learn, self._record, step)

    def _own(self, sequence: Sequence, action: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """What is raised belongs to this sequence."""
        try:
            action(*args, **kwargs)
        except BaseException as error:
            self.failures.setdefault(sequence.id, as_own(error, "the round could not be reported"))

    def learn(self, action: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """What is raised belongs to nobody: the texts are right, only less is learned."""
        try:
            action(*args, **kwargs)
        except BaseException as error:
            self.defects.append(f"Learning from a step failed: {shown(error)}.")

    def _count(
        self, step: StepCount, work: list[Work], drafts: Mapping[int, Draft], num_tokens: int, seconds: float
    ) -> None:
        step.tokens += num_tokens
        step.sequences += len(work)
        for item in work:
            if item.is_decode:
                step.decoding += 1
            else:
                step.prefill_tokens += item.num_tokens
        for draft in drafts.values():
            step.draft_tokens += draft.num_proposed

    def _learn_drafting(self, step: StepCount) -> None:
        """What the step's drafts were worth, and what the step took."""
        # Tokens of a prompt have no logits and longer attention: they cost something else.
        if step.committed is not None and not step.prefill_tokens:
            seconds = step.committed - step.begin
            self._drafting.finish_step(step.drafting, step.tokens, step.sequences, seconds, step.draft_s)

    def _tell(self, done: CommittedRound) -> None:
        """Events, statistics and learning of one round."""
        sequence, committed, step = done.sequence, done.committed, done.step
        emit(sequence, done.draft, done.verdict, committed, self._model, done.looks)
        self._drafting.observe_round(step.drafting, sequence, done.draft, done.verdict, committed.tokens)
        if committed.forced and sequence.ngrams is not None:
            sequence.ngrams.learn(committed.forced)
        _add_to_stats(done)
        step.committed_tokens += len(committed.tokens) + len(committed.forced)
        sequence.emitter.add(_round_event(done))

    def _record(self, step: StepCount) -> None:
        self.num_steps += 1
        self.num_generated += step.committed_tokens
        seconds = step.end - step.begin
        if not step.draft_tokens:  # The time that drafts take says nothing about prompts.
            self._prefill.observe(step.decoding, step.prefill_tokens, seconds)
        self.steps.append(
            StepRecord(
                time_s=step.begin - self.started,
                tokens=step.tokens,
                prefill_tokens=step.prefill_tokens,
                draft_tokens=step.draft_tokens,
                committed_tokens=step.committed_tokens,
                sequences=step.sequences,
                waiting=step.waiting,
                slots_used=step.slots_used,
                cells_used=step.cells_used,
                step_s=seconds,
                draft_s=step.draft_s,
                verify_s=step.verify_s,
                sample_s=step.sample_s,
                slots=step.slots,
            )
        )


def publish_state(sequence: Sequence, state: State, detail: str = "") -> None:
    """Tell at once that a sequence changed state."""
    sequence.emitter.add(StateEvent(state, detail, sequence.age()))
    publish(sequence)


def publish(sequence: Sequence) -> None:
    """Give a sequence's complete events to those who listen."""
    sequence.generation.publish(sequence.emitter.take())


def _add_to_stats(done: CommittedRound) -> None:
    stats, draft, step = done.sequence.generation.stats, done.draft, done.step
    if stats.rounds == 0:
        stats.ttft_s = done.elapsed
    stats.decode_s = done.elapsed - stats.ttft_s
    stats.rounds += 1
    stats.generated_tokens += len(done.committed.tokens) + len(done.committed.forced)
    stats.forced_tokens += done.num_forced
    stats.drafted_tokens += draft.num_proposed
    stats.accepted_tokens += done.num_accepted
    stats.draft_s += step.draft_s
    stats.verify_s += step.verify_s
    stats.sample_s += done.sample_s
    stats.draft_reasons[draft.reason] = stats.draft_reasons.get(draft.reason, 0) + 1


def _round_event(done: CommittedRound) -> RoundEvent:
    draft, step = done.draft, done.step
    return RoundEvent(
        round=done.committed.round,
        k=draft.num_proposed,
        accepted=done.num_accepted,
        batch_tokens=done.batch_tokens,
        batch_sequences=step.sequences,
        draft_s=step.draft_s,
        verify_s=step.verify_s,
        sample_s=done.sample_s,
        reason=draft.reason,
        drafter=draft.drafter if draft.num_proposed else None,
        time_s=done.elapsed,
        looked_up_in=draft.looked_up_in if draft.tokens else None,
    )
