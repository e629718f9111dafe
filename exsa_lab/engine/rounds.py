"""What the loop keeps of a step and its rounds until it is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from exsa_lab.engine.commit import Outcome
from exsa_lab.engine.drafting import DraftStep
from exsa_lab.engine.proposers import Draft
from exsa_lab.engine.sequence import Sequence
from exsa_lab.speculation.rejection_sampling import Verdict


@dataclass(slots=True)
class StepCount:
    """What a step did so far. Times in seconds."""

    drafting: DraftStep = field(default_factory=DraftStep)
    draft_s: float = 0.0
    verify_s: float = 0.0
    sample_s: float = 0.0
    tokens: int = 0
    prefill_tokens: int = 0
    draft_tokens: int = 0
    committed_tokens: int = 0
    sequences: int = 0
    decoding: int = 0


@dataclass(frozen=True, slots=True)
class CommittedRound:
    """One sequence's round, committed and still to be told of."""

    sequence: Sequence
    draft: Draft
    verdict: Verdict
    outcome: Outcome
    step: StepCount
    batch_tokens: int
    elapsed: float
    sample_s: float
