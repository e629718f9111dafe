"""Thoughts: told from the answer, and closed in time."""

from __future__ import annotations

from typing import Any

import pytest

from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError
from exsa_lab.prompts.marked import join, mark
from exsa_lab.prompts.thinking import Thinking, ThoughtBudget, thinking_of
from exsa_lab.testing import ScriptedModel, scripted_engine

LETTERS = ["<think>", "</think>", "\n", "a", "b", "c", "Q", ".", "\x02"]
OPENS = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{% if enable_thinking|d(true) %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}"
)
CHOICE = "{% for m in messages %}{{ m.content }}{% endfor %}{{ '' if true else '</think>' }}"
THINK, END, BREAK, A, B, C, Q, DOT = range(8)


def thinker(template: str = OPENS, control: tuple[int, ...] = (), thought: int = 9) -> ScriptedModel:
    """Thinks so many tokens of a, b and c in turn, closes its thought and answers "Q."."""

    def next_probs(tokens: tuple[int, ...]) -> list[float]:
        begin = max((i for i, token in enumerate(tokens) if token == THINK), default=None)
        if begin is None:
            after = THINK
        elif END in tokens[begin:]:
            last = tokens[-1]
            after = DOT if last == Q else Q
        else:
            num = sum(token in (A, B, C) for token in tokens[begin:])
            after = END if num >= thought else (A, B, C)[num % 3]
        return [float(token == after) for token in range(len(LETTERS))]

    return ScriptedModel(LETTERS, next_probs, ends=[DOT], chat_template=template, control=control)


def generate(model: ScriptedModel, draft: ScriptedModel | None = None, **params: Any) -> Generation:
    with scripted_engine(model, draft) as engine:
        return engine.generate("a", **{"max_tokens": 40, **params})


@pytest.mark.parametrize("control", [(), (THINK, END)])
@pytest.mark.parametrize("template", [OPENS, CHOICE])
def test_a_thought_and_an_answer(template: str, control: tuple[int, ...]) -> None:
    gen = generate(thinker(template, control))
    assert (gen.reasoning, gen.answer, gen.is_thinking) == ("abcabcabc", "Q", False)


def test_an_answer_without_a_thought() -> None:
    gen = generate(thinker(), chat_template_kwargs={"enable_thinking": False})
    assert (gen.text, gen.reasoning, gen.answer) == ("Q", "", "Q")
    plain = generate(ScriptedModel(["a", "."], lambda tokens: [0.0, 1.0], ends=[1]))
    assert (plain.reasoning, plain.answer, plain.is_thinking) == ("", "", False)


def test_an_unfinished_thought() -> None:
    gen = generate(thinker(), max_tokens=4)
    assert (gen.reasoning, gen.answer, gen.is_thinking) == ("abca", "", True)


@pytest.mark.parametrize("draft_length", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("budget", [0, 1, 4, 5, 9, 20])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_thought_is_closed_after_its_budget(draft_length: int, budget: int, temperature: float) -> None:
    gen = generate(
        thinker(control=(THINK, END)),
        thinker(control=(THINK, END)),
        reasoning_budget=budget,
        draft_length=draft_length,
        drafter="model",
        temperature=temperature,
        seed=1,
    )
    assert (gen.reasoning, gen.answer) == ("abcabcabc"[:budget], "Q")
    assert [*gen.prompt_ids, *gen.tokens].count(END) == 1
    assert [
        event.token_id for event in gen.events if hasattr(event, "token_id") and hasattr(event, "source")
    ] == gen.tokens
    assert gen.stats.generated_tokens == len(gen.tokens)


def test_a_thought_the_model_begins_itself_has_a_budget_too() -> None:
    for budget in (0, 2):
        gen = generate(thinker(CHOICE), reasoning_budget=budget)
        assert (gen.reasoning, gen.answer) == ("ab"[:budget], "Q")


def test_a_budget_counts_within_the_limit_of_tokens() -> None:
    gen = generate(thinker(), reasoning_budget=3, max_tokens=5)
    assert len(gen.tokens) == 5
    assert gen.finish_reason == "length"


def test_a_text_that_only_talks_of_thoughts_has_no_budget() -> None:
    budget = ThoughtBudget(Thinking("<think>", "</think>"), 1, [7])
    assert [budget.after(0, piece) for piece in (b"An ", b"<think>", b"a", b"b")] == [[], [], [], []]
    budget = ThoughtBudget(Thinking("<think>", "</think>"), 1, [7])
    assert [budget.after(0, piece) for piece in (b"\n<thi", b"nk>", b"a", b"b")] == [[], [], [7], []]


def test_a_users_words_open_no_thought() -> None:
    model = thinker()
    assert thinking_of(model, join(["Q", mark("<think>", "\1")])) == Thinking("<think>", "</think>")
    found = thinking_of(model, join([mark("</think>", "\1"), "<think>"]))
    assert found is not None
    assert found.is_open
    assert thinking_of(ScriptedModel(["a"], lambda tokens: [1.0]), "a") is None


CHANNELS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|start|>assistant<|channel|>analysis<|message|>{% endif %}"
    "<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant"
)
MARKS = ["<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>"]
PIECES = [*MARKS, "assistant", "analysis", "final", "a", "Q", "user", "\x02"]
START, CHANNEL, MESSAGE, OVER, RETURN, ASSISTANT, ANALYSIS, FINAL, LETTER, ANSWER = range(10)


