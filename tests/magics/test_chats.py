"""Chat cells: in a shell of this process, and in a real kernel as a notebook runs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import exsa_lab as xl
from exsa_lab import loading
from exsa_lab.engine.engine import Engine
from exsa_lab.testing import scripted_engine
from tests.conversation.test_chat import alphabet, said
from tests.shell import Kernel, Shell, shell


@pytest.fixture
def ip() -> Iterator[Shell]:
    with shell() as made:
        yield made


@pytest.fixture
def engine() -> Iterator[Engine]:
    yield loading.use(scripted_engine(alphabet()))
    loading.unload()


def test_a_conversation_over_cells(ip: Shell, engine: Engine) -> None:
    first = ip.run("%%exsa --chat --max-tokens 2 --system S\nabc")
    assert "A new conversation, in the variable chat." in first.stdout
    second = ip.run("%%exsa --chat --max-tokens 2 --name out\na")
    assert "New" not in second.stdout
    chat: xl.Chat = ip.ip.user_ns["chat"]
    assert said(chat) == "S|abc|de|a|bc"
    assert ip.ip.user_ns["out"] is ip.ip.user_ns["_exsa"]
    assert ip.ip.user_ns["out"].stats.cached_prompt_tokens == 5


def test_names_new_and_the_list(ip: Shell, engine: Engine) -> None:
    assert "no conversation" in ip.run("%exsa_chats").stdout
    ip.run("%%exsa --chat trip --max-tokens 2\nabc")
    ip.run("%%exsa --chat --new --max-tokens 2\nabcd")
    text = ip.run("%exsa_chats").text()
    assert "trip" in text
    assert "chat" in text
    assert "alphabet" in text
    assert "had 1 turn." in ip.run("%%exsa --chat trip --new --max-tokens 2\na").stdout
    assert said(ip.ip.user_ns["trip"]) == "a|bc"


def test_no_chat_and_format_still_work(ip: Shell, engine: Engine) -> None:
    ip.ip.user_ns["letter"] = "c"
    assert ip.run("%%exsa --no-chat --max-tokens 1\nab").succeeded
    assert not ip.ip.user_ns["_exsa"].params.chat
    ip.run("%%exsa --chat --format --max-tokens 1\nab{letter}")
    assert said(ip.ip.user_ns["chat"]) == "abc|d"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--new", "--new begins"),
        ("--chat 3x", "--chat is '3x'"),
        ("--chat --no-chat", "does not take chat"),
        ("--chat --name chat", "which is a conversation's"),
        ("--chat trip --name trip", "which is a conversation's"),
    ],
)
def test_mistakes_are_one_line(ip: Shell, engine: Engine, line: str, words: str) -> None:
    result = ip.run(f"%%exsa {line}\nabc")
    assert words in str(result.error)
    assert len(result.stdout.strip().splitlines()) == 1
    assert "chat" not in ip.ip.user_ns


def test_a_conversation_is_not_bound_over(ip: Shell, engine: Engine) -> None:
    ip.run("%%exsa --chat trip --max-tokens 1\nabc")
    assert "which is a conversation's" in str(ip.run("%%exsa --name trip --max-tokens 1\nabc").error)
    assert said(ip.ip.user_ns["trip"]) == "abc|d"


def test_in_the_background_the_next_cell_waits(ip: Shell) -> None:
    loading.use(scripted_engine(alphabet(step_s=0.002)))
    ip.run("%%exsa --chat -b --max-tokens 40 --view none\nabc")
    ip.run("%%exsa --chat -b --max-tokens 40 --view none\na")
    chat: xl.Chat = ip.ip.user_ns["chat"]
    assert next(turn.reply is not None and turn.reply.ending for turn in chat.turns) == "length"
    assert len(chat.messages) == 4
    assert isinstance(ip.ip.user_ns["_exsa"].prompt, list)
    assert len(ip.ip.user_ns["_exsa"].prompt) == 3
    loading.unload()


def test_the_oldest_turns_are_named_in_the_output(ip: Shell) -> None:
    loading.use(scripted_engine(alphabet(), n_ctx=32))
    for _ in range(4):
        result = ip.run("%%exsa --chat --max-tokens 4\nabcdefgh")
    assert "the oldest turn was left out, 'abcdefgh'" in result.stdout
    refused = ip.run("%%exsa --chat --overflow error --max-tokens 4\n" + "abcdefgh" * 4)
    assert "PromptTooLong" in refused.stdout
    assert len(ip.ip.user_ns["chat"]) == 4
    loading.unload()


SET_UP = """
%load_ext exsa_lab
from exsa_lab import loading
from exsa_lab.testing import scripted_engine
from tests.conversation.test_chat import alphabet, said
loading.use(scripted_engine(alphabet(step_s=0.002), n_ctx=8192))
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    made = Kernel()
    assert made.run(SET_UP).succeeded
    yield made
    made.close()


def ask(kernel: Kernel, cell: str, text: str, *options: str) -> str:
    result = kernel.run(f"%%exsa --chat --max-tokens 1 {' '.join(options)}\n{text}", cell_id=cell)
    assert result.succeeded, result.evalue
    return result.stdout


def history(kernel: Kernel, name: str = "chat") -> str:
    return kernel.run(f"print(said({name}))").stdout.strip()


def test_run_again_reordered_and_deleted_in_a_kernel(kernel: Kernel) -> None:
    ask(kernel, "1", "a", "--new")
    for cell, text in (("2", "c"), ("3", "e")):
        assert ask(kernel, cell, text) == ""
    assert history(kernel) == "a|b|c|d|e|f"
    assert ask(kernel, "2", "g").strip() == "Replaced turn 2 and dropped the one after it."
    assert history(kernel) == "a|b|g|h"

    ask(kernel, "1", "a", "--new")  # all cells from the top, 3 moved before 2
    for cell, text in (("3", "e"), ("2", "c")):
        ask(kernel, cell, text)
    assert history(kernel) == "a|b|e|f|c|d"

    ask(kernel, "1", "a", "--new")  # all cells from the top, 3 deleted
    ask(kernel, "2", "c")
    assert history(kernel) == "a|b|c|d"


def test_interrupted_in_a_kernel(kernel: Kernel) -> None:
    assert "variable chat_2" in ask(kernel, "i1", "a", "--new")
    asked = "%%exsa --chat --max-tokens 4000 --draft-length 0\nc"
    request = kernel.start_until(asked, "len(gen.tokens) > 30", cell_id="i2")
    kernel.interrupt()
    assert "Interrupted after" in "".join(kernel.finish(request).traceback)
    assert "[interrupted]" in kernel.run("print(repr(chat_2))").stdout
    ask(kernel, "i3", "e")
    assert history(kernel, "chat_2").endswith("|e|f")
    assert len(history(kernel, "chat_2")) > 20
    assert ask(kernel, "i2", "c").startswith("Replaced turn 2")
    assert history(kernel, "chat_2") == "a|b|c|d"
