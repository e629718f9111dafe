"""What is reported, when and in which order."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from exsa_lab.engine.commit import commit
from exsa_lab.engine.proposers import Draft
from exsa_lab.engine.reporting import CommittedRound, Later, Reporter, StepCount, publish_state
from exsa_lab.engine.scheduler import Work
from exsa_lab.engine.sequence import Sequence
from exsa_lab.errors import DecodeError
from exsa_lab.events import RoundEvent, Source, State
from exsa_lab.speculation.rejection_sampling import DraftCheck, Verdict
from tests.engine.parts import LETTERS, sequence


def test_all_is_done_later_even_where_one_thing_fails() -> None:
    done: list[int] = []

    def fail() -> None:
        raise DecodeError("no")

    later = Later(waits=True)
    for action in (lambda: done.append(1), fail, lambda: done.append(2)):
        later.do(action)
    assert not done
    with pytest.raises(DecodeError):
        later.flush()
    assert done == [1, 2]
    Later(waits=False).do(done.append, 3)
    assert done == [1, 2, 3]


class Learning:
    """Stands in for drafting and the prefill budget: notes what each is told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def observe_round(
        self, step: object, sequence: Sequence, draft: Draft, verdict: Verdict, committed: object
    ) -> None:
        self.told.append(("round", committed))

    def finish_step(
        self, step: object, num_tokens: int, num_sequences: int, seconds: float, draft_seconds: float
    ) -> None:
        self.told.append(("finish", num_tokens, num_sequences, seconds, draft_seconds))

    def observe(self, decoding: int, prefill_tokens: int, seconds: float) -> None:
        self.told.append(("prefill", decoding, prefill_tokens, seconds))


def reported(reporter: Reporter, *, is_decode: bool = True) -> Sequence:
    """One step of one sequence: a drafted token accepted, and the target's own."""
    running = sequence("abc")
    draft = Draft("model", tokens=[3], probs=[0.5], dists=[None]) if is_decode else Draft()
    verdict = Verdict(len(draft.tokens), 4, Source.BONUS, 0.5, None, [DraftCheck(3, 0.9, 0.5, None, True)][:is_decode])
    step = StepCount(begin=reporter.started + 1.0, verify_s=0.25, draft_s=0.125)
    reporter.decode(step, [Work(running, 1, is_decode, True)], {running.id: draft}, 2, 0.25)
    committed = commit(running, draft, verdict, LETTERS)
    reporter.round(CommittedRound(running, draft, verdict, committed, step, 2, elapsed=0.5, sample_s=0.0625))
    reporter.events(running)
    step.committed, step.end = reporter.started + 1.5, reporter.started + 2.0
    step.waiting, step.slots_used, step.cells_used = 3, 1, 5
    reporter.step(step)
    return running


def test_a_step_is_reported_in_statistics_events_records_and_learning() -> None:
    learning: Any = Learning()
    reporter = Reporter(LETTERS, learning, learning, waits=False)
    running = reported(reporter)

    stats = running.generation.stats
    assert (stats.rounds, stats.generated_tokens, stats.drafted_tokens, stats.accepted_tokens) == (1, 2, 1, 1)
    assert (stats.ttft_s, stats.verify_s, stats.draft_s, stats.sample_s) == (0.5, 0.25, 0.125, 0.0625)
    assert running.generation.text == "de"
    (event,) = (event for event in running.generation.events if isinstance(event, RoundEvent))
    assert (event.k, event.accepted, event.batch_tokens, event.batch_sequences) == (1, 1, 2, 1)
    assert (event.drafter, event.time_s) == ("model", 0.5)
    (record,) = reporter.steps
    assert (record.time_s, record.step_s, record.tokens, record.draft_tokens) == (1.0, 1.0, 2, 1)
    assert (record.committed_tokens, record.waiting, record.slots_used, record.cells_used) == (2, 3, 1, 5)
    assert (reporter.num_steps, reporter.num_generated) == (1, 2)
    # What drafts take says nothing of prompts, so the prefill budget is told nothing.
    assert learning.told == [("round", [3, 4]), ("finish", 2, 1, 0.5, 0.125)]


def test_a_prompts_step_teaches_the_prefill_budget_and_not_the_costs() -> None:
    learning: Any = Learning()
    reported(Reporter(LETTERS, learning, learning, waits=False), is_decode=False)
    assert [told[0] for told in learning.told] == ["round", "prefill"]
    assert learning.told[-1][1:] == (0, 1, 1.0)


def test_where_the_device_computes_nothing_is_told_before_the_flush() -> None:
    learning: Any = Learning()
    reporter = Reporter(LETTERS, learning, learning, waits=True)
    running = reported(reporter)
    assert running.num_generated == 2  # committed,
    assert not running.generation.text  # and not told of
    assert not learning.told
    reporter.flush()
    assert running.generation.text == "de"
    assert reporter.num_generated == 2


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("error", [None, DecodeError("the rest of the step failed.")])
def test_an_end_is_told_when_the_step_that_brought_it_is_on_record(waits: bool, error: DecodeError | None) -> None:
    learning: Any = Learning()
    reporter = Reporter(LETTERS, learning, learning, waits=waits)
    steps: list[int] = []
    with pytest.raises(DecodeError) if error else nullcontext(), reporter.on_record():
        running = reported(reporter)
        running.generation.on_end(lambda: steps.append(len(reporter.steps)), inline=True)
        reporter.end(running, State.FINISHED, "stop")
        assert not running.generation.state.is_final
        if error:
            raise error
    assert steps == [1]
    assert running.generation.text == "de"
    assert running.generation.events[-1].state is State.FINISHED  # type: ignore[union-attr]


def test_between_steps_an_end_is_told_at_once() -> None:
    learning: Any = Learning()
    running = sequence("abc")
    Reporter(LETTERS, learning, learning, waits=True).end(running, State.CANCELLED, "enough")
    assert running.generation.state is State.CANCELLED


def test_a_change_of_state_is_told_at_once() -> None:
    running = sequence("abc")
    publish_state(running, State.RUNNING)
    assert running.generation.state is State.RUNNING
