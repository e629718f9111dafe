"""Replayed draft lengths against real runs: equal where the replay says it is exact, within its bounds elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.costs.model import CostModel
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.stats import Stats
from exsa_lab.errors import ConfigError
from exsa_lab.events import Source, TokenEvent
from exsa_lab.runtime.scripted import NextProbs
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.replay import Replay
from exsa_lab.trace.trace import Trace

VOCAB = 30
PIECES = [chr(ord("a") + i % 26) + str(i // 26) for i in range(VOCAB)]
LENGTHS = range(9)


def _mixed(right: NextProbs, wrong: NextProbs, share: float) -> NextProbs:
    """A draft whose best token is often the target's."""
    return lambda tokens: share * np.asarray(right(tokens)) + (1 - share) * np.asarray(wrong(tokens))


def _engine(seed: int, share: float, ends: tuple[int, ...] = ()) -> Engine:
    right, wrong = markov(VOCAB, seed), markov(VOCAB, seed + 1000)
    target = ScriptedModel(PIECES, right, ends=ends)
    return scripted_engine(target, ScriptedModel(PIECES, _mixed(right, wrong, share), ends=ends), lookup_history=False)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with _engine(7, 0.6) as engine:
        yield engine


def _run(engine: Engine, draft_length: int, prompt: str = "a0b0c0", **params: object) -> tuple[Trace, Stats]:
    options = {"max_tokens": 80, "chat": False, "drafter": "model", **params}
    gen = engine.generate(prompt, draft_length=draft_length, **options)
    return gen.trace, gen.stats


def _numbers(replayed: Replay) -> tuple[float, float]:
    return replayed.rounds, replayed.accepted


def test_the_recorded_length_is_replayed_exactly(engine: Engine) -> None:
    for length in LENGTHS:
        trace, stats = _run(engine, length)
        replayed = trace.replay(length)
        assert replayed.is_exact
        assert replayed.tokens == stats.generated_tokens
        assert _numbers(replayed) == (stats.rounds, stats.accepted_tokens)
        assert replayed.drafted == stats.drafted_tokens


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_other_lengths_agree_with_real_runs(seed: int, share: float) -> None:
    with _engine(seed, share) as engine:
        recorded, _ = _run(engine, 8)
        num_exact = 0
        for length in LENGTHS:
            _, stats = _run(engine, length)
            replayed = recorded.replay(length)
            assert replayed.fewest_rounds <= stats.rounds <= replayed.most_rounds
            assert replayed.fewest_rounds - 1e-9 <= replayed.rounds <= replayed.most_rounds + 1e-9
            if replayed.is_exact:
                num_exact += 1
                assert _numbers(replayed) == (stats.rounds, stats.accepted_tokens)
                assert replayed.drafted == stats.drafted_tokens
    # At least 0 and 8 themselves; all of them where no draft of 8 is accepted whole.
    assert num_exact >= (len(LENGTHS) if recorded.acceptance_by_position()[-1] == 0 else 2)


def test_end_tokens_end_drafts_and_texts(engine: Engine) -> None:
    for seed in range(4):
        with _engine(seed, 0.7, ends=(3, 17)) as ending:
            recorded, _ = _run(ending, 8)
            for length in LENGTHS:
                _, stats = _run(ending, length)
                replayed = recorded.replay(length)
                assert replayed.tokens == stats.generated_tokens
                assert replayed.fewest_rounds <= stats.rounds <= replayed.most_rounds
                if replayed.is_exact:
                    assert _numbers(replayed) == (stats.rounds, stats.accepted_tokens)
            assert recorded.replay(8).drafted == recorded.stats["drafted_tokens"]


def test_stop_texts_and_token_limits(engine: Engine) -> None:
    text = engine.generate("a0b0c0", max_tokens=80, chat=False).text
    for params in ({"stop": text[60:64]}, {"max_tokens": 1}, {"max_tokens": 2}, {"max_tokens": 7}):
        recorded, _ = _run(engine, 8, **params)
        for length in LENGTHS:
            _, stats = _run(engine, length, **params)
            replayed = recorded.replay(length)
            assert replayed.fewest_rounds <= stats.rounds <= replayed.most_rounds
            if replayed.is_exact:
                assert _numbers(replayed) == (stats.rounds, stats.accepted_tokens)


def test_longer_than_recorded_is_extrapolated_and_bounded(engine: Engine) -> None:
    recorded, _ = _run(engine, 2)
    _, stats = _run(engine, 6)
    replayed = recorded.replay(6)
    assert not replayed.is_exact
    assert replayed.unknown > 0
    assert replayed.fewest_rounds < replayed.most_rounds
    assert replayed.fewest_rounds <= stats.rounds <= replayed.most_rounds
    assert "extrapolated" in str(replayed)
    assert str(recorded.replay(2)).endswith("exact")


