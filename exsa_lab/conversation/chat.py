"""One conversation: its history goes along with each question."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from exsa_lab import files, loading
from exsa_lab.config import SamplingParams, whole
from exsa_lab.conversation.reading import as_html, as_text
from exsa_lab.conversation.turns import Reply, Turn, parts_of, split_turns
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.generation import Generation
from exsa_lab.errors import ConfigError, printable, shown
from exsa_lab.prompts.messages import Message

FORMAT = "exsa_lab.chat/1"


@dataclass(frozen=True, slots=True)
class _Asking:
    """The last turn, whose reply may still be coming, or be gone on with by `Generation.more`."""

    turn: Turn
    generation: Generation
    first_turn: int
    before: list[Turn]
    """All turns before it was asked, those included that it replaced."""
    kept: list[Turn]
    """The turns before it."""

    @property
    def last(self) -> Generation:
        """What is generated of the reply now, or was last."""
        return parts_of(self.generation)[-1]

    def answered(self) -> Turn:
        return Turn(self.turn.asked, Reply.of(self.generation, self.first_turn), self.turn.key)


class Chat:
    """A conversation with the kernel's engine.

    ``system`` is its system message; ``messages`` a history to begin with; ``params`` are those of `Engine.submit`,
    for every question. ``engine`` is one of your own in place of the kernel's.

    What a model said stays the tokens it generated, so that the whole history is found in the prefix cache and a
    question costs its own tokens only. The last reply may be gone on with: ``more`` of its generation makes it longer
    here, too. When the context is full, the oldest turns are left out, and the generation's
    ``notes`` say which; ``overflow="error"`` refuses instead.

    A chat is for one thread at a time. What needs the reply that is still coming waits for it; `undo` and `reset`
    cancel it. A question whose generation fails, or is cancelled, before its first token leaves the chat as it was.

    Example::

        chat = xl.Chat(system="Answer in one sentence.", max_tokens=64)
        print(chat.ask("Why is the sky blue?").result())
        print(chat.ask("And at sunset?").result())
        other = chat.fork(1)         # goes on from the first turn, and leaves this one alone
    """

    def __init__(
        self,
        system: str | None = None,
        *,
        messages: list[Message] | None = None,
        engine: Engine | None = None,
        **params: Any,
    ) -> None:
        _refuse_own(params)
        self._params = SamplingParams.own(**params)
        self._engine = engine
        self._turns: list[Turn] = []
        self._asking: _Asking | None = None
        self.notes: tuple[str, ...] = ()
        """What the last question had to say about the conversation."""
        self.system = system
        if messages is not None:
            self._begin_with(messages)

    def _begin_with(self, messages: list[Message]) -> None:
        split = split_turns(messages)
        if split.turns and split.turns[-1].reply is None:
            raise ConfigError("the messages end with a question.", hint="Give that to ask().")
        if split.system is not None:
            self._adopt(split.system)
        self._turns = split.turns

    def __len__(self) -> int:
        """Number of turns."""
        return len(self.turns)

    def __repr__(self) -> str:
        return as_text(self.system, self.turns)

    def _repr_html_(self) -> str:
        return as_html(self.system, self.turns)

    # Reading

    @property
    def system(self) -> str | None:
        """The system message. Changing it makes the model read the whole conversation anew."""
        return self._system

    @system.setter
    def system(self, text: str | None) -> None:
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"system is {shown(text)}.", hint="It must be a text.")
        self._system = text

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What was asked and replied so far; the last reply may still be coming."""
        self._settle()
        return (*self._asking.kept, self._asking.answered()) if self._asking else tuple(self._turns)

    @property
    def messages(self) -> list[Message]:
        """The conversation as messages, as `Engine.submit` takes them; waits for the reply that is coming.

        They are copies: changing them changes nothing here.
        """
        self._wait()
        last = next((turn.reply.model for turn in reversed(self._turns) if turn.reply), "")
        return deepcopy(self._messages(self._turns, last))

    def _messages(self, turns: list[Turn], model: str) -> list[Message]:
        head: list[Message] = [] if self.system is None else [{"role": "system", "content": self.system}]
        return head + [message for turn in turns for message in turn.messages_for(model)]

    # Asking

    def ask(
        self, prompt: str | list[Message], *, replace: int | None = None, key: str = "", **params: Any
    ) -> Generation:
        """Ask, and return at once the generation of the reply; its `result` waits for the text.

        ``prompt`` is a text, or messages that go at the end of the conversation. ``replace`` is the number of a turn,
        counted from 1, in whose place this one is: it and all that came after it are dropped. ``key`` says who asks.
        Raises what `Engine.submit` raises, and then the chat is as it was.
        """
        _refuse_own(params)
        merged = SamplingParams.own(**{**self._params, **params})
        if replace is not None:
            replace = whole("replace", replace, 1, max(1, len(self)))
        engine = self._engine or loading.get_engine()
        asked = self._split(prompt, is_first=replace == 1 or not len(self))
        num_before = len(self)
        self._end_or_wait(replace)
        before = self._turns
        kept = [*(before if replace is None else before[: replace - 1]), *asked[:-1]]
        model = engine.target.name
        first_turn = self._first_turn(kept, engine.config.n_ctx)
        turn = Turn(asked[-1].asked, key=key)
        prompt_messages = self._messages([*kept[first_turn:], turn], model)
        generation = engine.submit(prompt_messages, **{"keep_cells": True, **merged})
        self._asking = _Asking(turn, generation, first_turn, before, kept)
        self.notes = (*_replaced_notes(num_before, replace), *_model_notes(kept, model))
        return generation

    def _split(self, prompt: str | list[Message], *, is_first: bool) -> list[Turn]:
        """Return what is asked as turns, of which the last is open."""
        if isinstance(prompt, str):
            if not prompt.strip():
                raise ConfigError("the question is empty.", hint="Write something.")
            return [Turn(({"role": "user", "content": prompt},))]
        split = split_turns(prompt)
        if not split.turns or split.turns[-1].reply is not None:
            raise ConfigError("the messages ask nothing.", hint="The last one must be the user's, or a tool's.")
        if split.system is not None:
            if not is_first and split.system != self.system:
                raise ConfigError("the conversation has a system message already.", hint="Begin another Chat.")
            self._adopt(split.system)
        return split.turns

    def _adopt(self, system: str) -> None:
        if self.system not in (None, system):
            raise ConfigError("system is given twice.", hint="Leave it out of the messages.")
        self.system = system

    @staticmethod
    def _first_turn(turns: list[Turn], context: int) -> int:
        """How many of the oldest turns are left out already, in a context that is not larger than it was then."""
        replies = [turn.reply for turn in turns if turn.reply]
        return max((reply.first_turn for reply in replies if reply.context >= context), default=0)

    # Going back

    def fork(self, turn: int | None = None) -> Chat:
        """Return another chat with the first ``turn`` turns of this one (all, where that is not given).

        Both find what they share in the cache. Raises ConfigError where there are not so many turns.
        """
        number = len(self) if turn is None else whole("turn", turn, 0, len(self))
        if self._asking is not None and number > len(self._asking.kept):
            self._wait()
        copy = Chat(self.system, engine=self._engine, **self._params)
        copy._turns = list(self.turns[:number])
        return copy

    def undo(self) -> Self:
        """Take the last turn back; a reply that is coming is cancelled. Raises ConfigError where there is none."""
        if not len(self):
            raise ConfigError("there is no turn to undo.", hint="The conversation has not begun.")
        self._turns = list(self.turns[:-1])
        self._stop()
        return self

    def reset(self) -> Self:
        """Drop all turns and keep the system message; a reply that is still coming is cancelled."""
        self._turns = []
        self._stop()
        return self

    # Files

    def save(self, path: str | Path) -> Path:
        """Write the conversation as JSON, whole or not at all; returns the path. Raises ConfigError where that fails.

        The file holds all that was said, in clear.
        """
        path = files.expand(path)
        with files.as_config_error(f"the chat could not be saved as {path}", hint="Is there room, and may you write?"):
            return files.write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path, *, engine: Engine | None = None) -> Chat:
        """Read a conversation written by `save`; raises ConfigError where the file is not one."""
        path = files.expand(path)
        with files.as_config_error(f"{path} is not a chat", hint="Save one with chat.save(path)."):
            return cls.from_json(files.read_json(path), engine=engine)

    def to_json(self) -> dict[str, Any]:
        self._wait()
        turns = [turn.to_json() for turn in self._turns]
        checked = SamplingParams(**self._params).as_json()
        params = {name: checked[name] for name in self._params}
        return {"format": FORMAT, "system": self.system, "params": params, "turns": turns}

    @classmethod
    def from_json(cls, data: Any, *, engine: Engine | None = None) -> Chat:
        """Rebuild a chat from `to_json`; raises ValueError where the data is not one."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        if unknown := data.keys() - {"format", "system", "params", "turns"}:
            raise ValueError(f"it has the unknown part {shown(min(unknown))}")
        if not isinstance(turns := data.get("turns"), list) or not isinstance(params := data.get("params"), dict):
            raise ValueError("its turns or its params are missing")
        _refuse_own(params)
        SamplingParams.from_kwargs(**params)  # before they could be taken for our own arguments
        chat = cls(data.get("system"), engine=engine, **params)
        chat._turns = [Turn.from_json(turn) for turn in turns]
        if any(turn.reply is None for turn in chat._turns):
            raise ValueError("a turn has no reply")
        return chat

    # The reply that is coming

    def _settle(self) -> None:
        """A reply that has come becomes a turn."""
        asking = self._asking
        if asking is None or not asking.last.state.is_final:
            return
        if not asking.generation.tokens and asking.generation.finish_reason in ("cancelled", "error"):
            self._turns, self._asking = asking.before, None
        else:
            self._turns = [*asking.kept, asking.answered()]

    def _wait(self) -> None:
        if self._asking is not None:
            self._asking.last.wait()
        self._settle()

    def _end_or_wait(self, replaced: int | None) -> None:
        """Wait for the reply that is coming; nobody wants it where its turn is to be replaced."""
        if self._asking is not None and replaced is not None and replaced <= len(self._asking.kept) + 1:
            self._asking.last.cancel("its turn was replaced")
        self._wait()

    def _stop(self) -> None:
        """Nobody wants the reply that is coming."""
        if self._asking is not None:
            self._asking.last.cancel("its turn was taken back")
            self._asking = None


def _refuse_own(params: Mapping[str, Any]) -> None:
    """Refuse what the conversation itself says."""
    for name, why in _NOT_HERE.items():
        if name in params:
            raise ConfigError(f"a chat does not take {name}.", hint=why)


_NOT_HERE = {
    "chat": "It always renders the model's chat template.",
    "system": "Give it when the chat is made, or set chat.system.",
}


def _replaced_notes(num_before: int, replaced: int | None) -> list[str]:
    if replaced is None or replaced > num_before:
        return []
    num_after = num_before - replaced
    after = f" and dropped the {num_after} after it" if num_after > 1 else " and dropped the one after it"
    return [f"Replaced turn {replaced}{after if num_after else ''}."]


def _model_notes(turns: list[Turn], model: str) -> list[str]:
    last = next((turn.reply.model for turn in reversed(turns) if turn.reply and turn.reply.model), model)
    return [] if last == model else [printable(f"Until now {last} answered; {model} reads the conversation anew.")]
