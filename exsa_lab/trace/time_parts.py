"""Where the time of a recorded run went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from itertools import pairwise

from exsa_lab.events import RoundEvent


@dataclass(frozen=True, slots=True)
class TimeParts:
    """Seconds from submission to the last round, by what they were spent on. They add up to the whole.

    ``prompt_s`` is the time to the first token, ``draft_s`` to ``gap_s`` are the decoding after it: `Stats.decode_s`.
    """

    prompt_s: float = 0.0
    draft_s: float = 0.0
    verify_s: float = 0.0
    sample_s: float = 0.0
    """Choosing tokens from probabilities, accepting and refusing drafts."""
    gap_s: float = 0.0
    """What is left: scheduling, the caches' bookkeeping, telling of events, waiting for a place in a step."""

    @property
    def total_s(self) -> float:
        return float(sum(astuple(self)))


def time_parts(rounds: Iterable[RoundEvent]) -> TimeParts:
    """Split the time of a run's rounds.

    A round ends when its tokens are known; they are sampled at the beginning of the next round's time. Steps that were
    shared with other requests count whole.

    Example: ``time_parts(gen.trace.rounds).verify_s``.
    """
    rounds = list(rounds)
    if not rounds:
        return TimeParts()
    draft_s = verify_s = sample_s = gap_s = 0.0
    for before, now in pairwise(rounds):
        left = max(0.0, now.time_s - before.time_s)
        verify = min(now.verify_s, left)
        draft = min(now.draft_s, left - verify)
        sample = min(before.sample_s, left - verify - draft)
        draft_s, verify_s, sample_s = draft_s + draft, verify_s + verify, sample_s + sample
        gap_s += left - verify - draft - sample
    return TimeParts(rounds[0].time_s, draft_s, verify_s, sample_s, gap_s)
