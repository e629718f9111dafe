"""What the benchmarks compute from what they measured."""

from __future__ import annotations

import itertools

import pytest

from exsa_lab.bench.baselines.bare import BareRun
from exsa_lab.bench.batching import _Contest, python_share
from exsa_lab.bench.equivalence import Divergence, divergences
from exsa_lab.bench.latency import gaps_between, times_of
from exsa_lab.bench.speculation import _all_texts, _texts
from exsa_lab.bench.varied import VARIED
from exsa_lab.bench.workloads import WORKLOADS, short_prompts
from exsa_lab.engine.stats import StepRecord
from exsa_lab.testing import ScriptedModel, markov, scripted_engine


def step(time_s: float, sequences: int, verify_s: float, prefill: int = 0) -> StepRecord:
    return StepRecord(
        time_s=time_s,
        tokens=sequences,
        prefill_tokens=prefill,
        draft_tokens=0,
        committed_tokens=sequences,
        sequences=sequences,
        waiting=0,
        slots_used=sequences,
        cells_used=0,
        step_s=verify_s,
        draft_s=0.0,
        verify_s=verify_s,
        sample_s=0.0,
    )


def test_python_share_counts_full_decode_steps_and_what_lies_between_them() -> None:
    steps = [
        step(0.0, 16, 0.9),
        step(1.0, 16, 0.8),
        step(2.0, 15, 0.1),
        step(3.0, 16, 0.1, prefill=8),
        step(4.0, 16, 1),
    ]
    assert abs(python_share(steps, 16) - 0.15) < 1e-9  # 0.1 + 0.2 of 2 seconds; the last step has no end
    assert python_share(steps[:1], 16) == 0.0


def test_gaps_are_those_that_touch_the_span() -> None:
    times = [0.0, 1.0, 2.0, 3.5, 4.0]
    assert gaps_between(times, 1.5, 3.0) == [1.0, 1.5]
    assert gaps_between(times, -1.0, 9.0) == [1.0, 1.0, 1.5, 0.5]


def test_round_times_are_on_the_clock_of_the_caller() -> None:
    with scripted_engine(ScriptedModel(list("abcd"), markov(4, 1))) as engine:
        generation = engine.generate("ab", max_tokens=5, draft_length=0, chat=False)
    times = times_of(generation)
    assert len(times) == 5
    assert times == sorted(times)
    assert times[0] >= generation.submitted


def test_divergences_name_the_first_difference_with_its_margin() -> None:
    run = BareRun(tokens=[1, 2, 3], margins=[5.0, 0.1, 0.2])
    outputs = [[1, 2, 3], [1, 9, 3], [1, 2], [1, 2, 3, 4]]
    assert list(divergences([run] * 4, outputs)) == [
        Divergence(1, 1, 0.1),
        Divergence(2, 1, 0.1),
        Divergence(3, 2, 0.2),
    ]


def test_prompts_are_many_and_no_two_alike() -> None:
    assert all(len(set(prompts)) == 8 for prompts in WORKLOADS.values())
    assert len(set(VARIED)) == 50
    assert len(set(short_prompts(216))) == 216


def test_rounds_of_speculation_take_one_prompt_after_the_other_and_the_warm_up_none() -> None:
    prompts = WORKLOADS["repeat"]
    seen = [prompt for number in range(1, 9) for prompt in _texts(prompts, number)]
    assert sorted(seen) == sorted(prompts)
    assert _texts(prompts, 9) == _texts(prompts, 1)
    assert not set(_texts(prompts, 0)) & set(prompts)


def test_each_text_counts_once_with_its_middle_ratio() -> None:
    # Seven texts as fast as plain and one at twice its speed; in one of three rounds it was disturbed.
    plain = [10.0, 20.0] * 12
    auto = [*plain[:7], 40.0, *plain[8:15], 4.0, *plain[16:23], 40.0]
    assert _all_texts(auto, plain) == pytest.approx(8 / 7.5)
    assert _all_texts([5.0, 5.0], [10.0, 0.0]) == pytest.approx(0.5)


def test_batches_of_one_run_share_no_prompt() -> None:
    with scripted_engine(ScriptedModel(list("abcd"), markov(4, 1))) as engine:
        contest = _Contest(engine, (1, 4, 16), 8)
        batches = [contest._batches(count, number) for number in range(6) for count in (1, 4, 16)]
    assert [[len(batch) for batch in one] for one in batches[:3]] == [[1] * 4, [4], [16]]
    prompts = list(itertools.chain.from_iterable(itertools.chain.from_iterable(batches)))
    assert len(prompts) == len(set(prompts)) == 144
