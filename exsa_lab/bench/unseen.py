"""Prompts that neither a draft nor the draft-length policy was tuned on, by kind of text."""

from __future__ import annotations

from exsa_lab.distill.held_out import HELD_OUT
from exsa_lab.files import read_data

# A model this small often retells instead of repeating: the texts it repeats word for word come first.
REPEAT: tuple[str, ...] = tuple(read_data("exsa_lab.bench", "unseen.json")["repeat"])

UNSEEN: dict[str, tuple[str, ...]] = {"chat": HELD_OUT["chat"], "code": HELD_OUT["code"], "repeat": REPEAT}
"""Prompts by kind; the last of each is for warming up."""

_STYLES = ("Answer briefly. ", "Answer with an example. ", "Answer in detail. ")
MOST_CHATS = (1 + len(_STYLES)) * len(UNSEEN["chat"])


def many_chats(count: int) -> tuple[str, ...]:
    """Return so many different chat prompts, up to `MOST_CHATS`: those of "chat", and the same with a wish in front."""
    prompts = UNSEEN["chat"] + tuple(style + prompt for style in _STYLES for prompt in UNSEEN["chat"])
    return prompts[:count]