def test_a_plain_run_tells_nothing_about_drafts(engine: Engine) -> None:
    recorded, stats = _run(engine, 0)
    assert recorded.replay(0).rounds == stats.rounds
    assert recorded.replay(4).unknown > 0
    assert (recorded.replay(4).fewest_rounds, recorded.replay(4).most_rounds) == (1 + 16, 80)


def test_a_longer_record_knows_more(engine: Engine) -> None:
    unknown = [_run(engine, recorded)[0].replay(3).unknown for recorded in (1, 2, 4, 12)]
    assert unknown == sorted(unknown, reverse=True)
    assert unknown[-1] < unknown[0]


def _repeating_engine(seed: int) -> Engine:
    """A target that falls into cycles and out of them, so that lookup is often right and often wrong."""
    chain = np.random.default_rng(seed).permutation(VOCAB)

    def next_probs(tokens: tuple[int, ...]) -> np.ndarray:
        leaves = hash(tuple(tokens[-7:])) % 5 == 0
        best = hash(tuple(tokens[-4:])) % VOCAB if leaves else chain[tokens[-1]] % 9
        return 0.9 * np.eye(VOCAB)[best] + 0.1 / VOCAB

    return scripted_engine(ScriptedModel(PIECES, next_probs, ends=(20,)), lookup_history=False)


@pytest.mark.parametrize("recorded_with", [{"draft_length": 0}, {"draft_length": 8, "drafter": "ngram"}])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_lookup_is_replayed_exactly_from_any_run_that_no_model_drafted_for(
    recorded_with: dict[str, object], temperature: float
) -> None:
    accepted = drafted = 0.0
    for seed in range(4):
        with _repeating_engine(seed) as engine:
            options = {"temperature": temperature, "seed": seed}
            recorded, _ = _run(engine, **{**options, **recorded_with})
            for length in (0, 1, 3, 8, 16):
                _, stats = _run(engine, length, drafter="ngram", **options)
                replayed = recorded.replay(length, "ngram")
                assert replayed.is_exact
                assert replayed.drafter == "ngram"
                assert _numbers(replayed) == (stats.rounds, stats.accepted_tokens)
                assert replayed.drafted == stats.drafted_tokens
                assert replayed.most_rounds == replayed.fewest_rounds == stats.rounds
                accepted, drafted = accepted + replayed.accepted, drafted + replayed.drafted
    assert 0 < accepted < drafted  # both outcomes occur


def test_what_followed_an_earlier_messages_end_is_not_proposed(tmp_path: Path) -> None:
    end = 20
    cycle = ScriptedModel(PIECES, lambda tokens: np.eye(VOCAB)[(tokens[-1] + 1) % 5], ends=(end,))
    prompt = "".join(PIECES[token] for token in (0, 1, 2, 3, end, 4))
    with scripted_engine(cycle, lookup_history=False) as engine:
        recorded, _ = _run(engine, 0, prompt)
        loaded = Trace.load(recorded.save(tmp_path / "run.json"))
        assert loaded.end_ids == [end]
        for length in (2, 3, 8):
            _, stats = _run(engine, length, prompt, drafter="ngram")
            replayed = loaded.replay(length, "ngram")
            assert _numbers(replayed) == (stats.rounds, stats.accepted_tokens)
            assert replayed.drafted == stats.drafted_tokens
        whole = replace(loaded, end_ids=[]).replay(8, "ngram")
        assert whole.drafted > replayed.drafted  # the first draft would have gone on after the end


def test_lookup_is_replayed_from_a_run_a_model_drafted_for(engine: Engine) -> None:
    recorded, _ = _run(engine, 8)
    _, stats = _run(engine, 4, drafter="ngram")
    assert _numbers(recorded.replay(4, "ngram")) == (stats.rounds, stats.accepted_tokens)
    assert recorded.replay(4).drafter == "model"
    sampled, _ = _run(engine, 4, temperature=0.8, seed=1)
    with pytest.raises(ConfigError, match="greedy"):
        sampled.replay(4, "ngram")
    with pytest.raises(ConfigError, match="drafter"):
        recorded.replay(4, "magic")


def test_without_the_prompt_looked_up_drafts_are_known_only_where_a_round_began() -> None:
    cycle = {i: (i + 1) % 5 for i in range(VOCAB)}
    target = ScriptedModel(PIECES, lambda tokens: np.eye(VOCAB)[cycle[tokens[-1]]])
    with scripted_engine(target, lookup_history=False) as engine:
        recorded, stats = _run(engine, 8, drafter="ngram")
        recorded = replace(recorded, prompt_ids=[])  # as in files of older versions
        own, other = recorded.replay(8), recorded.replay(3)
        assert own.is_exact
        assert _numbers(own) == (stats.rounds, stats.accepted_tokens)
        assert not other.is_exact
        plain, _ = _run(engine, 0)
        _, stats = _run(engine, 3, drafter="ngram")
        assert other.fewest_rounds <= stats.rounds <= other.most_rounds
        with pytest.raises(ConfigError, match="prompt's tokens"):
            replace(plain, prompt_ids=[]).replay(3, "ngram")