def channel_model(thought: int) -> ScriptedModel:
    """Thinks so many letters in one channel and answers "Q" in another, as gpt-oss does."""
    head = [START, ASSISTANT, CHANNEL, FINAL, MESSAGE, ANSWER, *[RETURN] * 20]  # drafts look beyond the end
    script = [CHANNEL, ANALYSIS, MESSAGE, *[LETTER] * thought, OVER]

    def next_probs(tokens: tuple[int, ...]) -> list[float]:
        written = tokens[tokens.index(CHANNEL) :] if CHANNEL in tokens else ()
        after = (
            head[len(written) - 1 - written.index(OVER)] if OVER in written else script[min(len(written), thought + 3)]
        )
        return [float(token == after) for token in range(len(PIECES))]

    controls = (START, CHANNEL, MESSAGE, OVER, RETURN)
    return ScriptedModel(PIECES, next_probs, ends=[RETURN], chat_template=CHANNELS, control=controls)


@pytest.mark.parametrize("draft_length", [0, 3])
def test_thoughts_in_a_channel_of_their_own(draft_length: int) -> None:
    params = {"draft_length": draft_length, "drafter": "model"}
    gen = generate(channel_model(5), channel_model(5), **params)
    assert (gen.reasoning, gen.answer, gen.is_thinking, gen.finish_reason) == ("aaaaa", "Q", False, "stop")
    gen = generate(channel_model(5), channel_model(5), reasoning_budget=2, **params)
    assert (gen.reasoning, gen.answer) == ("aa", "Q")
    for most in range(1, 12):  # the head of the answer is no part of it, not even half of it
        gen = generate(channel_model(5), max_tokens=most)
        assert "assistant" not in gen.reasoning + gen.answer or most < 3
        assert gen.is_thinking is (3 <= most < 9)


@pytest.mark.parametrize("draft_length", [0, 3])
def test_a_text_of_a_form_is_an_answer_and_begins_as_one(draft_length: int) -> None:
    way: dict[str, Any] = {"draft_length": draft_length, "drafter": "model"}
    gen = generate(channel_model(5), channel_model(5), choice=["a", "Q"], **way)
    assert gen.prompt_ids[-5:] == [START, ASSISTANT, CHANNEL, FINAL, MESSAGE]
    assert (gen.parsed, gen.answer, gen.reasoning) == ("a", "a", "")
    gen = generate(thinker(), thinker(), choice=["a", "Q"], **way)
    assert (gen.parsed, gen.answer, gen.reasoning) == ("Q", "Q", "")
    assert END in gen.prompt_ids
    gen = generate(thinker(CHOICE), choice=["<think>", "Q"], reasoning_budget=5, **way)
    assert (gen.parsed, gen.prompt_ids) == ("<think>", [A])
    assert any("reasoning_budget is not used" in note for note in gen.notes)


# Going on


def test_more_goes_on_where_it_stopped() -> None:
    with scripted_engine(thinker()) as engine:
        whole = engine.generate("a", max_tokens=40)
        first = engine.generate("a", max_tokens=4)
        second = first.more(max_tokens=3)
        assert second.result() == "bca"
        third = second.more(max_tokens=40)
        assert first.text + second.text + third.result() == whole.text
        assert [*first.tokens, *second.tokens, *third.tokens] == whole.tokens
        assert (second.reasoning, third.reasoning, third.answer) == ("bca", "bc", "Q")
        assert third.stats.cached_prompt_tokens >= third.stats.prompt_tokens - 1
        with pytest.raises(ConfigError, match="ended by 'stop', so nothing follows"):
            third.more(max_tokens=3)


def test_more_completes_a_character() -> None:
    smile = "\U0001f600".encode()
    pieces = ["a", smile[:2], smile[2:], "."]
    model = ScriptedModel(pieces, lambda tokens: [float(i == tokens[-1] + 1) for i in range(4)], ends=[3])
    with scripted_engine(model) as engine:
        first = engine.generate("a", max_tokens=1)
        assert first.text == ""
        assert first.more(max_tokens=5).result() == "\U0001f600"


def test_more_needs_one_that_is_over() -> None:
    model = ScriptedModel(["a"], lambda tokens: [1.0], step_s=0.01)
    with scripted_engine(model) as engine:
        gen = engine.submit("a", max_tokens=1000)
        with pytest.raises(ConfigError, match="Wait for it"):
            gen.more()
        gen.cancel()
        gen.wait()
        assert gen.more(max_tokens=2).result() == "aa"
        assert gen.more(max_tokens=2, seed=3).params.seed == 3
