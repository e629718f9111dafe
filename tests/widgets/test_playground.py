"""The playground shows what gen.positions() shows, and does what its buttons say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipywidgets import Widget

import exsa_lab as xl
from exsa_lab import loading
from exsa_lab.config import SamplingParams
from exsa_lab.engine.engine import Engine
from exsa_lab.errors import ConfigError, EngineClosed, EngineNotLoaded
from exsa_lab.speculation.sampling import Distribution, apply_chain
from exsa_lab.testing import ScriptedModel, markov, scripted_engine
from exsa_lab.trace.condensed import condense
from exsa_lab.trace.positions import common_probability
from exsa_lab.widgets import playground
from exsa_lab.widgets.play_tree import ROOT
from exsa_lab.widgets.playground import Playground, play

VECTORS = Path(__file__).with_name("play_vectors.json")
CHAINS = [
    {"temperature": t, "top_k": k, "top_p": top_p, "min_p": min_p}
    for t, k, top_p, min_p in (
        (1.0, 0, 1.0, 0.0),
        (0.0, 0, 1.0, 0.0),
        (0.3, 0, 1.0, 0.0),
        (2.0, 0, 1.0, 0.0),
        (1.0, 1, 1.0, 0.0),
        (1.0, 5, 1.0, 0.0),
        (0.8, 40, 0.95, 0.0),
        (1.0, 0, 0.5, 0.0),
        (1.0, 0, 0.9, 0.0),
        (2.0, 0, 0.95, 0.0),
        (1.0, 0, 1.0, 0.05),
        (1.5, 0, 1.0, 0.002),
        (1.2, 30, 0.8, 0.1),
        (1.0, 400, 1.0, 0.0),
    )
]


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    loading.unload()
    Widget.close_all()


def make_engine(*, with_draft: bool = True) -> Engine:
    right, wrong = markov(12, 1), markov(12, 2)
    pieces = [chr(97 + i) for i in range(12)]
    draft = ScriptedModel(pieces, lambda tokens: 0.6 * np.asarray(right(tokens)) + 0.4 * np.asarray(wrong(tokens)))
    return loading.use(scripted_engine(ScriptedModel(pieces, right, ends=[11]), draft if with_draft else None))


@pytest.fixture
def engine() -> Engine:
    return make_engine()


def made_vectors() -> dict[str, Any]:
    """Positions in short, and what Python's chain makes of the whole ones."""
    random = np.random.default_rng(1)
    places, cases = [], []
    for spread in (2.0, 4.0):
        target = (spread * random.normal(size=3000)).astype(np.float32)
        draft = (0.7 * target + random.normal(size=3000)).astype(np.float32)
        place = condense(target, draft)
        labels = [str(token) for token in place.ids]
        places.append({**place.as_json(), "labels": labels})
        for chain in CHAINS:
            p, q = (apply_chain(row, SamplingParams(**chain)) for row in (target, draft))
            probs = [[int(t), round(p.probability(t), 7), round(q.probability(t), 7)] for t in place.ids.tolist()[::7]]
            kept = int((p.probs > 0).sum())
            cases.append([len(places) - 1, chain, probs, kept, round(common_probability(p, q), 6)])
    return {"places": places, "cases": cases}


def test_the_vectors_of_the_page_are_those_of_python() -> None:
    stored, made = json.loads(VECTORS.read_text()), made_vectors()
    assert [place["ids"] for place in stored["places"]] == [place["ids"] for place in made["places"]]
    for case, wanted in zip(stored["cases"], made["cases"], strict=True):
        assert case[:2] == wanted[:2]
        assert case[2] == [[t, pytest.approx(p, abs=1e-5), pytest.approx(q, abs=1e-5)] for t, p, q in wanted[2]]
        assert case[4] == pytest.approx(wanted[4], abs=1e-4)


def _expect_equal(mine: Distribution, theirs: Distribution, within: float = 1e-6) -> None:
    ids = np.union1d(mine.tokens, theirs.tokens).astype(np.int32)
    np.testing.assert_allclose(mine.probabilities(ids), theirs.probabilities(ids), atol=within)


@pytest.mark.parametrize("chain", [{"temperature": 0.7}, {"temperature": 1.0, "top_p": 0.8}, {"top_k": 3}])
def test_distributions_are_those_of_positions(engine: Engine, chain: dict[str, Any]) -> None:
    gen = engine.generate("abcab", max_tokens=8, chat=False, temperature=1.0, seed=3)
    places = gen.positions()
    view = play("abcab", chat=False, **chain)
    for number, token in enumerate(gen.tokens):
        _expect_equal(view.p(), places.p(number, **chain))
        _expect_equal(view.q(), places.q(number, **chain))
        view.choose(token)
    own = [places.p(number).probability(token) for number, token in enumerate(gen.tokens)]
    np.testing.assert_allclose(view.bits, -np.log2(own), rtol=1e-5)
    assert view.text == gen.text


@pytest.mark.real
def test_on_the_real_pair_they_are_those_of_positions_too() -> None:
    engine = xl.load()
    gen = engine.generate("What is a rainbow?", max_tokens=6)
    places = gen.positions()
    view = play("What is a rainbow?", temperature=0.8, top_p=0.9)
    view.force(gen.text)
    assert view.tokens == gen.tokens
    for number in range(6):
        view.back(len(view.tokens) - number)
        _expect_equal(view.p(), places.p(number, temperature=0.8, top_p=0.9), within=0.02)
        _expect_equal(view.q(), places.q(number, temperature=0.8, top_p=0.9), within=0.02)
        view.choose(gen.tokens[number])


