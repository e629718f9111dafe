"""The conversations of a notebook: variables that hold a chat, and which cell asked which turn."""

from __future__ import annotations

import keyword
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from exsa_lab.config import did_you_mean
from exsa_lab.conversation.chat import Chat
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError

DEFAULT_NAME = "chat"


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell while it runs. Front ends that do not tell give an empty id: then every run asks anew."""

    id: str = ""
    run: str = ""
    """Tells one run of the cell from the next."""


class Conversations:
    """Finds, for a cell, its conversation and its place in it.

    A conversation is a variable of the notebook that holds a `Chat`, so that the user has it at hand by its name.
    ``hidden`` names are IPython's own. A cell that is run again replaces its turn, and what came after it is dropped.
    """

    def __init__(self, namespace: dict[str, Any], hidden: Iterable[str] = ()) -> None:
        self._namespace = namespace
        self._hidden = hidden
        self._current = ""  # the conversation that was last gone on with without its name
        self._last = Cell()
        self.notes: tuple[str, ...] = ()
        """What the last question had to say about its conversation."""

    def named(self) -> dict[str, Chat]:
        """Return all conversations by name, each once."""
        found: dict[str, Chat] = {}
        for name, value in self._namespace.items():
            is_own = isinstance(value, Chat) and not name.startswith("_") and name not in self._hidden
            if is_own and not any(value is chat for chat in found.values()):
                found[name] = value
        return found

    def may_be(self, variable: str, name: str | None) -> bool:
        """Whether a variable holds a conversation, or will when a cell asks in ``name`` (None: in none)."""
        is_free_name = name is not None and variable.rstrip("_0123456789") == DEFAULT_NAME
        return variable == name or is_free_name or variable in self.named()

    def ask(self, prompt: str, name: str, cell: Cell, *, is_new: bool, system: str | None, **params: Any) -> Generation:
        """Ask in the conversation of this name, or in the cell's or the only one where that is empty.

        Raises ConfigError where it is not clear which one is meant, and what `Chat.ask` raises.
        """
        chosen = name or self._unnamed(cell, is_new=is_new)
        chat = self._find(chosen)
        if chat is None or (is_new and not self._is_same_run(cell)):
            fresh = Chat(system)
            generation = fresh.ask(prompt, key=cell.id, **params)
            fresh.notes += _begun_notes(chosen, chat)
            self._namespace[chosen] = chat = fresh
        else:
            place = None if self._is_same_run(cell) else _place(chat, cell)
            _set_system(chat, system, is_first=place == 1 or not len(chat))
            generation = chat.ask(prompt, replace=place, key=cell.id, **params)
        self._last = cell
        self._current = self._current if name else chosen
        self.notes = chat.notes
        return generation

    def _is_same_run(self, cell: Cell) -> bool:
        """Whether this run of a cell has asked before: in a loop, say."""
        return bool(cell.id) and cell == self._last

    def _find(self, name: str) -> Chat | None:
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise ConfigError(f"--chat is {name!r}.", hint="It must be a valid name of a variable.")
        found = self._namespace.get(name)
        if found is not None and not isinstance(found, Chat):
            near = did_you_mean(name, self.named())
            raise ConfigError(f"the variable {name} holds something else.{near}", hint="Choose another name.")
        return found

    def _unnamed(self, cell: Cell, *, is_new: bool) -> str:
        """Which conversation a cell means that gives no name."""
        chats = self.named()
        own = {name: place for name, chat in chats.items() if (place := _place(chat, cell))}
        if is_new:
            began = [name for name, place in own.items() if place == 1]
            return began[0] if began else self._free_name()
        if own:
            return self._current if self._current in own else next(iter(own))
        if self._current in chats:
            return self._current
        if len(chats) > 1:
            names = ", ".join(chats)
            raise ConfigError(f"there are {len(chats)} conversations: {names}.", hint="Name one: --chat NAME.")
        return next(iter(chats), self._free_name())

    def _free_name(self) -> str:
        number = 1
        while (name := DEFAULT_NAME + (f"_{number}" if number > 1 else "")) in self._namespace:
            number += 1
        return name


def _place(chat: Chat, cell: Cell) -> int | None:
    """The number of the first turn that a cell asked, counted from 1."""
    if not cell.id:
        return None
    return next((number for number, turn in enumerate(chat.turns, 1) if turn.key == cell.id), None)


def _set_system(chat: Chat, system: str | None, *, is_first: bool) -> None:
    if system is None or system == chat.system:
        return
    if not is_first:
        raise ConfigError("the conversation has begun with another system message.", hint="--new begins another.")
    chat.system = system


def _begun_notes(name: str, before: Chat | None) -> tuple[str, ...]:
    if before is None:
        return (f"A new conversation, in the variable {name}.",)
    return (f"A new conversation in {name}; the one before had {len(before)} turn{'s' * (len(before) != 1)}.",)
