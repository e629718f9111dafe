"""Static batching, computed: batches that begin and end together, in recorded step times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exsa_lab.engine.stats import StepRecord
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.widgets.static_batching import Request, StepTimes, compared, requests_of, static_rows
from exsa_lab.widgets.timeline_rows import Recorder, lanes_of
from tests.widgets.fake import TimedGeneration

PIECES = [chr(ord("a") + i) for i in range(12)]
PLAIN = (0, 0, 1)


def _step(time_s: float, tokens: int, step_s: float) -> StepRecord:
    return StepRecord(time_s, tokens, 0, 0, 1, 1, 0, 1, 9, step_s, 0.0, step_s, 0.0)


def _request(lane: int, arrival_s: float, prompt: int, rounds: int, *, cached: int = 0, donor: int = 0) -> Request:
    return Request(lane, f"request {lane}", arrival_s, prompt, cached, donor, (PLAIN,) * rounds)


def _ends(rows: list[list[object]]) -> dict[int, float]:
    return {lane: made.end_s for lane, made in lanes_of(rows).items()}


FLAT = StepTimes([_step(0.0, 1, 0.1)])  # 0.1 s for each token
STEPS = StepTimes([_step(0, 1, 0.1), _step(1, 100, 0.1)])  # 0.1 s for each step of up to 100 tokens


def test_times_are_means_with_lines_between_them_and_pauses_that_belong_to_them() -> None:
    times = StepTimes([_step(0, 1, 0.1), _step(0.11, 1, 0.3), _step(5, 3, 0.4), _step(9, 0, 7.0)])
    assert times(1) == pytest.approx((0.11 + 0.3) / 2)
    assert times(2) == pytest.approx((times(1) + 0.4) / 2)
    assert times(6) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="no step"):
        StepTimes([])


def test_a_batch_begins_and_ends_together() -> None:
    requests = [_request(1, 0.0, 10, 3), _request(2, 0.0, 10, 6), _request(3, 0.05, 10, 2)]
    rows = static_rows(requests, STEPS, slots=2, step_tokens=100)
    # One step for both prompts, five decodes; then the third one's prompt and one decode.
    assert _ends(rows) == pytest.approx({1: 0.3, 2: 0.6, 3: 0.8})
    assert [row[1:] for row in rows if row[0] == "held"] == [[1, 0.3, 0.6]]
    assert [row[4] for row in rows if row[0] == "step"] == [2] * 6 + [1] * 2


def test_those_that_come_while_a_batch_runs_wait_for_its_end() -> None:
    rows = static_rows([_request(1, 0.0, 1, 11), _request(2, 0.15, 1, 1)], STEPS, slots=4, step_tokens=100)
    states = [row for row in rows if row[0] == "state" and row[1] == 2]
    assert states == [["state", 2, 1.1, "running", ""], ["state", 2, 1.2, "finished", ""]]


def test_prompts_are_read_in_chunks_without_what_is_cached() -> None:
    rows = static_rows([_request(1, 0.0, 50, 1, cached=10)], STEPS, slots=1, step_tokens=16)
    assert [row[4] for row in rows if row[0] == "prefill"] == [10, 16, 16, 8]
    assert _ends(rows) == pytest.approx({1: 0.3})


def test_a_shared_beginning_has_its_cells_once() -> None:
    requests = [
        _request(1, 0.0, 50, 2),
        _request(2, 0.0, 50, 2, cached=40, donor=1),
        _request(3, 0.0, 50, 2, cached=30, donor=9),
    ]
    rows = static_rows(requests, STEPS, slots=4, step_tokens=1000)
    assert [row[5] for row in rows if row[0] == "step"] == [50 + 10 + 50, 50 + 10 + 50 + 3]


@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 60), st.integers(1, 12)), min_size=1, max_size=9),
    st.integers(1, 4),
    st.integers(1, 40),
)
def test_nothing_is_lost(given_requests: list[tuple[float, int, int]], slots: int, step_tokens: int) -> None:
    requests = [_request(i + 1, *values) for i, values in enumerate(given_requests)]
    rows = static_rows(requests, FLAT, slots=slots, step_tokens=step_tokens)
    lanes = lanes_of(rows)
    for request in requests:
        lane = lanes[request.lane]
        assert lane.tokens == len(request.rounds)
        assert lane.state == "finished"
        assert sum(row[4] for row in lane.rows if row[0] == "prefill") == request.prompt_tokens
    steps = [row for row in rows if row[0] == "step"]
    assert sum(row[6] for row in steps) == sum(request.prompt_tokens for request in requests)
    assert sum(row[8] for row in steps) == sum(len(request.rounds) - 1 for request in requests)
    assert max(row[4] for row in steps) <= slots


def test_a_request_alone_takes_the_steps_that_it_took() -> None:
    with scripted_engine(ScriptedModel(PIECES, markov(12, 1), step_s=0.002), step_tokens=16) as engine:
        gen = engine.generate("abc" * 9, max_tokens=30, chat=False)
        recorder = Recorder(engine.started)
        recorder.read([gen], engine.steps)
        requests = requests_of([gen], recorder.rows)
        times = StepTimes(engine.steps)
        rows = static_rows(requests, times, slots=2, step_tokens=16)
    assert requests[0].prompt_tokens == 27
    static = lanes_of(rows)[gen.id]
    assert static.tokens == 30
    # Scheduled again, a lone request takes the same steps.
    expected = sum(times(step.tokens) for step in engine.steps if step.tokens)
    assert static.end_s - static.begin_s == pytest.approx(expected, abs=1e-3)


def test_only_the_last_stretch_of_work_is_looked_at() -> None:
    gens = [TimedGeneration(i, at).run(1.0) for i, at in ((1, 100.0), (2, 500.0), (3, 500.5))]
    recorder = Recorder()
    recorder.read(gens)
    assert [request.lane for request in requests_of(gens, recorder.rows)] == [2, 3]
    assert requests_of(gens, recorder.rows)[0].rounds == ((0, 0, 1),)


def test_it_is_compared_in_words() -> None:
    requests = [_request(1, 0.0, 10, 3), _request(2, 0.0, 10, 6)]
    rows = static_rows(requests, STEPS, slots=2, step_tokens=100)
    slower = static_rows(requests, STEPS, slots=1, step_tokens=100)
    assert compared(rows, slower) == (
        "Computed: a static batcher would have needed 0.90 s for these 2 requests instead of 0.60 s, and the first "
        "token would have come after 0.25 s on average instead of 0.10 s."
    )
    assert compared(rows, []) == ""
