"""Prompts that neither a draft nor the draft-length policy was tuned on, by kind of text."""

from __future__ import annotations

from exsa_lab.distill.held_out import HELD_OUT
from exsa_lab.files import read_data

_REQUESTS = (
    'Repeat this text:\n\n"{text}"',
    "Repeat the following text word for word.\n\n{text}",
    "Proofread the following text and return it unchanged if it has no errors.\n\n{text}",
)
REPEAT = tuple(
    _REQUESTS[number % len(_REQUESTS)].format(text=passage)
    for number, passage in enumerate(read_data("exsa_lab.bench", "unseen.json")["passages"])
)

UNSEEN: dict[str, tuple[str, ...]] = {"chat": HELD_OUT["chat"], "code": HELD_OUT["code"], "repeat": REPEAT}
"""Prompts by kind; the last of each is for warming up."""

_STYLES = ("Answer briefly. ", "Answer with an example. ", "Answer in detail. ")


def many_chats(count: int) -> tuple[str, ...]:
    """Return so many different chat prompts, up to 80: those of "chat", and the same with a wish in front."""
    prompts = UNSEEN["chat"] + tuple(style + prompt for style in _STYLES for prompt in UNSEEN["chat"])
    return prompts[:count]
