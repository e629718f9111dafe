"""Recorded races made by hand, with times that are known."""

from __future__ import annotations

from dataclasses import replace

from exsa_lab.events import RoundEvent
from exsa_lab.trace.trace import Trace
from tests.widgets.fake import PROSE, speculative_rounds, split_tokens


def recorded(*, factor: float = 1.0, k: int = 4, text: str = PROSE, **params: object) -> Trace:
    """A run whose rounds end at ``factor`` times their usual time."""
    events = [event for batch in speculative_rounds(split_tokens(text), k) for event in batch]
    timed = [
        replace(
            event,
            time_s=event.time_s * factor,
            draft_s=event.draft_s * factor,
            verify_s=event.verify_s * factor,
            sample_s=event.sample_s * factor,
        )
        if isinstance(event, RoundEvent)
        else event
        for event in events
    ]
    return Trace(timed, prompt="Why is the sky blue?", params=dict(params), stats={"prompt_tokens": 31})
