"""A notebook's order is its history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from exsa_lab import loading
from exsa_lab.conversation.cells import Cell, Conversations
from exsa_lab.conversation.chat import Chat
from exsa_lab.errors import ConfigError
from exsa_lab.testing import scripted_engine
from tests.conversation.test_chat import alphabet, said


@pytest.fixture(autouse=True)
def engine() -> Iterator[None]:
    loading.use(scripted_engine(alphabet()))
    yield
    loading.unload()


class Page:
    """A notebook: cells by id, each run told apart."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.conversations = Conversations(self.names)
        self.num_runs = 0

    def run(self, cell: str, *texts: str, name: str = "", new: bool = False, system: str | None = None) -> str:
        self.num_runs += 1
        for text in texts:
            gen = self.conversations.ask(
                text, name, Cell(cell, str(self.num_runs) * bool(cell)), is_new=new, system=system, max_tokens=1
            )
            gen.result()
        return " ".join(self.conversations.notes)

    def said(self, name: str = "chat") -> str:
        return said(self.names[name])


@pytest.fixture
def page() -> Page:
    return Page()


def test_cells_go_on_with_the_only_conversation(page: Page) -> None:
    assert "in the variable chat" in page.run("1", "a")
    assert not page.run("2", "c")
    assert page.said() == "a|b|c|d"


def test_a_cell_that_is_run_again_replaces_its_turn(page: Page) -> None:
    for cell, text in (("1", "a"), ("2", "c"), ("3", "e")):
        page.run(cell, text)
    assert page.run("2", "g") == "Replaced turn 2 and dropped the one after it."
    assert page.said() == "a|b|g|h"
    page.run("3", "e")
    assert page.said() == "a|b|g|h|e|f"
    assert page.run("1", "h") == "Replaced turn 1 and dropped the 2 after it."
    assert page.said() == "h|a"


def test_a_deleted_cell_is_gone_once_an_earlier_one_is_run(page: Page) -> None:
    for cell in "123":
        page.run(cell, "abc"[int(cell) - 1])
    page.run("1", "a")
    page.run("3", "c")
    assert page.said() == "a|b|c|d"


def test_all_cells_in_another_order_after_new(page: Page) -> None:
    page.run("0", "h", new=True)
    for cell in "12":
        page.run(cell, cell.translate({49: "a", 50: "c"}))
    page.run("0", "h", new=True)
    for cell in "21":
        page.run(cell, cell.translate({49: "a", 50: "c"}))
    assert page.said() == "h|a|c|d|a|b"
    assert list(page.conversations.named()) == ["chat"]


def test_a_loop_in_a_cell_asks_several_turns(page: Page) -> None:
    page.run("1", "a", "c")
    assert page.said() == "a|b|c|d"
    page.run("2", "e")
    assert page.run("1", "g", "e") == ""
    assert page.said() == "g|h|e|f"


def test_front_ends_that_do_not_tell_the_cell(page: Page) -> None:
    page.run("", "a")
    page.run("", "a")
    assert page.said() == "a|b|a|b"


def test_names(page: Page) -> None:
    page.run("1", "a", name="one")
    page.run("2", "a", name="two")
    with pytest.raises(ConfigError, match="2 conversations: one, two"):
        page.run("3", "a")
    page.run("3", "c", name="one")
    assert page.said("one") == "a|b|c|d"
    page.names["number"] = 3
    for wrong in ("number", "a b", "if", "_x"):
        with pytest.raises(ConfigError):
            page.run("4", "a", name=wrong)
    page.names["alias"], page.names["_"] = page.names["one"], Chat()
    assert list(page.conversations.named()) == ["one", "two"]


def test_new_begins_another_that_is_gone_on_with(page: Page) -> None:
    page.run("1", "a")
    page.run("2", "c", new=True)
    page.run("3", "e")
    assert page.said() == "a|b"
    assert page.said("chat_2") == "c|d|e|f"
    page.run("2", "g", new=True)
    assert page.said("chat_2") == "g|h"
    page.run("1", "h")
    assert page.said() == "h|a"


def test_a_fork_is_a_conversation_of_its_own(page: Page) -> None:
    page.run("1", "a")
    page.run("2", "c")
    page.names["other"] = page.names["chat"].fork(1)
    page.run("3", "e", name="other")
    assert page.said("other") == "a|b|e|f"
    assert page.said() == "a|b|c|d"
    page.run("4", "g")
    assert page.said() == "a|b|c|d|g|h"


def test_the_system_message_is_for_the_first_turn(page: Page) -> None:
    page.run("1", "a", system="S")
    assert page.said() == "S|a|b"
    with pytest.raises(ConfigError, match="another system message"):
        page.run("2", "c", system="g")
    page.run("2", "c", system="S")
    page.run("1", "a", system="g")
    assert page.said() == "g|a|b"
