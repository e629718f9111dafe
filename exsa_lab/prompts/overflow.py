"""What is left out of a conversation that has outgrown the context: its oldest turns, whole."""

from __future__ import annotations

from collections.abc import Callable

from exsa_lab.errors import shown
from exsa_lab.prompts.messages import Message

PART = 4
"""The context in so many parts: one of them is for the reply at the most, and turns are left out by the part, so that
what is left begins alike, and is cached, for many turns."""


def turns_to_drop(
    messages: list[Message], count: Callable[[list[Message]], int], *, n_ctx: int, max_tokens: int
) -> int:
    """Return how many of the oldest turns must go so that prompt and reply fit; the last turn always stays.

    ``count`` tells how many tokens the prompt of a conversation has.
    """
    num_turns = len(_turn_starts(messages))
    total = count(messages)
    excess = total + min(max_tokens, n_ctx // PART) - n_ctx
    if excess <= 0 or num_turns < 2:
        return 0
    part = max(1, n_ctx // PART)
    most = total - part * -(-excess // part)
    low, high = 1, num_turns - 1
    while low < high:
        middle = (low + high) // 2
        if count(without_oldest(messages, middle)) <= most:
            high = middle
        else:
            low = middle + 1
    return low


def without_oldest(messages: list[Message], num_turns: int) -> list[Message]:
    """Return a conversation without its oldest turns; what stands before the first turn as system message stays."""
    if not num_turns:
        return messages
    return [*_head(messages), *messages[_turn_starts(messages)[num_turns] :]]


def dropped_note(messages: list[Message], num_turns: int) -> str:
    """Say which turns were left out, by how they begin."""
    starts = _turn_starts(messages)[:num_turns]
    first, last = (shown(messages[start]["content"][:40]) for start in (starts[0], starts[-1]))
    if num_turns == 1:
        return f"the context is full: the oldest turn was left out, {first}"
    return f"the context is full: the oldest {num_turns} turns were left out, from {first} to {last}"


def _head(messages: list[Message]) -> list[Message]:
    num = next((index for index, message in enumerate(messages) if message["role"] != "system"), len(messages))
    return messages[:num]


def _turn_starts(messages: list[Message]) -> list[int]:
    """Where each turn begins: with a message of the user's."""
    return [index for index, message in enumerate(messages) if message["role"] == "user"]
