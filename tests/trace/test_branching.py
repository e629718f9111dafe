"""Leaving a text at a position: another token there, then on."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest

from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError, EngineClosed, ExsaError
from exsa_lab.events import Source, State, TokenEvent
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.trace import Trace
from tests.engine.worker.test_isolated import isolated
from tests.structure.vocabulary import model as form_model

VOCAB = 30
END = VOCAB - 1
PIECES = [chr(ord("a") + token) if token < 26 else f"<{token}>" for token in range(VOCAB)]
WAYS: list[dict[str, Any]] = [{"draft_length": 0}, {"drafter": "model", "draft_length": 3}, {"drafter": "ngram"}, {}]


def model(seed: int, **options: Any) -> ScriptedModel:
    return ScriptedModel(PIECES, markov(VOCAB, seed), ends=[END], **options)


@pytest.fixture
def engine() -> Any:
    # Short prompts give cached cells up rather than to have slower steps; here they are to stay.
    with scripted_engine(model(1), model(2), fast_cells=0) as opened:
        yield opened


def greedy(
    target: ScriptedModel, prompt: list[int], begun: list[int], most: int, banned: int | None = None
) -> list[int]:
    """The text of plain greedy decoding, its first new token another than ``banned``."""
    tokens = list(begun)
    while len(tokens) < most and (not tokens or tokens[-1] != END):
        logits = target.logits((*prompt, *tokens)).copy()
        if banned is not None and len(tokens) == len(begun):
            logits[banned] = -np.inf
        tokens.append(int(logits.argmax()))
    return tokens


def sources(gen: Generation) -> list[Source]:
    return [event.source for event in gen.events if isinstance(event, TokenEvent)]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_branch_is_what_greedy_decoding_makes_of_the_text_so_far(engine: Engine, way: dict[str, Any]) -> None:
    target = engine.target
    assert isinstance(target, ScriptedModel)
    gen = engine.generate("abc", chat=False, max_tokens=30, logit_bias={END: -100}, **way)
    for position in (0, 1, 17, 29):
        for token in (5, "h", None):
            branch = gen.branch(position, token)
            branch.wait(30)
            chosen = [] if token is None else [5 if token == 5 else 7]
            begun = [*gen.tokens[:position], *chosen]
            banned = gen.tokens[position] if token is None else None
            assert branch.tokens == greedy(endless(target), gen.prompt_ids, begun, 30, banned)
            assert branch.text == "".join(PIECES[t] for t in branch.tokens)
            assert sources(branch)[:position] == [Source.KEPT] * position
            assert sources(branch)[position : position + len(chosen)] == [Source.CHOSEN] * len(chosen)
            assert not set(sources(branch)[position + len(chosen) :]) & {Source.KEPT, Source.CHOSEN}
            assert [e.position for e in branch.events if isinstance(e, TokenEvent)] == list(range(len(branch.tokens)))
            assert branch.prompt_ids == gen.prompt_ids
            assert branch.stats.generated_tokens == len(branch.tokens) - len(begun)
            # What came before is cached, but for the token whose logits are needed.
            if position and branch.stats.rounds:
                assert branch.stats.cached_prompt_tokens >= len(gen.prompt_ids) + position - 1


def endless(target: ScriptedModel) -> ScriptedModel:
    """The same model without its end token."""

    def next_probs(tokens: tuple[int, ...]) -> Any:
        probs = np.exp(target.logits(tokens).astype(np.float64))
        probs[END] = 0.0
        return probs / probs.sum()

    return ScriptedModel(PIECES, next_probs)


@pytest.mark.parametrize("way", [{"draft_length": 0}, {"drafter": "ngram", "draft_length": 3}], ids=str)
def test_the_same_token_and_seed_give_the_same_text(engine: Engine, way: dict[str, Any]) -> None:
    gen = engine.generate("abc", chat=False, max_tokens=30, temperature=1.0, logit_bias={END: -100}, **way)
    for position in (0, 3, len(gen.tokens) - 1):
        branch = gen.branch(position, gen.tokens[position])
        assert branch.result(30) == gen.text
        assert branch.tokens == gen.tokens
        assert branch.seed == gen.seed
        assert branch.finish_reason == gen.finish_reason


def test_without_a_token_another_one_is_drawn(engine: Engine) -> None:
    target = engine.target
    assert isinstance(target, ScriptedModel)
    gen = engine.generate("abc", chat=False, max_tokens=6, temperature=1.0, seed=3)
    position = 2
    counts = np.zeros(VOCAB)
    for start in range(0, 2000, 500):
        batch = [gen.branch(position, max_tokens=position + 1, seed=start + n) for n in range(500)]
        for branch in batch:
            branch.wait(60)
            counts[branch.tokens[position]] += 1
    expected = np.exp(target.logits((*gen.prompt_ids, *gen.tokens[:position])).astype(np.float64))
    expected[gen.tokens[position]] = 0
    expected *= counts.sum() / expected.sum()
    assert counts[gen.tokens[position]] == 0
    assert len({gen.branch(position, max_tokens=20).result(30) for _ in range(8)}) > 1
    used = expected > 5
    chi2 = float(((counts - expected)[used] ** 2 / expected[used]).sum())
    assert chi2 < used.sum() + 4 * np.sqrt(2 * used.sum())


def test_an_end_token_a_stop_text_and_the_token_limit_end_a_branch_at_once(engine: Engine) -> None:
    gen = engine.generate("abc", chat=False, max_tokens=12, logit_bias={END: -100}, stop=["zz"])
    ended = gen.branch(4, END)
    assert ended.result(30) == "".join(PIECES[t] for t in gen.tokens[:4])
    assert (ended.finish_reason, ended.stats.rounds) == ("stop", 0)
    limited = gen.branch(11, 3)
    limited.wait(30)
    assert (limited.finish_reason, len(limited.tokens)) == ("length", 12)
    assert len(gen.branch(11, 3, max_tokens=20).result(30)) >= 12
    first = gen.branch(5, "z")
    first.wait(30)
    stopped = first.branch(5, "z", stop=["z"])
    assert stopped.result(30) == "".join(PIECES[t] for t in gen.tokens[:5]).partition("z")[0]
    assert stopped.finish_reason == "stop"


def test_a_branch_can_be_left_again_gone_on_with_and_kept_in_a_trace(engine: Engine, tmp_path: Any) -> None:
    gen = engine.generate("abc", chat=False, max_tokens=12, logit_bias={END: -100}, top_logprobs=3)
    first = gen.branch(3, 5)
    first.wait(30)
    second = first.branch(7, 6)
    second.wait(30)
    assert second.tokens[:8] == [*gen.tokens[:3], 5, *first.tokens[4:7], 6]
    more = second.more(max_tokens=5)
    more.wait(30)
    assert more.prompt_ids == [*second.prompt_ids, *second.tokens]
    loaded = Trace.load(second.trace.save(tmp_path / "branch.json"))
    assert loaded.tokens == second.tokens
    assert loaded.replay(2).tokens
    [chosen] = [e for e in first.events if isinstance(e, TokenEvent) and e.source is Source.CHOSEN]
    there = next(e for e in gen.events if isinstance(e, TokenEvent) and e.position == 3)
    assert chosen.top == there.top
    named = there.top[2]
    third = gen.branch(3, named.token_id)
    third.wait(30)
    [taken] = [e for e in third.events if isinstance(e, TokenEvent) and e.source is Source.CHOSEN]
    assert (taken.p, taken.q) == (named.p, named.q)


def test_a_running_text_can_be_left_as_far_as_it_is_there() -> None:
    with scripted_engine(model(1, step_s=0.01)) as engine:
        gen = engine.submit("abc", chat=False, max_tokens=1000, logit_bias={END: -100}, draft_length=0)
        while len(gen.tokens) < 5:
            time.sleep(0.005)
        branch = gen.branch(2, 7, max_tokens=10)
        branch.wait(30)
        assert not gen.state.is_final
        assert branch.tokens[:3] == [*gen.tokens[:2], 7]
        gen.cancel()


def test_a_form_goes_on_through_a_branch() -> None:
    regex = "(a|b)cdefgh(a|de){1,4}h"
    with scripted_engine(form_model(1), form_model(2)) as engine:
        for way in WAYS:
            gen = engine.generate("a", max_tokens=64, regex=regex, **way)
            other = "b" if gen.text.startswith("a") else "a"
            branch = gen.branch(0, other)
            assert re.fullmatch(regex, branch.result(30))
            assert branch.parsed == branch.text
            assert branch.text[0] == other
            again = branch.branch(0)  # the form leaves one other choice
            assert again.result(30)[0] != other
        wrong = gen.branch(1, "h")
        with pytest.raises(ConfigError, match="'h' cannot come there"):
            wrong.result(30)
        forced = gen.branch(1)
        with pytest.raises(ExsaError, match="no other token can come there"):
            forced.result(30)
        # Another form than before begins anew, and none lets the text go where it will.
        free = gen.branch(1, "h", regex=None)
        assert free.result(30)[1] == "h"


def test_thoughts_chats_and_prefills_keep_their_prompt(engine: Engine) -> None:
    template = "{% for m in messages %}{{ m.content }}{% endfor %}a"
    with scripted_engine(model(1, chat_template=template)) as other:
        gen = other.generate([{"role": "user", "content": "abc"}], max_tokens=8, prefill="d")
        branch = gen.branch(2, 4)
        branch.wait(30)
        assert branch.prompt_ids == gen.prompt_ids
        assert branch.prompt == gen.prompt
        assert branch.tokens[:3] == [*gen.tokens[:2], 4]


def test_characters_of_several_tokens_are_whole_in_a_branch() -> None:
    pieces: list[str | bytes] = ["a", "é".encode()[:1], "é".encode()[1:], "ü".encode()[1:], "."]
    target = ScriptedModel(pieces, lambda tokens: [float(i == (tokens[-1] + 1) % 4) for i in range(4)] + [0.0])
    with scripted_engine(target) as engine:
        gen = engine.generate("a", chat=False, max_tokens=6)
        branch = gen.branch(1, 3, max_tokens=5)
        assert branch.result(30) == "üaé"


@pytest.mark.parametrize("memory", [{"max_rollback": 4}, {"max_rollback": 0}], ids=str)
def test_recurrent_memory_branches_too(memory: dict[str, int]) -> None:
    target = model(1, **memory)
    with scripted_engine(target, n_rs_seq=4) as engine:
        gen = engine.generate("abcdefgh", chat=False, max_tokens=20, logit_bias={END: -100})
        branch = gen.branch(6, 3)
        branch.wait(30)
        assert branch.tokens == greedy(endless(target), gen.prompt_ids, [*gen.tokens[:6], 3], 20)


def test_mistakes_are_one_clear_line(engine: Engine) -> None:
    gen = engine.generate("abc", chat=False, max_tokens=5, logit_bias={END: -100})
    mistakes: list[tuple[Any, Any, str]] = [
        (5, None, "position is 5"),
        (-1, None, "position is -1"),
        ("a", None, "position is 'a'"),
        (True, None, "position is True"),
        (0, 99, "token"),
        (0, -1, "token is -1"),
        (0, 1.5, "token is 1.5"),
        (0, "", "token is empty"),
        (0, "ab", "not one token"),
    ]
    for position, token, what in mistakes:
        with pytest.raises(ConfigError, match=re.escape(what)) as raised:
            gen.branch(position, token)
        assert "\n" not in str(raised.value)
    with pytest.raises(ConfigError, match="unknown parameter"):
        gen.branch(0, 1, temprature=1)
    failed = engine.submit("abc" * 2000, chat=False)
    failed.wait(30)
    assert failed.state is State.FAILED
    with pytest.raises(ConfigError, match="no token yet"):
        failed.branch(0)
    engine.close()
    with pytest.raises(EngineClosed):
        gen.branch(0, 1)


def test_an_isolated_engine_branches_as_one_in_this_process() -> None:
    with isolated() as engine:
        gen = engine.generate("abc", max_tokens=12, draft_length=0, top_logprobs=2)
        branch = gen.branch(4, gen.tokens[4])
        assert branch.result(30) == gen.text
        assert branch.tokens == gen.tokens
        assert sources(branch)[:5] == [Source.KEPT] * 4 + [Source.CHOSEN]
        other = gen.branch(4)
        other.wait(30)
        assert other.tokens[4] != gen.tokens[4]
