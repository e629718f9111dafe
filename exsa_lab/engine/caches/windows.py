"""Whether layers with a sliding window still have what the next token of a slot looks back at."""

from __future__ import annotations

from exsa_lab.runtime.protocol import UNLIMITED, Context


def is_whole(context: Context, slot: int, length: int) -> bool:
    """Whether a slot can go on after its first ``length`` tokens.

    llama.cpp gives cells outside the window of a slot's last token to others: what is shared of its beginning, or is
    left of it once drafts were taken back, may lack some. (Recurrent layers beside a window take nothing back.)
    """
    if not length or context.window is None or context.max_rollback != UNLIMITED:
        return True
    return context.window.is_whole(context.first_whole(slot), length)
