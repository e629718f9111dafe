"""Texts of a given form through the whole engine."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError, EngineClosed, IncompleteForm
from exsa_lab.events import Source, State, TokenEvent
from exsa_lab.structure import compiler
from exsa_lab.testing import scripted_engine
from tests.structure.vocabulary import END, PIECES, isolated, model

REGEX = "(a|b)cdefgh(a|de){1,4}h"
WAYS: list[dict[str, Any]] = [
    {"draft_length": 0},
    {"drafter": "none"},
    {"drafter": "ngram", "draft_length": 2},
    {"drafter": "ngram", "draft_length": 4},
    {"drafter": "model", "draft_length": 1},
    {"drafter": "model", "draft_length": 3},
    {},
]


@pytest.fixture
def engine() -> Any:
    with scripted_engine(model(1), model(2)) as opened:
        yield opened


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_greedy_text_is_that_of_plain_decoding_and_matches(engine: Engine, way: dict[str, Any]) -> None:
    for prompt in ("a", "abc", "hgf"):
        plain = engine.generate(prompt, max_tokens=64, regex=REGEX, draft_length=0)
        gen = engine.generate(prompt, max_tokens=64, regex=REGEX, **way)
        assert gen.tokens == plain.tokens
        assert re.fullmatch(REGEX, gen.text)
        assert gen.finish_reason == "stop"
        assert gen.parsed == gen.text


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_sampled_texts_match_alone_and_in_company(engine: Engine, way: dict[str, Any]) -> None:
    gens = [
        engine.submit("abc"[: 1 + seed % 3], max_tokens=64, regex=REGEX, temperature=1.0, seed=seed, **way)
        for seed in range(40)
    ]
    for gen in gens:
        gen.result(30)
        assert re.fullmatch(REGEX, gen.text), gen.text
    assert len({gen.text for gen in gens}) > 3


def test_lookup_with_a_seed_gives_the_text_of_plain_sampling(engine: Engine) -> None:
    for seed in range(10):
        params = {"temperature": 1.0, "seed": seed, "max_tokens": 64, "regex": REGEX}
        plain = engine.generate("abc", draft_length=0, **params)
        assert engine.generate("abc", drafter="ngram", draft_length=3, **params).tokens == plain.tokens


def test_forced_tokens_are_committed_through_one_step_and_say_so(engine: Engine) -> None:
    gen = engine.generate("a", max_tokens=64, regex="(a|b)cdefgh(a|d)", drafter="ngram", draft_length=1)
    sources = [event.source for event in gen.events if isinstance(event, TokenEvent)]
    assert gen.text[1:-1] == "cdefgh"
    forced = [event for event in gen.events if isinstance(event, TokenEvent) and event.source is Source.FORCED]
    assert [PIECES[event.token_id] for event in forced] == ["c", "de", "fgh"]
    assert {(event.p, event.q, event.drafter) for event in forced} == {(1.0, None, "forced")}
    assert gen.stats.forced_tokens == 3
    assert gen.stats.generated_tokens == len(gen.tokens) == len(sources) == 5
    assert gen.stats.rounds == 2
    plain = engine.generate("a", max_tokens=64, regex="(a|b)cdefgh(a|d)", draft_length=0)
    assert (plain.tokens, plain.stats.rounds, plain.stats.forced_tokens) == (gen.tokens, 5, 0)


def test_a_device_that_computes_by_itself_writes_the_same_texts(engine: Engine) -> None:
    with scripted_engine(model(1, is_asynchronous=True), model(2)) as other:
        for way in WAYS:
            for temperature in (0.0, 1.0):
                params: dict[str, Any] = {
                    "max_tokens": 64,
                    "regex": REGEX,
                    "temperature": temperature,
                    "seed": 7,
                    **way,
                }
                gens = [other.submit("ab", **params), other.submit("b", **params)]
                assert [gen.result(30) for gen in gens] == [engine.generate(p, **params).text for p in ("ab", "b")]


def test_forced_tokens_are_decoded_where_memory_cannot_roll_back() -> None:
    with scripted_engine(model(1, max_rollback=0)) as opened:
        gen = opened.generate("a", max_tokens=64, regex="(a|b)cdefgh(a|d)")
        assert gen.stats.forced_tokens == 3
        assert re.fullmatch("[ab]cdefgh[ad]", gen.text)


def test_forced_tokens_beyond_a_small_step_are_read_as_a_prompt_is() -> None:
    with scripted_engine(model(1), n_batch=4, step_tokens=4, n_seq_max=2) as opened:
        gens = [opened.submit("a", max_tokens=200, regex="(a|b)(cde){20}(a|d)") for _ in range(3)]
        assert {gen.result(30)[1:-1] for gen in gens} == {"cde" * 20}


def test_a_text_that_ends_too_soon_says_so_and_can_go_on(engine: Engine) -> None:
    gen = engine.generate("a", max_tokens=2, regex="abcde(a|b)c{8}d", draft_length=0)
    assert gen.finish_reason == "length"
    with pytest.raises(IncompleteForm, match="before it had the form"):
        _ = gen.parsed
    more = gen.more(max_tokens=64)
    more.result(30)
    assert re.fullmatch("abcde(a|b)c{8}d", gen.text + more.text)
    assert more.parsed == gen.text + more.text
    with pytest.raises(ConfigError, match="asked for no form"):
        _ = engine.generate("a", max_tokens=2).parsed


@pytest.mark.parametrize("params", [{}, {"draft_length": 0}, {"drafter": "model", "draft_length": 3}], ids=str)
def test_a_text_that_a_stop_text_cut_does_not_have_the_form(engine: Engine, params: dict[str, Any]) -> None:
    gen = engine.generate("a", max_tokens=64, regex="abcde(a|b)c{8}d", stop="cc", **params)
    assert (gen.finish_reason, gen.text[:5], len(gen.text)) == ("stop", "abcde", 6)
    with pytest.raises(IncompleteForm, match="a stop text ended it"):
        _ = gen.parsed
    whole = engine.generate("a", max_tokens=64, regex="abcde(a|b)c{8}d", stop="e.", **params)
    assert whole.parsed == whole.text


def test_an_engine_of_its_own_process_tells_of_forms_and_of_what_cut_them() -> None:
    with isolated() as engine:
        assert re.fullmatch("a(b|c){3}", engine.generate("abc", regex="a(b|c){3}").parsed)
        with pytest.raises(IncompleteForm, match="a stop text ended it"):
            _ = engine.generate("abc", regex="a(b|c){3}a", stop=["b", "c"]).parsed
        with pytest.raises(ConfigError, match="regex is not valid"):
            engine.generate("abc", regex="(")


def test_a_form_that_is_complete_at_the_limit_is_complete(engine: Engine) -> None:
    gen = engine.generate("a", max_tokens=1, choice=["a", "b"])
    assert (gen.finish_reason, gen.parsed in ("a", "b")) == ("stop", True)
    assert END not in gen.tokens


def schema(text: dict[str, Any]) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "schema": text}}


@pytest.mark.parametrize(
    ("params", "what"),
    [
        ({"regex": "("}, "regex is not valid: unclosed group"),
        ({"grammar": "start: a"}, "grammar is not valid"),
        (schema({"type": "objekt"}), "the JSON schema is not valid: Invalid type: objekt"),
        (schema({"not": {}}), 'the JSON schema uses "not", which is not supported'),
        (schema({"oneOf": [{"minimum": 1}, {"maximum": 2}]}), 'uses "oneOf" of parts that one text may fit together'),
        (schema({"type": "string", "format": "planet"}), 'uses the "format" planet, which is not supported'),
        (schema({"$ref": "http://localhost/x"}), 'refers by "$ref" to http://localhost/x, which is no part of it'),
        (schema({"pattern": "a(?=b)"}), 'has a "pattern" that is not supported: look-around'),
        (schema({"type": "number", "maximum": 1e30}), 'has a "minimum" or "maximum" of a size that is not supported'),
        (schema({"enum": []}), "the JSON schema admits no text at all"),
        ({"grammar": "start: /[^\\s\\S]/"}, "grammar admits no text at all"),
        ({"choice": []}, "choice is empty"),
        ({"regex": "a", "choice": ["b"]}, "regex and choice are both given"),
        ({"logit_bias": {"abcde": 1.0}}, "logit_bias names 'abcde', which is not one token"),
        ({"suppress_tokens": [10_000]}, "suppress_tokens names token 10000, which scripted does not have"),
    ],
    ids=str,
)
def test_bad_input_is_one_clear_line_and_the_others_go_on(engine: Engine, params: dict[str, Any], what: str) -> None:
    beside = engine.submit("a", regex="[ab]{20}", max_tokens=30)
    try:
        wrong = engine.submit("a", **params)
        assert wrong.wait(30)
        error, state = wrong.error, wrong.state
    except ConfigError as raised:
        error, state = raised, State.FAILED
    assert isinstance(error, ConfigError)
    assert what in str(error)
    assert "\n" not in str(error)
    assert state is State.FAILED
    assert re.fullmatch("[ab]{20}", beside.result(30))
    assert engine.generate("a", regex="ab", max_tokens=4).text == "ab"


def test_suppressed_tokens_that_leave_nothing_fail_their_own_generation(engine: Engine) -> None:
    gen = engine.submit("a", regex="a|b", suppress_tokens=["a", "b"])
    assert engine.generate("a", regex="a|b", suppress_tokens=["a"], max_tokens=3).text == "b"
    gen.wait(30)
    assert "no token is left" in str(gen.error)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_suppressed_tokens_never_come_even_where_the_form_would_cut_its_text_into_them(
    engine: Engine, way: dict[str, Any]
) -> None:
    params: dict[str, Any] = {"regex": "(a|b)cdefgh(a|d)", "suppress_tokens": ["de"], "max_tokens": 20}
    gen = engine.generate("a", **params, **way)
    assert PIECES.index("de") not in gen.tokens
    assert re.fullmatch("(a|b)cdefgh(a|d)", gen.parsed)
    assert gen.tokens == engine.generate("a", **params, draft_length=0).tokens
    none_left = engine.submit("a", **{**params, "suppress_tokens": ["de", "d"]}, **way)
    none_left.wait(30)
    assert "no token is left" in str(none_left.error)


def test_what_is_still_being_compiled_can_be_cancelled_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    release, real = threading.Event(), compiler.Grammar

    def slow(*args: Any) -> Any:
        release.wait(30)
        return real(*args)

    monkeypatch.setattr(compiler, "Grammar", slow)
    with scripted_engine(model(1)) as opened:
        gens = [opened.submit("a", regex="ab"), opened.submit("a", regex="cd")]
        assert opened.generate("a", max_tokens=3).tokens  # others do not wait
        gens[0].cancel("not wanted")
        assert gens[0].wait(60)
        assert gens[0].state is State.CANCELLED
    assert gens[1].wait(60)
    assert gens[1].state is State.CANCELLED
    release.set()
    with pytest.raises(EngineClosed):
        opened.submit("a", regex="ef")


def test_penalties_and_masks_go_together(engine: Engine) -> None:
    params = {"regex": "[a-h]{30}", "frequency_penalty": 2.0, "max_tokens": 40}
    plain = engine.generate("a", draft_length=0, **params)
    drafted = engine.generate("a", drafter="model", draft_length=3, **params)
    assert plain.tokens == drafted.tokens
    assert len(plain.text) == 30