def test_going_back_and_choosing_anew_is_a_branch(engine: Engine) -> None:
    view = play("abc", chat=False)
    view.force("dea")
    assert (view.at, view.tip, view.text) == (3, 3, "dea")
    view.back(2)
    assert (view.at, view.tip, view.text) == (1, 3, "d")
    view.choose("e")  # on the branch that is there
    assert (view.at, view.tip) == (2, 3)
    view.choose("f")
    assert (view.at, view.tip, view.text) == (4, 4, "def")
    view.back(99)
    assert view.at == ROOT
    assert [row[:3] for row in view.tree] == [[1, 0, 3], [2, 1, 4], [3, 2, 0], [4, 2, 5]]


def test_the_page_goes_to_any_place_and_what_was_dropped_is_read_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playground, "MAX_PLACES", 2)
    view = play("abc", chat=False)
    view.choose("d")
    first = view.places["1"]
    for letter in "eab":
        view.choose(letter)
    assert set(view.places) == {"3", "4"}
    view.at = 1  # as a page says it
    assert view.places["1"]["target"] == first["target"]
    view.at = 77
    assert view.at == ROOT


def test_a_text_that_was_forced_is_read_in_one_pass(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    positions = Engine.positions
    monkeypatch.setattr(Engine, "positions", lambda self, trace: calls.append(trace) or positions(self, trace))  # type: ignore[func-returns-value]
    view = play("abc", chat=False)
    view.force("dead")
    view.back(4)
    view.force("de")
    assert len(calls) == 3  # the prompt's end, the text, and the place after "de", which nobody had looked at


def test_draws_follow_the_seed_and_the_draft_is_tested(engine: Engine) -> None:
    one, two = (play("abc", chat=False, seed=5) for _ in range(2))
    assert [one.draw() for _ in range(5)] == [two.draw() for _ in range(5)]
    assert re.fullmatch(r"u = 0\.\d+ draws “\w” from p\.", one.said)
    stood = [one.propose() for _ in range(30)]
    assert {True, False} == set(stood)
    assert one.said.endswith("accepted." if stood[-1] else "in excess of q.")


def test_what_the_draft_and_the_test_write_is_distributed_as_p(engine: Engine) -> None:
    view = play("abc", chat=False, seed=1)
    p = view.p().probabilities(np.arange(12))
    came = np.zeros(12)
    for _ in range(600):
        view.propose()
        came[view.tokens[-1]] += 1
        view.back()
    assert ((came - 600 * p) ** 2 / (600 * p)).sum() < 35  # 11 degrees of freedom: once in 4,000


def test_without_a_draft_there_is_no_q() -> None:
    make_engine(with_draft=False)
    view = play("abc", chat=False)
    assert view.places["0"]["draft"] is None
    with pytest.raises(ConfigError, match="no draft"):
        view.q()
    assert "accepted with" not in view.static()[1]


def test_messages_of_the_page_are_obeyed_or_ignored(engine: Engine) -> None:
    view = play("abc", chat=False)
    view._receive(view, {"type": "choose", "at": 0, "value": 3}, [])
    assert view.text == "d"
    view._receive(view, {"type": "force", "at": 0, "value": "e"}, [])
    assert view.text == "e"
    for nonsense in (None, [], {"type": "close", "at": 0}, {"type": "choose", "at": 99, "value": 1}, {"type": "draw"}):
        view._receive(view, nonsense, [])
        assert view.problem == ""
    view._receive(view, {"type": "choose", "at": 0, "value": 1e9}, [])
    assert "token is" in view.problem
    assert (view.at, view.tip) == (0, 2)


def test_the_static_view_tells_text_and_bars_and_escapes(engine: Engine) -> None:
    view = play("abc", chat=False, top_k=3)
    view.force("de")
    html, text = view.static()
    assert set(re.findall(r"<(\w+)", html)) <= {"div", "i", "span", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert "it leaves 3 tokens" in text
    assert "2 tokens" in text
    assert text.count("cut") >= 5
    assert f"accepted with probability {common_probability(view.p(), view.q()):.2f}" in text
    pieces = ["<img src=x>", "&", "b"]
    loading.use(scripted_engine(ScriptedModel(pieces, lambda _: [0.5, 0.3, 0.2])))
    assert "<img" not in play("b", chat=False).static()[0]


def test_wrong_requests_are_refused(engine: Engine) -> None:
    view = play("abc", chat=False)
    for act, wrong in ((view.choose, "de"), (view.choose, 99), (view.force, ""), (view.force, "a" * 65)):
        with pytest.raises(ConfigError):
            act(wrong)  # type: ignore[operator]
    with pytest.raises(ConfigError, match="logit_bias is not shown"):
        play("abc", chat=False, logit_bias={1: 2.0})
    loading.unload()
    with pytest.raises(EngineNotLoaded):
        xl.play("abc")


def test_what_is_shown_outlives_the_engine(engine: Engine) -> None:
    view = play("abc", chat=False)
    view.force("de")
    html, text = view.static()
    loading.unload()
    view.top_k = 2
    view.top_k = 0
    assert view.static() == (html, text)
    assert view.text == "de"
    for act in (lambda: view.choose("a"), lambda: view.force("a"), lambda: view.choose(1)):
        with pytest.raises(EngineClosed):
            act()
    view._receive(view, {"type": "draw", "at": 2}, [])
    assert "closed" in view.problem
    view.at = 1  # forced in one pass, so never looked at
    assert view.at == 2
    assert view.static() == (html, text)


def test_the_state_carries_all_that_the_page_needs(engine: Engine) -> None:
    view = Playground("abc", chat=False)
    state = view.get_state()
    assert {"tree", "places", "at", "tip", "prompt_text", "temperature"} <= set(state)
    assert len(json.dumps(state["places"])) < 20_000