def test_a_saved_trace_replays_alike(engine: Engine, tmp_path: object) -> None:
    recorded, _ = _run(engine, 8)
    loaded = Trace.load(recorded.save(f"{tmp_path}/run.json"))
    assert (
        loaded.prompt_ids
        == recorded.prompt_ids
        == engine.target.tokenize("a0b0c0", add_special=True, parse_special=False)
    )
    for drafter in (None, "ngram"):
        assert [loaded.replay(k, drafter) for k in LENGTHS] == [recorded.replay(k, drafter) for k in LENGTHS]


def test_a_file_without_the_prompts_tokens_still_loads(engine: Engine, tmp_path: object) -> None:
    recorded, _ = _run(engine, 8)
    data = recorded.to_json()
    del data["prompt_ids"], data["end_ids"]
    Path(f"{tmp_path}/old.json").write_text(json.dumps(data))
    loaded = Trace.load(f"{tmp_path}/old.json")
    assert loaded.prompt_ids == loaded.end_ids == []
    assert loaded.replay(3) == recorded.replay(3)


def test_sampled_runs_and_bad_lengths_are_refused(engine: Engine) -> None:
    sampled, _ = _run(engine, 4, temperature=0.8, seed=1)
    with pytest.raises(ConfigError, match="greedy"):
        sampled.replay(2)
    recorded, _ = _run(engine, 4)
    for wrong in (-1, 17, "auto", True, 2.0):
        with pytest.raises(ConfigError, match="draft_length"):
            recorded.replay(wrong)  # type: ignore[arg-type]


def test_an_empty_trace_has_no_rounds() -> None:
    replayed = Trace([]).replay(4)
    assert (replayed.rounds, replayed.tokens, replayed.tokens_per_round) == (0, 0, 0)


def test_seconds_follow_the_costs(engine: Engine) -> None:
    trace, stats = _run(engine, 4)
    costs = CostModel.from_measurements(dict.fromkeys(range(1, 10), 0.010), {1: 0.001})
    replayed = trace.replay(4)
    assert sum(replayed.by_length) == pytest.approx(stats.rounds)
    assert replayed.seconds(costs) == pytest.approx(0.010 * stats.rounds + 0.001 * stats.drafted_tokens)
    assert trace.replay(0).speed_up(costs) == pytest.approx(1.0)
    # A round costs what its own length costs, whatever the mean over rounds is.
    steep = CostModel.from_measurements({n: 0.010 * n**2 for n in range(1, 10)}, {1: 0.001})
    real = sum(steep.step_seconds(1 + event.k) for event in trace.rounds)
    assert replayed.seconds(steep) == pytest.approx(real + 0.001 * stats.drafted_tokens)


@given(outcomes=st.lists(st.sampled_from(["accepted", "resampled", "bonus"]), max_size=40), k=st.integers(0, 8))
@settings(max_examples=80, deadline=None)
def test_expected_rounds_lie_within_the_bounds(outcomes: list[str], k: int) -> None:
    events = [TokenEvent(i, i, "x", Source(outcome), 0.5, 0.5, None, i, "model") for i, outcome in enumerate(outcomes)]
    replayed = Trace(list(events), params={"max_tokens": 99, "draft_length": 8}).replay(k)
    assert replayed.fewest_rounds - 1e-9 <= replayed.rounds <= replayed.most_rounds + 1e-9
    assert replayed.accepted <= replayed.drafted + 1e-9
    assert replayed.is_exact <= (replayed.fewest_rounds == replayed.most_rounds)


@pytest.mark.real
def test_the_default_pair_replayed_against_real_runs() -> None:
    import exsa_lab as xl

    with xl.load(n_ctx=1024, n_seq_max=1) as engine:
        prompt, options = "Explain in a few sentences why the sky is blue.", {"max_tokens": 32, "drafter": "model"}
        recorded = engine.generate(prompt, draft_length=6, **options)
        for length in (1, 3):
            real = engine.generate(prompt, draft_length=length, **options)
            if real.tokens != recorded.tokens:
                continue  # numerics of the batch's shape: the text itself differs, so there is nothing to compare
            replayed = recorded.trace.replay(length)
            assert replayed.fewest_rounds <= real.stats.rounds <= replayed.most_rounds
            if replayed.is_exact:
                # The draft's own numerics may turn a near tie in a batch of another shape: a round or two.
                assert abs(replayed.rounds - real.stats.rounds) <= 2
        assert replace(recorded.trace.replay(6)).is_exact
