"""Conversations on scripted models: what is asked, what is cached, and what going back does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import exsa_lab as xl
from exsa_lab import loading
from exsa_lab.conversation.chat import Chat
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError, EngineNotLoaded, PromptTooLong
from exsa_lab.testing import ScriptedModel, scripted_engine
from tests.prompts.tool_models import CLOCK, HERMES, reply_model

LETTERS = "abcdefgh ?S.\n<>\u202e"


def alphabet(*, step_s: float = 0.0, name: str = "alphabet") -> ScriptedModel:
    """Goes on with the letters a to h in their order, over and over, and after a "." ends at once."""

    def next_probs(tokens: tuple[int, ...]) -> list[float]:
        after = 11 if tokens[-1] == 11 else (tokens[-1] + 1) % 8
        return [1.0 if token == after else 0.0 for token in range(len(LETTERS))]

    return ScriptedModel(LETTERS, next_probs, ends=[11], step_s=step_s, name=name)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with scripted_engine(alphabet()) as made:
        yield made


def make(engine: Engine, *args: Any, **params: Any) -> Chat:
    return Chat(*args, engine=engine, **{"max_tokens": 3, **params})


def said(chat: Chat) -> str:
    """The whole conversation as one text."""
    return "|".join(message["content"] for message in chat.messages)


def prompt_text(gen: xl.Generation) -> str:
    return "".join(LETTERS[token] for token in gen.prompt_ids)


def test_the_history_goes_along_and_costs_only_its_new_tokens(engine: Engine) -> None:
    chat = make(engine, "S")
    assert chat.ask("abc").result() == "def"
    second = chat.ask("a")
    assert second.result() == "bcd"
    assert prompt_text(second) == "Sabcdefa"
    assert second.stats.cached_prompt_tokens == len("Sabcde")
    assert said(chat) == "S|abc|def|a|bcd"
    assert len(chat) == 2


@settings(max_examples=25)
@given(st.lists(st.tuples(st.text("abcdefgh", min_size=1, max_size=12), st.integers(1, 12)), min_size=1, max_size=8))
def test_the_tokens_of_the_turns_are_the_prompt_of_the_next(turns: list[tuple[str, int]]) -> None:
    with scripted_engine(alphabet()) as engine, scripted_engine(alphabet()) as fresh:
        chat = make(engine)
        history: list[int] = []
        for text, length in turns:
            gen = chat.ask(text, max_tokens=length)
            gen.result()
            assert gen.prompt_ids == history + [LETTERS.index(letter) for letter in text]
            assert gen.stats.cached_prompt_tokens >= len(history) - 1
            alone = fresh.generate(prompt_text(gen), chat=False, max_tokens=length)
            assert alone.tokens == gen.tokens
            history = gen.prompt_ids + gen.tokens


def test_cells_of_a_chat_stay_while_others_ask(engine: Engine) -> None:
    with scripted_engine(alphabet(), prefix_cache_tokens=0, fast_cells=64) as engine:
        chat = make(engine)
        chat.ask("abcabcabc").result()
        for text in ("h", "hg", "hf"):
            engine.generate(text, max_tokens=3)
        gen = chat.ask("a")
        gen.result()
        assert gen.stats.cached_prompt_tokens == 11


def test_a_reply_keeps_its_own_tokens(engine: Engine) -> None:
    """Two letters can be one token or two; the model says two where the tokenizer would make one."""
    model = ScriptedModel(
        ["a", "b", "ab", "?", "\n"], lambda tokens: [0, 1, 0, 0, 0] if tokens[-1] == 0 else [1, 0, 0, 0, 0]
    )
    with scripted_engine(model) as engine:
        chat = make(engine, max_tokens=2)
        chat.ask("ab").result()
        gen = chat.ask("?")
        gen.result()
        assert gen.prompt_ids == [2, 0, 1, 3]


def test_parameters_of_the_chat_and_of_one_question(engine: Engine) -> None:
    chat = make(engine, temperature=0.5, seed=1)
    gen = chat.ask("a", max_tokens=1, seed=2)
    assert (gen.params.temperature, gen.params.seed, gen.params.max_tokens) == (0.5, 2, 1)
    for wrong in ({"chat": False}, {"system": "x"}, {"temprature": 1}):
        with pytest.raises(ConfigError):
            make(engine, **wrong) if "system" not in wrong else chat.ask("b", **wrong)
    with pytest.raises(ConfigError, match="empty"):
        chat.ask(" \n")
    assert said(chat).startswith("a|")


def test_a_reply_that_is_gone_on_with_is_longer_in_the_chat(engine: Engine) -> None:
    chat = make(engine)
    first = chat.ask("a")
    assert first.result() == "bcd"
    assert chat.turns[-1].reply is not None
    assert chat.turns[-1].reply.ending == "length"
    second = first.more(max_tokens=2)
    assert said(chat) == "a|bcdef"  # it waits
    second.more(max_tokens=1)
    assert said(chat) == "a|bcdefg"
    gen = chat.ask("c")
    gen.result()
    assert prompt_text(gen) == "abcdefgc"
    assert gen.stats.cached_prompt_tokens == 6
    first.more(max_tokens=1).result()  # another turn is the last now
    assert said(chat) == "a|bcdefg|c|def"
    copy = chat.fork()
    gen.more(max_tokens=1).result()
    assert (said(chat), said(copy)) == ("a|bcdefg|c|defg", "a|bcdefg|c|def")


def test_going_on_that_brings_nothing_changes_nothing() -> None:
    with scripted_engine(alphabet(step_s=0.01)) as engine:
        chat = make(engine, draft_length=0)
        first = chat.ask("a")
        first.result()
        empty = first.more(max_tokens=500, timeout=1e-9)
        assert not empty.wait() or not empty.tokens
        reply = chat.turns[-1].reply
        assert reply is not None
        assert (said(chat), reply.ending) == ("a|bcd", "length")
        long = first.more(max_tokens=500)
        reply = chat.turns[-1].reply
        assert reply is not None
        assert reply.ending == "running"
        chat.undo()
        assert long.wait()
        assert (long.cancel_reason, first.cancel_reason, len(chat)) == ("its turn was taken back", "", 0)


def test_fork_undo_reset(engine: Engine) -> None:
    chat = make(engine, "S")
    for text in ("a", "b", "c"):
        chat.ask(text)
    other = chat.fork(1)
    gen = other.ask("h")
    gen.result()
    assert prompt_text(gen) == "Sabcdh"
    assert gen.stats.cached_prompt_tokens == 5
    assert said(other) == "S|a|bcd|h|abc"
    assert len(chat) == 3
    assert said(chat.undo()) == "S|a|bcd|b|cde"
    assert said(chat.fork()) == said(chat)
    assert said(chat.fork(0)) == said(chat.reset()) == "S"
    with pytest.raises(ConfigError, match="undo"):
        chat.undo()
    with pytest.raises(ConfigError, match="turn is 3"):
        other.fork(3)


def test_a_replaced_turn_takes_what_came_after_it_along(engine: Engine) -> None:
    chat = make(engine)
    for text in ("a", "b", "c"):
        chat.ask(text)
    gen = chat.ask("e", replace=2)
    assert chat.notes == ("Replaced turn 2 and dropped the one after it.",)
    gen.result()
    assert said(chat) == "a|bcd|e|fgh"
    chat.ask("f", replace=1)
    assert said(chat) == "f|gha"


def test_what_fails_leaves_the_chat_as_it_was(engine: Engine) -> None:
    chat = make(engine, overflow="error")
    chat.ask("a")
    chat.ask("b")
    before = said(chat)
    with pytest.raises(PromptTooLong):
        chat.ask("a" * 5000, replace=1).result()
    with pytest.raises(ConfigError):
        chat.ask("c", replace=1, max_tokens=-1)
    assert said(chat) == before
    assert chat.ask("c").result() == "def"


def test_a_cancelled_reply_stays_and_is_marked() -> None:
    with scripted_engine(alphabet(step_s=0.002), n_ctx=8192) as engine:
        chat = make(engine, max_tokens=4000, draft_length=0)
        gen = chat.ask("abc")
        while len(gen.tokens) < 5:
            gen.wait(0.01)
        gen.cancel()
        gen.wait()
        assert chat.turns[0].reply is not None
        assert chat.turns[0].reply.ending == "cancelled"
        assert "[interrupted]" in repr(chat)
        again = chat.ask("a", max_tokens=2)
        again.result()
        assert again.prompt_ids[3:-1] == gen.tokens
        assert again.stats.cached_prompt_tokens >= 3 + len(gen.tokens) - 1


def test_undo_and_a_replacement_cancel_what_is_coming() -> None:
    with scripted_engine(alphabet(step_s=0.002), n_ctx=8192) as engine:
        chat = make(engine, max_tokens=4000, draft_length=0)
        gen = chat.ask("abc")
        assert "[still running]" in repr(chat)
        assert len(chat.undo()) == 0
        assert gen.wait(60)
        assert gen.state == "cancelled"
        first = chat.ask("abc")
        chat.ask("b", replace=1, max_tokens=2)
        assert first.state == "cancelled"
        assert said(chat) == "b|cd"


def test_the_oldest_turns_leave_a_full_context_for_good() -> None:
    with scripted_engine(alphabet(), n_ctx=64) as engine:
        chat = make(engine, "S", max_tokens=4)
        notes = []
        for number in range(20):
            gen = chat.ask("abcd" if number % 2 else "bcde")
            gen.result()
            assert gen.prompt_ids[0] == LETTERS.index("S")
            assert len(gen.prompt_ids) + 4 <= 64
            notes.append(bool(gen.notes))
        assert len(chat) == 20
        assert 3 <= sum(notes) <= 10  # not with every turn: what is left is cached for a few
        assert "no longer in the context" in repr(chat)


def test_another_model_is_told_once_and_reads_text(tmp_path: Path) -> None:
    with scripted_engine(alphabet()) as engine:
        chat = make(engine)
        chat.ask("abc").result()
        chat.save(tmp_path / "chat.json")
    with scripted_engine(alphabet(name="other")) as engine:
        chat = Chat.load(tmp_path / "chat.json", engine=engine)
        gen = chat.ask("a")
        assert chat.notes == ("Until now alphabet answered; other reads the conversation anew.",)
        assert isinstance(gen.prompt, list)
        assert not any("token_ids" in message for message in gen.prompt)
        assert gen.result() == "bcd"
        chat.ask("b")
        assert not chat.notes
        assert said(chat) == "abc|def|a|bcd|b|cde"


def test_messages_by_hand(engine: Engine) -> None:
    history = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "h"},
    ]
    chat = make(engine, messages=history)
    gen = chat.ask([{"role": "user", "content": [{"type": "text", "text": "b"}]}])
    gen.result()
    assert prompt_text(gen) == "Sahb"
    assert said(chat) == "S|a|h|b|cde"
    assert engine.generate([*chat.messages, {"role": "user", "content": "f"}], max_tokens=1).text == "g"
    with pytest.raises(ConfigError, match="question"):
        make(engine, messages=[{"role": "user", "content": "a"}])
    with pytest.raises(ConfigError, match="ask nothing"):
        chat.ask(history[1:])
    with pytest.raises(ConfigError, match="system message already"):
        chat.ask([{"role": "system", "content": "g"}, {"role": "user", "content": "a"}])


def test_save_and_load(engine: Engine, tmp_path: Path) -> None:
    chat = make(engine, "S", stop=("g",), logit_bias={1: 2.0})
    chat.ask("ab")
    chat.ask("\u202e a<b>", key="cell")
    path = chat.save(tmp_path / "chat.json")
    again = Chat.load(path, engine=engine)
    assert again.turns == chat.turns
    assert again.system == "S"
    assert again.ask("a").params == chat.ask("a").params
    again.save(path)
    assert len(Chat.load(path)) == 3


def test_parameters_are_kept_as_values(engine: Engine, tmp_path: Path) -> None:
    """An iterator is read once, a list is copied, numpy's numbers and pydantic's models are saved as JSON."""

    class City(pydantic.BaseModel):
        name: str

    biases = {1: np.float32(2.0)}
    chat = make(engine, stop=iter(["g"]), logit_bias=biases, max_tokens=np.int64(4))
    biases[2] = np.float32(100.0)
    for question in ("d", "c"):
        gen = chat.ask(question)
        assert (gen.params.stop, gen.params.logit_bias, gen.params.max_tokens) == (("g",), {1: 2.0}, 4)
    again = Chat.load(chat.save(tmp_path / "chat.json"), engine=engine)
    assert again.ask("a").params == chat.ask("a").params
    formed = make(engine, response_format=City)
    assert Chat.load(formed.save(tmp_path / "chat.json"))._params["response_format"]["schema"]["title"] == "City"


def test_a_question_may_choose_among_the_chats_tools() -> None:
    with scripted_engine(reply_model(HERMES, "Well")) as engine:
        gen = Chat(engine=engine, tools=[CLOCK], max_tokens=1).ask("What time is it?", tool_choice="required")
        assert gen.params.tool_choice == "required"


def test_messages_are_copies(engine: Engine) -> None:
    chat = make(engine)
    chat.ask("abc").result()
    before = said(chat)
    for message in chat.messages:
        message["content"] = "x"
        message.get("token_ids", []).clear()
    assert said(chat) == before
    assert chat.messages[-1]["token_ids"]


@pytest.mark.parametrize("path", [3, None, b"chat.json", "no/such/folder/chat.json", ".", "a\0b", "\ud800"])
def test_a_place_that_cannot_be_written(engine: Engine, tmp_path: Path, path: Any) -> None:
    chat = make(engine)
    chat.ask("abc").result()
    for use in (chat.save, Chat.load):
        with pytest.raises(ConfigError):
            use(path)
    assert said(chat) == "abc|def"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.update(params={"messages": [{"role": "user", "content": "a"}]}),
        lambda data: data.update(params={"engine": None}),
        lambda data: data.update(params={"system": "x"}),
        lambda data: data.update(params={"self": 1}),
        lambda data: data["turns"][0].update(asked=[{"role": "system", "content": "x"}]),
        lambda data: data.update(format="exsa_lab.chat/2"),
        lambda data: data.update(more=1),
        lambda data: data.update(system=3),
        lambda data: data.update(params={"temperatur": 1}),
        lambda data: data.update(turns={}),
        lambda data: data["turns"][0].pop("reply"),
        lambda data: data["turns"][0].update(asked=[]),
        lambda data: data["turns"][0]["reply"].update(ending="well"),
        lambda data: data["turns"][0]["reply"].update(prompt_tokens=-1),
        lambda data: data["turns"][0]["reply"]["message"].update(token_ids=[-4]),
        lambda data: data["turns"][0]["reply"]["message"].update(role="user"),
    ],
)
def test_a_file_that_is_no_chat(engine: Engine, tmp_path: Path, spoil: Callable[[Any], None]) -> None:
    chat = make(engine)
    chat.ask("a")
    data = json.loads(chat.save(tmp_path / "chat.json").read_text())
    spoil(data)
    (tmp_path / "bad.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="is not a chat"):
        Chat.load(tmp_path / "bad.json")


def test_without_an_engine() -> None:
    loading.unload()
    chat = xl.Chat()
    with pytest.raises(EngineNotLoaded):
        chat.ask("a")
    loading.use(scripted_engine(alphabet()))
    assert chat.ask("a", max_tokens=1).result() == "b"
    loading.unload()


THINKING = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: <think>\n{% if enable_thinking is false %}</think>{% endif %}{% endif %}"
)
PIECES = ["user: ", "assistant: ", "<think>", "</think>", "\n", "hm", "h", "m", "Yes.", "Why?", "And?", ""]


def thinker(template: str = THINKING) -> ScriptedModel:
    """Thinks "hm", in two tokens where one would do, and says "Yes."."""
    after = {"\n": "h", "h": "m", "m": "</think>", "</think>": "Yes.", "Yes.": ""}

    def next_probs(tokens: tuple[int, ...]) -> list[float]:
        wanted = PIECES.index(after[PIECES[tokens[-1]]])
        return [float(token == wanted) for token in range(len(PIECES))]

    return ScriptedModel(PIECES, next_probs, ends=[11], chat_template=template)


def test_thirty_turns_with_thoughts_are_those_of_fresh_engines() -> None:
    """The template keeps thoughts, so that what was generated is what the next prompt holds."""
    with scripted_engine(thinker(), thinker()) as engine, scripted_engine(thinker(), prefix_cache_tokens=0) as fresh:
        chat, history = Chat(engine=engine), 0
        for number in range(30):
            gen = chat.ask(("Why?", "And?")[number % 2])
            gen.result()
            assert (gen.reasoning, gen.answer) == ("hm", "Yes.")
            # The end token is the template's to write.
            assert gen.stats.cached_prompt_tokens >= max(history - 1, 0.95 * history if number > 1 else 0)
            history = len(gen.prompt_ids) + len(gen.tokens)
            fresh.call(lambda loop: loop.slots.clear_cached())
            again = fresh.generate(gen.prompt)
            assert again.stats.cached_prompt_tokens == 0
            assert (again.prompt_ids, again.tokens) == (gen.prompt_ids, gen.tokens)


def test_a_thought_that_the_template_drops() -> None:
    dropping = THINKING.replace("m.content", "m.content.split('</think>')[-1]")
    with scripted_engine(thinker(dropping)) as engine:
        chat = Chat(engine=engine)
        chat.ask("Why?").result()
        gen = chat.ask("And?")
        gen.result()
        assert "".join(PIECES[token] for token in gen.prompt_ids) == (
            "user: Why?\nassistant: Yes.\nuser: And?\nassistant: <think>\n"
        )
        short = chat.ask("Why?", chat_template_kwargs={"enable_thinking": False})
        assert short.result() == "Yes."
        assert not short.reasoning


def test_what_was_generated_after_a_prefill_keeps_its_tokens(engine: Engine) -> None:
    chat = make(engine)
    first = chat.ask("abc", prefill="h")
    assert first.result() == "abc"
    second = chat.ask("a")
    second.result()
    assert second.prompt_ids == first.prompt_ids + first.tokens + [0]
    assert second.stats.cached_prompt_tokens == 6
    assert said(chat).startswith("abc|habc|a|")


@pytest.mark.real
def test_thirty_turns_of_the_real_pair_are_those_of_fresh_engines() -> None:
    questions = ("Why is the sky blue?", "And at sunset?", "What about Mars?", "Say it for a child.", "Are you sure?")
    with xl.load() as engine:
        chat = Chat("Answer in one sentence.", engine=engine, max_tokens=12)
        generations, history = [], 0
        for number in range(30):
            gen = chat.ask(questions[number % 5])
            gen.result()
            assert gen.stats.cached_prompt_tokens >= 0.95 * history
            engine.generate("Hi.", max_tokens=2)  # a short one alone between them
            history = len(gen.prompt_ids) + len(gen.tokens)
            generations.append(gen)
        config = engine.config
    loading.unload()
    with xl.load(prefix_cache_tokens=0, n_ctx=config.n_ctx) as fresh:
        for gen in generations[::3] + generations[-1:]:
            fresh.call(lambda loop: loop.slots.clear_cached())
            again = fresh.generate(gen.prompt, max_tokens=12)
            assert again.prompt_ids == gen.prompt_ids
            assert again.stats.cached_prompt_tokens == 0
            assert again.tokens == gen.tokens


def test_a_reply_that_calls_a_tool_and_its_result() -> None:
    reply = 'Well\n<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
    with scripted_engine(reply_model(HERMES, reply)) as engine:
        chat = Chat(engine=engine, tools=[CLOCK], max_tokens=120)
        (call,) = _done(chat.ask("What time is it?")).tool_calls
        message = chat.messages[-1]
        assert (message["content"], message["tool_calls"]) == ("Well", [call])
        answer = _done(chat.ask([{"role": "tool", "tool_call_id": call["id"], "content": "noon"}], max_tokens=4))
        prompt = bytes(token for token in answer.prompt_ids if token < 256).decode()
    assert f"assistant\n{reply}\ntool\nnoon\n" in prompt


def _done(generation: Generation) -> Generation:
    generation.result(30)
    return generation
