"""Alternatives of each token through the whole engine: what was nearly written, and how unexpected the prompt was."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from exsa_lab.config import SamplingParams
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError
from exsa_lab.events import PromptTokenEvent, Source, TokenEvent, from_json, to_json
from exsa_lab.runtime.protocol import MIN_OUTPUTS
from exsa_lab.speculation.sampling import apply_chain
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.trace import Trace
from tests.gate import held
from tests.structure.vocabulary import model as form_model

VOCAB = 30
PIECES = [chr(ord("a") + token) if token < 26 else f"<{token}>" for token in range(VOCAB)]
WAYS: list[dict[str, Any]] = [
    {"draft_length": 0},
    {"drafter": "model", "draft_length": 1},
    {"drafter": "model", "draft_length": 4},
    {"drafter": "ngram", "draft_length": 3},
    {},
]
CHAINS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0},
    {"temperature": 0.5, "top_k": 8, "min_p": 0.01},
    {"temperature": 0.8, "repeat_penalty": 1.3, "logit_bias": {3: 2.0}, "suppress_tokens": [4]},
]


def model(seed: int, **options: Any) -> ScriptedModel:
    return ScriptedModel(PIECES, markov(VOCAB, seed), ends=[VOCAB - 1], **options)


@pytest.fixture
def engine() -> Any:
    with scripted_engine(model(1), model(2)) as opened:
        yield opened


def tokens_of(gen: Generation) -> list[TokenEvent]:
    return [event for event in gen.events if isinstance(event, TokenEvent)]


def check_raw(gen: Generation, target: ScriptedModel, count: int) -> None:
    """Compare what was recorded with the scripted distribution itself."""
    for event in tokens_of(gen):
        before = (*gen.prompt_ids, *gen.tokens[: event.position])
        exact = np.exp(target.logits(before).astype(np.float64))
        order = sorted(range(VOCAB), key=lambda token: (-exact[token], token))[:count]
        assert [other.token_id for other in event.top] == order
        assert [other.raw for other in event.top] == pytest.approx([exact[token] for token in order], rel=1e-5)
        assert [other.text for other in event.top] == [PIECES[token] for token in order]
        assert event.logprob == pytest.approx(math.log(exact[event.token_id]), rel=1e-5, abs=1e-6)
        assert event.entropy == pytest.approx(-(exact * np.log2(exact)).sum(), rel=1e-5)
        assert event.surprisal == pytest.approx(-math.log2(exact[event.token_id]), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("chain", CHAINS, ids=str)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_each_token_has_the_targets_most_probable_ones(
    engine: Engine, way: dict[str, Any], chain: dict[str, Any]
) -> None:
    gen = engine.generate("abc", chat=False, max_tokens=40, seed=4, top_logprobs=5, **way, **chain)
    target = engine.target
    assert isinstance(target, ScriptedModel)
    check_raw(gen, target, 5)
    params = SamplingParams(**chain)
    for event in tokens_of(gen):
        own = [other for other in event.top if other.token_id == event.token_id]
        assert all(other.p == pytest.approx(event.p, rel=1e-5) for other in own)
        if params.temperature and "logit_bias" not in chain:
            logits = target.logits((*gen.prompt_ids, *gen.tokens[: event.position]))
            after = apply_chain(logits, params)
            assert [other.p for other in event.top] == pytest.approx([after.probability(o.token_id) for o in event.top])
        if "suppress_tokens" in chain:
            assert all(other.p == 0 for other in event.top if other.token_id == 4)
        if event.source is Source.ACCEPTED:
            assert all(other.q is not None for other in event.top)
            assert all(other.q == pytest.approx(event.q, rel=1e-5) for other in own)
        if event.source in (Source.TARGET, Source.BONUS):
            assert all(other.q is None for other in event.top)


def test_asking_changes_no_text_and_costs_nothing_where_nobody_asks(engine: Engine) -> None:
    for params in ({}, {"temperature": 0.9, "seed": 7, "drafter": "model", "draft_length": 3}):
        asked = engine.generate("abc", chat=False, max_tokens=30, top_logprobs=3, **params)
        plain = engine.generate("abc", chat=False, max_tokens=30, **params)
        assert asked.tokens == plain.tokens
        assert all(not event.top and event.logprob is None and event.entropy is None for event in tokens_of(plain))


def test_everyone_in_a_batch_gets_what_they_asked_for(engine: Engine) -> None:
    target = engine.target
    assert isinstance(target, ScriptedModel)
    gens = [
        engine.submit("abcd"[: 1 + n % 4], chat=False, max_tokens=30, temperature=n % 2, seed=n, top_logprobs=n % 4)
        for n in range(16)
    ]
    for number, gen in enumerate(gens):
        gen.wait(30)
        if number % 4:
            check_raw(gen, target, number % 4)


@pytest.mark.parametrize("way", [{"drafter": "none"}, {"draft_length": 0}, {"drafter": "model", "draft_length": 3}, {}])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_tokens_that_a_form_forces_are_looked_at_too(way: dict[str, Any], temperature: float) -> None:
    target = form_model(1)
    takes_drafts = way.get("drafter") != "none" and way.get("draft_length") != 0
    with scripted_engine(target, form_model(2)) as opened:
        common: dict[str, Any] = {"regex": "(a|b)cdefgh(a|de){1,4}h", "max_tokens": 64, "chat": False, "seed": 5}
        plain = opened.generate("a", temperature=temperature, draft_length=0, top_logprobs=4, **common)
        gen = opened.generate("a", temperature=temperature, top_logprobs=4, **common, **way)
        jumping = opened.generate("a", temperature=temperature, **common, **way)
    if not temperature or not takes_drafts:
        assert gen.tokens == plain.tokens
        assert [event.top for event in tokens_of(gen)]
        assert all(event.top for event in tokens_of(gen))
        assert [[(o.token_id, o.raw, o.p) for o in event.top] for event in tokens_of(gen)] == [
            [(o.token_id, o.raw, o.p) for o in event.top] for event in tokens_of(plain)
        ]
    for event in tokens_of(gen):
        exact = np.exp(target.logits((*gen.prompt_ids, *gen.tokens[: event.position])).astype(np.float64))
        assert event.logprob == pytest.approx(math.log(exact[event.token_id]), rel=1e-5, abs=1e-6)
    forced = [event for event in tokens_of(gen) if event.source is Source.FORCED]
    assert bool(forced) is takes_drafts
    assert all(event.p == 1.0 and event.drafter == "forced" for event in forced)
    assert gen.stats.forced_tokens == len(forced)
    assert gen.stats.accepted_tokens == sum(event.source is Source.ACCEPTED for event in tokens_of(gen))
    # What is forced depends on the text before it alone, however it is committed.
    assert bool(jumping.stats.forced_tokens) is takes_drafts


def test_a_trace_keeps_them_and_a_table_has_their_columns(engine: Engine, tmp_path: Any) -> None:
    gen = engine.generate("abc", chat=False, max_tokens=12, top_logprobs=2, prompt_logprobs=1, draft_length=2)
    loaded = Trace.load(gen.trace.save(tmp_path / "run.json"))
    assert loaded.events == gen.events
    table = loaded.to_pandas()
    committed = table[table.committed]
    assert [len(top) for top in committed.top] == [2] * len(gen.tokens)
    assert committed.logprob.sum() == pytest.approx(sum(event.logprob or 0 for event in tokens_of(gen)))
    assert (committed.surprisal >= 0).all()
    assert table[~table.committed].logprob.isna().all()
    without = engine.generate("abc", chat=False, max_tokens=3).trace.to_pandas()
    assert "top" not in without.columns


@pytest.mark.parametrize(
    "top",
    [
        "abc",
        [[1, "a", 0.5, 0.5]],
        [[1, "a", "0.5", None, None]],
        [[1, 2, 0.5, None, None]],
        [[-1, "a", 0.5, None, None]],
        [[1, "a", float("nan"), None, None]],
        [[1, "a", 0.5, None, None]] * 21,
        [{"token_id": 1}],
    ],
    ids=str,
)
def test_alternatives_from_outside_are_checked(top: Any) -> None:
    event = {"event": "prompt_token", "position": 0, "token_id": 1, "text": "a", "logprob": None, "top": top}
    with pytest.raises(ValueError, match=r"alternative|is"):
        from_json(event)


def test_events_survive_json(engine: Engine) -> None:
    gen = engine.generate("ab", chat=False, max_tokens=6, top_logprobs=3, prompt_logprobs=2, temperature=1, seed=1)
    assert [from_json(json.loads(json.dumps(to_json(event)))) for event in gen.events] == gen.events


# Prompts


def check_prompt(gen: Generation, target: ScriptedModel, count: int = 0) -> None:
    told = gen.prompt_logprobs
    assert [(event.position, event.token_id) for event in told] == list(enumerate(gen.prompt_ids))
    assert told[0].logprob is None
    assert told[0].surprisal is None
    for event in told[1:]:
        exact = np.exp(target.logits(tuple(gen.prompt_ids[: event.position])).astype(np.float64))
        assert event.logprob == pytest.approx(math.log(exact[event.token_id]), rel=1e-5)
        order = sorted(range(VOCAB), key=lambda token: (-exact[token], token))[:count]
        assert [other.token_id for other in event.top] == order
        assert all(other.p is None and other.q is None for other in event.top)


@pytest.mark.parametrize(("asked", "count"), [(True, 0), (1, 1), (5, 5)])
def test_each_token_of_the_prompt_tells_how_unexpected_it_was(engine: Engine, asked: Any, count: int) -> None:
    target = engine.target
    assert isinstance(target, ScriptedModel)
    prompt = "abcdefghijklmnopqrstuvwxyz" * 8
    first = engine.generate(prompt, chat=False, max_tokens=4)
    # The prompt is cached now, and read anew all the same.
    gen = engine.generate(prompt, chat=False, max_tokens=4, prompt_logprobs=asked)
    check_prompt(gen, target, count)
    assert gen.tokens == first.tokens
    assert gen.stats.cached_prompt_tokens == 0
    assert first.prompt_logprobs == []
    again = engine.generate(prompt, chat=False, max_tokens=4)
    assert again.stats.cached_prompt_tokens > 0
    assert engine.generate("a", chat=False, max_tokens=1, prompt_logprobs=True).prompt_logprobs == [
        PromptTokenEvent(0, 0, "a", None)
    ]


def test_prompts_are_read_beside_others_and_no_step_has_too_many_rows() -> None:
    target = model(1)
    rows: list[int] = []
    compute = ScriptedModel.logits

    with scripted_engine(target, model(2), n_seq_max=4) as engine:
        context = engine.call(lambda loop: loop.context)
        submit = context.submit

        def counted(batch: Any) -> None:
            rows.append(batch.num_outputs)
            submit(batch)

        context.submit = counted  # type: ignore[method-assign]
        gens = [
            engine.submit("abcdefghijkl" * 12, chat=False, max_tokens=20, prompt_logprobs=bool(number % 2), seed=number)
            for number in range(8)
        ]
        for gen in gens:
            gen.wait(60)
            if gen.params.prompt_logprobs:
                check_prompt(gen, target)
            else:
                assert gen.prompt_logprobs == []
    assert max(rows) <= max(MIN_OUTPUTS, 4 * 17)
    assert compute is ScriptedModel.logits


def test_a_preempted_prompt_is_told_once() -> None:
    target = model(1)
    with scripted_engine(target, n_ctx=160, n_seq_max=3, max_waiting=64) as engine:
        with held(engine):
            gens = [
                engine.submit(
                    "abcdefghij" * 4, chat=False, max_tokens=60, prompt_logprobs=True, logit_bias={VOCAB - 1: -100}
                )
                for _ in range(3)
            ]
        for gen in gens:
            gen.wait(60)
        assert sum(gen.stats.preemptions for gen in gens) > 0
        for gen in gens:
            check_prompt(gen, target)


def test_recurrent_memory_reads_a_prompt_from_its_beginning() -> None:
    target = model(1, max_rollback=4)
    with scripted_engine(target, n_rs_seq=4) as engine:
        engine.generate("abcdefgh" * 10, chat=False, max_tokens=4)
        gen = engine.generate("abcdefgh" * 10, chat=False, max_tokens=4, prompt_logprobs=True, top_logprobs=2)
        check_prompt(gen, target)
        check_raw(gen, target, 2)


def test_going_on_does_not_read_the_text_anew(engine: Engine) -> None:
    gen = engine.generate("abc", chat=False, max_tokens=8, top_logprobs=2, prompt_logprobs=True)
    more = gen.more()
    more.wait(30)
    assert more.prompt_logprobs == []
    assert all(event.top for event in tokens_of(more))


@pytest.mark.parametrize(
    "params", [{"top_logprobs": 21}, {"top_logprobs": -1}, {"top_logprobs": True}, {"prompt_logprobs": "yes"}], ids=str
)
def test_bad_numbers_are_one_clear_line(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(params))):
        SamplingParams(**params)
