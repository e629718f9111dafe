"""The whole engine on scripted models: exact expectations, no weights."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.config import EngineConfig
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.assembly import Models
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.errors import ConfigError, EngineClosed, PromptTooLong, QueueFull
from exsa_lab.events import (
    Event,
    PrefillEvent,
    RejectedEvent,
    Rejection,
    RoundEvent,
    Source,
    State,
    StateEvent,
    TokenEvent,
    from_json,
    to_json,
)
from exsa_lab.runtime.protocol import ProgressCallback
from exsa_lab.testing import NextProbs, ScriptedModel, markov, scripted_engine
from exsa_lab.trace.trace import Trace
from tests.gate import Gate, held

LETTERS = [chr(ord("a") + i) for i in range(12)]


def model(probs: NextProbs, **options: object) -> ScriptedModel:
    return ScriptedModel([*LETTERS, "."], probs, ends=[12], **options)  # type: ignore[arg-type]


def endless(seed: int, sharpness: float = 2.0) -> NextProbs:
    """A random model that never says the end token."""
    inner = markov(12, seed, sharpness=sharpness)
    return lambda tokens: [*inner(tokens), 0.0]  # type: ignore[misc]


def greedy_text(probs: NextProbs, prompt: str, count: int) -> str:
    """Plain decoding, written out."""
    tokens = tuple(LETTERS.index(c) for c in prompt)
    for _ in range(count):
        tokens += (int(np.argmax(probs(tokens))),)
    return "".join(LETTERS[t] for t in tokens[len(prompt) :])


@pytest.mark.parametrize("k", range(7))
@pytest.mark.parametrize("draft_seed", [1, 2], ids=["perfect draft", "poor draft"])
def test_greedy_text_does_not_depend_on_the_draft(k: int, draft_seed: int) -> None:
    with scripted_engine(model(endless(1)), model(endless(draft_seed))) as engine:
        gen = engine.generate("abc", max_tokens=40, draft_length=k)
    assert gen.text == greedy_text(endless(1), "abc", 40)
    assert gen.finish_reason == "length"
    assert gen.state == "finished"
    if draft_seed == 1 and k:
        assert gen.stats.acceptance_rate == 1.0
        assert gen.stats.rounds < 40


@settings(max_examples=25, deadline=None)
@given(
    prompts=st.lists(st.text(LETTERS, min_size=1, max_size=20), min_size=1, max_size=9),
    lengths=st.lists(st.integers(0, 5), min_size=9, max_size=9),
    step_tokens=st.integers(4, 24),
)
def test_a_batch_gives_each_prompt_the_text_it_has_alone(
    prompts: list[str], lengths: list[int], step_tokens: int
) -> None:
    target, draft = model(endless(1)), model(endless(1, 2.5))
    with scripted_engine(target, draft, n_seq_max=4, n_ctx=96, step_tokens=step_tokens) as engine:
        gens = [engine.submit(p, max_tokens=12, draft_length=k) for p, k in zip(prompts, lengths, strict=False)]
        for prompt, gen in zip(prompts, gens, strict=True):
            assert gen.result(timeout=60) == greedy_text(endless(1), prompt, 12)
        assert engine.status().slots_used == 0


def test_seeded_sampling_does_not_depend_on_the_company() -> None:
    def texts(order: list[int]) -> dict[int, str]:
        with scripted_engine(model(endless(1)), model(endless(2)), n_seq_max=3) as engine:
            gens = {i: engine.submit("abc", max_tokens=30, temperature=1.0, seed=i, draft_length=i % 4) for i in order}
            return {i: gen.result(timeout=60) for i, gen in gens.items()}

    assert texts(list(range(8))) == texts(list(reversed(range(8))))


def test_a_seed_repeats_and_another_one_does_not() -> None:
    with scripted_engine(model(endless(1)), model(endless(2))) as engine:
        runs = [engine.generate("ab", max_tokens=30, temperature=1.0, seed=s).text for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def test_results_do_not_depend_on_the_prefix_cache() -> None:
    with scripted_engine(model(endless(1)), model(endless(2))) as engine:
        cold = engine.generate("abcdefgh", max_tokens=20, draft_length=3)
        warm = engine.generate("abcdefgh", max_tokens=20, draft_length=3)
        branch = engine.generate("abcdeaaa", max_tokens=20, draft_length=3)
    assert cold.stats.cached_prompt_tokens == 0
    assert warm.stats.cached_prompt_tokens == 7
    assert branch.stats.cached_prompt_tokens == 5
    assert warm.text == cold.text
    assert branch.text == greedy_text(endless(1), "abcdeaaa", 20)


def test_a_step_records_what_every_slot_held() -> None:
    with scripted_engine(model(endless(1)), model(endless(2)), n_seq_max=3) as engine:
        with held(engine):
            first = engine.submit("abcdefgh", max_tokens=40, draft_length=3)
            gens = [first, *(engine.submit("abcdefgh", max_tokens=12, draft_length=2) for _ in range(3))]
        for gen in gens:
            gen.result(timeout=60)
        steps = engine.steps
    for step in steps:
        assert sum(use.cells - use.shared for use in step.uses) == step.cells_used
        assert sum(use.generation > 0 for use in step.uses) == step.slots_used
    assert {use.generation for step in steps for use in step.uses} == {0, *(gen.id for gen in gens)}
    assert any(use.shared for step in steps for use in step.uses)


def test_a_full_cache_preempts_and_the_texts_stay_right() -> None:
    with scripted_engine(model(endless(1)), model(endless(2)), n_ctx=48, n_seq_max=4) as engine:
        with held(engine):
            gens = [engine.submit(p, max_tokens=25, draft_length=2) for p in ("abc", "bcd", "cde", "def")]
        for prompt, gen in zip(("abc", "bcd", "cde", "def"), gens, strict=True):
            assert gen.result(timeout=60) == greedy_text(endless(1), prompt, 25)
        assert sum(gen.stats.preemptions for gen in gens) > 0


def test_a_context_that_fills_up_ends_the_text() -> None:
    with scripted_engine(model(endless(1)), n_ctx=32) as engine:
        gen = engine.generate("abcd", max_tokens=100)
    assert gen.finish_reason == "length"
    assert 4 + len(gen.tokens) == 33  # the last one needs no cell any more
    assert gen.text == greedy_text(endless(1), "abcd", 29)


def counting(tokens: tuple[int, ...]) -> list[float]:
    """a b c d ... l . and the end."""
    following = min(tokens[-1] + 1, 12)
    return [float(i == following) for i in range(13)]


@pytest.mark.parametrize("k", [0, 1, 3, 6])
def test_an_end_token_inside_an_accepted_run_ends_the_text_there(k: int) -> None:
    with scripted_engine(model(counting), model(counting)) as engine:
        gen = engine.generate("a", max_tokens=50, draft_length=k)
    assert gen.text == "bcdefghijkl"
    assert gen.tokens[-1] == 12
    assert gen.finish_reason == "stop"


@pytest.mark.parametrize("k", [0, 1, 3, 6])
def test_a_stop_text_across_tokens_discards_the_rest_of_the_run(k: int) -> None:
    with scripted_engine(model(counting), model(counting)) as engine:
        gen = engine.generate("a", max_tokens=50, draft_length=k, stop="ef")
        again = engine.generate("a", max_tokens=50, draft_length=k)
    assert gen.text == "bcd"
    assert gen.finish_reason == "stop"
    discarded = [e for e in gen.events if isinstance(e, RejectedEvent)]
    assert all(e.reason is Rejection.DISCARDED for e in discarded)
    assert again.text == "bcdefghijkl"


def test_the_events_tell_the_whole_story() -> None:
    with scripted_engine(model(endless(1)), model(endless(1, 2.5))) as engine:
        gen = engine.generate("abc", max_tokens=40, temperature=0.7, seed=3, draft_length=3)
    tokens = [e for e in gen.events if isinstance(e, TokenEvent)]
    rounds = [e for e in gen.events if isinstance(e, RoundEvent)]
    refused = [e for e in gen.events if isinstance(e, RejectedEvent) and e.reason is Rejection.REFUSED]
    assert [e.position for e in tokens] == list(range(40))
    assert [e.token_id for e in tokens] == gen.tokens
    assert "".join(e.text for e in tokens) == gen.text
    assert sum(r.accepted for r in rounds) == sum(e.source is Source.ACCEPTED for e in tokens)
    assert len(refused) == sum(e.source is Source.RESAMPLED for e in tokens)
    assert sum(r.k for r in rounds) == gen.stats.drafted_tokens
    assert gen.stats.mean_tokens_per_round == 40 / len(rounds)
    for event in [e for e in tokens if e.source is Source.ACCEPTED]:
        assert event.q is not None
        assert event.u is not None
        assert event.u < event.p / event.q
    for event in refused:
        assert event.p is not None
        assert event.q is not None
        assert event.u is not None
        assert event.u >= event.p / event.q
    assert isinstance(gen.events[0], StateEvent)
    assert gen.events[-1] == StateEvent(State.FINISHED, "length", gen.events[-1].time_s)  # type: ignore[union-attr]
    assert [from_json(to_json(e)) for e in gen.events] == gen.events


def test_a_trace_survives_the_disk(tmp_path: object) -> None:
    with scripted_engine(model(endless(1)), model(endless(2))) as engine:
        gen = engine.generate("abc", max_tokens=20, draft_length=2)
    path = gen.trace.save(f"{tmp_path}/run.json")
    loaded = Trace.load(path)
    assert loaded == gen.trace
    frame = loaded.to_pandas()
    assert "".join(frame[frame.committed].text) == gen.text
    assert loaded.summary()["tokens"] == 20
    with pytest.raises(ConfigError, match="not a trace"):
        Trace.load(__file__)


def test_a_long_prompt_is_prefilled_in_chunks_beside_decoding() -> None:
    with scripted_engine(model(endless(1)), n_seq_max=2) as engine:
        gate = Gate(engine, at=3)
        short = engine.submit("ab", max_tokens=200)
        with gate:
            long = engine.submit("abcdefgh" * 20, max_tokens=5)
        assert long.result(timeout=60) == greedy_text(endless(1), "abcdefgh" * 20, 5)
        short.result(timeout=60)
    chunks = [e for e in long.events if isinstance(e, PrefillEvent)]
    assert sum(c.tokens for c in chunks) == 160
    assert len(chunks) > 1


def test_memory_that_cannot_roll_back_never_drafts() -> None:
    target = model(endless(1), max_rollback=0)
    with scripted_engine(target, model(endless(1))) as engine:
        gen = engine.generate("abc", max_tokens=20, draft_length=4)
        again = engine.generate("abcabc", max_tokens=20, draft_length=4)
        assert any("roll" in note for note in engine.notes)
    assert gen.stats.drafted_tokens == 0
    assert gen.text == greedy_text(endless(1), "abc", 20)
    assert again.text == greedy_text(endless(1), "abcabc", 20)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"max_tokens": -3}, "max_tokens is -3"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperatur": 1.0}, "Did you mean 'temperature'"),
        ({"draft_length": 99}, "draft_length is 99"),
        ({"drafter": "modle"}, "Did you mean 'model'"),
        ({"top_p": 0.0}, "keeps no token"),
        ({"stop": [""]}, "non-empty"),
        ({"system": "x", "chat": False}, "needs chat=True"),
    ],
)
def test_bad_parameters_are_refused_at_once(params: dict[str, object], message: str) -> None:
    with scripted_engine(model(endless(1))) as engine:
        with pytest.raises(ConfigError, match=message):
            engine.submit("abc", **params)
        assert engine.generate("abc", max_tokens=3).text == greedy_text(endless(1), "abc", 3)


def test_a_prompt_that_cannot_run_fails_alone() -> None:
    with scripted_engine(model(endless(1)), n_ctx=40) as engine:
        good = engine.submit("abc", max_tokens=10)
        too_long, empty = engine.submit("abcd" * 20), engine.submit("  ")
        with pytest.raises(PromptTooLong, match="80 tokens and the context holds 40"):
            too_long.result(timeout=60)
        with pytest.raises(ConfigError, match="empty"):
            empty.result(timeout=60)
        assert too_long.state == "failed"
        assert good.result(timeout=60) == greedy_text(endless(1), "abc", 10)


def test_the_waiting_queue_is_bounded() -> None:
    with scripted_engine(model(endless(1)), n_seq_max=2, max_waiting=3) as engine:
        with held(engine):
            gens = [engine.submit("abc", max_tokens=50) for _ in range(5)]
            with pytest.raises(QueueFull, match="5 generations"):
                engine.submit("abc")
            for gen in gens:
                gen.cancel()
        assert engine.drain(timeout=60)
        assert engine.generate("abc", max_tokens=2).state == "finished"


def test_map_keeps_the_order_and_reports_failures_on_the_handles() -> None:
    prompts = ["abc", "", "cba", *(["bca"] * 20)]
    with scripted_engine(model(endless(1)), n_seq_max=2) as engine:
        gens = engine.map(prompts, max_tokens=8, progress=False)
    assert [gen.prompt for gen in gens] == prompts
    assert isinstance(gens[1].error, ConfigError)
    assert [gen.text for gen in gens if not gen.error] == [greedy_text(endless(1), p, 8) for p in prompts if p]


def test_a_refused_part_of_a_character_is_shown_as_its_bytes() -> None:
    pieces = ["a", "\U0001f600".encode()[:2], "b"]
    target, draft = (ScriptedModel(pieces, lambda tokens, p=p: p) for p in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]))
    with scripted_engine(target, draft) as engine:
        gen = engine.generate("a", max_tokens=4, draft_length=1, drafter="model", chat=False)
    assert {event.text for event in gen.events if isinstance(event, RejectedEvent)} == {"<F0 9F>"}


def test_all_prompts_of_a_map_have_the_same_parameters() -> None:
    """An iterator given for a list is read once."""
    with scripted_engine(model(endless(1)), n_seq_max=2) as engine:
        gens = engine.map(["abc", "abc"], max_tokens=8, progress=False, stop=iter(["a"]))
        assert [gen.params.stop for gen in gens] == [("a",)] * 2
        with pytest.raises(ConfigError):
            engine.map(["abc"], max_tokens=0)


def test_a_closed_engine_says_so() -> None:
    engine = scripted_engine(model(endless(1)))
    engine.close()
    engine.close()
    assert engine.state is EngineState.CLOSED
    assert engine.status().state == "closed"
    with pytest.raises(EngineClosed, match=r"xl\.load"):
        engine.submit("abc")


def test_a_closed_engine_keeps_no_texts_and_no_states() -> None:
    """Whoever holds a generation holds its engine."""
    target = ScriptedModel([*"abc"], lambda tokens: [0.1, 0.8, 0.1], max_rollback=8)
    with scripted_engine(target) as engine:
        loop = engine.call(lambda loop: loop)
        engine.generate("abc" * 40, max_tokens=8)
        running = engine.submit("bca" * 40, max_tokens=2000)
        assert loop.drafting.texts is not None
        assert len(loop.drafting.texts) > 100
        assert loop.slots.checkpoints.num_bytes > 0
    assert running.state.is_final
    assert len(loop.drafting.texts) == len(loop.slots.checkpoints) == 0


def test_an_error_while_opening_reaches_the_caller_and_ends_the_thread() -> None:
    def broken(_: ProgressCallback) -> None:
        raise ConfigError("no such thing.")

    before = set(threading.enumerate())
    from exsa_lab.config import EngineConfig

    with pytest.raises(ConfigError, match="no such thing"):
        Engine(broken, EngineConfig())  # type: ignore[arg-type]
    assert not set(threading.enumerate()) - before


def test_a_listener_hears_everything_once_and_a_broken_one_harms_nobody() -> None:
    heard: list[Event] = []

    def broken(_: list[Event]) -> None:
        raise RuntimeError("a broken view")

    with scripted_engine(model(endless(1))) as engine:
        with held(engine):
            gen = engine.submit("abc", max_tokens=30)
            try_twice: Callable[[], None] = gen.subscribe(heard.extend)
            gen.subscribe(broken)
        gen.result(timeout=60)
        late: list[Event] = []
        gen.subscribe(late.extend)
    try_twice()
    assert heard == late == gen.events


def test_hostile_and_broken_text_stays_text() -> None:
    pieces = ["a", "<script>alert(1)</script>", "\x1b[31m", b"\xff", b"\xe2\x82"]
    probs = [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    target = ScriptedModel(pieces, lambda tokens: probs[tokens[-1]])
    with scripted_engine(target) as engine:
        gen = engine.generate("a", max_tokens=5)
    assert gen.text == "<script>alert(1)</script>\x1b[31m\ufffd\ufffda"


def test_reproducible_drafts_only_for_who_is_alone() -> None:
    target, draft = model(endless(1)), model(endless(1))
    with scripted_engine(target, draft, reproducible=True) as engine:
        alone = engine.generate("a", max_tokens=20, draft_length=3)
        with held(engine):
            together = [engine.submit(prompt, max_tokens=20, draft_length=3) for prompt in ("a", "b")]
        texts = [generation.result(60) for generation in together]
        rounds = [e for g in together for e in g.events if isinstance(e, RoundEvent) and e.batch_sequences > 1]

    assert alone.stats.accepted_tokens > 0
    assert texts[0] == alone.text
    assert rounds
    assert all(e.k == 0 for e in rounds)


def test_a_reproducible_request_that_fills_the_context_ends_as_any_other() -> None:
    with scripted_engine(model(endless(1)), n_ctx=300, n_seq_max=1, reproducible=True) as engine:
        gen = engine.generate("a" * 250, max_tokens=100)

    assert (gen.state, gen.finish_reason) == ("finished", "length")
    assert len(gen.tokens) == 51


def test_costs_are_a_copy_of_what_the_engine_goes_on_correcting() -> None:
    measured = CostModel.from_measurements({1: 1.0, 8: 2.0})
    with Engine(lambda progress: Models(model(endless(1)), costs=measured), EngineConfig(n_ctx=256)) as engine:
        before = engine.costs
        engine.generate("abc", max_tokens=40)
        after = engine.costs
        assert before is not None
        assert after is not None
        assert before.step_seconds(1) == 1.0
        assert after.step_seconds(1) != 1.0

    with scripted_engine(model(endless(1))) as engine:
        assert engine.costs is None
    with pytest.raises(EngineClosed):
        engine.costs  # noqa: B018
