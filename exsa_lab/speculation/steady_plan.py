"""The modes between which `exsa_lab.speculation.steady_length` chooses, and one step in one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from exsa_lab.config import DrafterName
from exsa_lab.events import DraftReason
from exsa_lab.speculation.draft_plan import Choice, DraftRequest, Outcome, StepPlan, Take
from exsa_lab.speculation.goodput import StepCosts

if TYPE_CHECKING:
    from exsa_lab.speculation.steady_length import SteadyPolicy

MODEL_LENGTHS = (1, 2, 3, 4, 6, 7)
LOOKUP_LENGTHS = (3, 7, 15)
"""With the sequence's own token 4, 8 and 16: sizes that kernels are made for."""


class Mode(NamedTuple):
    """Who drafts, and how many tokens for each sequence."""

    drafter: DrafterName
    """"auto" for the one that promises more in each round."""
    k: int


PLAIN = Mode("none", 0)
MODES: dict[DrafterName, tuple[Mode, ...]] = {
    "model": tuple(Mode("model", k) for k in MODEL_LENGTHS),
    "ngram": tuple(Mode("ngram", k) for k in LOOKUP_LENGTHS),
    "auto": tuple(Mode("auto", k) for k in LOOKUP_LENGTHS),
}


class SteadyPlan(StepPlan):
    """One step of a stretch. ``width`` is the length to which every draft is filled up."""

    keeps_shape = True

    def __init__(
        self,
        policy: SteadyPolicy,
        requests: Sequence[DraftRequest],
        choices: list[Choice],
        costs: StepCosts,
        mode: Mode,
        shape: tuple[int, int, int],
        modes: tuple[Mode, ...],
    ) -> None:
        super().__init__(policy, requests, choices, costs, 0.0, mode.k, False)
        self.width = mode.k
        self.mode = mode
        self.shape = shape
        """Sequences that decide here, other tokens, other sequences."""
        self.modes = modes
        """Modes that were possible."""
        self._drafted = [0] * len(requests)

    def take(self, index: int, confidence: float) -> Take:
        """Go on to the length chosen; a probe takes no token at all."""
        if self.choices[index].reason is DraftReason.PROBING:
            return Take.STOP
        self._drafted[index] += 1
        return Take.MORE if self._drafted[index] < self.choices[index].k else Take.LAST


def account(mode: Mode) -> DrafterName:
    """Who pays for a mode."""
    return "ngram" if mode.drafter == "ngram" else "model"


def lookup_rounds(requests: Sequence[DraftRequest], outcomes: Sequence[Outcome]) -> tuple[dict[int, int], int]:
    """Rounds of each length in which lookup would have copied the tokens just committed, and tokens it had wrong.

    A round takes up to k tokens that lookup has right and one more, which lookup may have right as well.
    """
    rounds, missed = dict.fromkeys(LOOKUP_LENGTHS, 0), 0
    for request, outcome in zip(requests, outcomes, strict=True):
        num_tokens = outcome.accepted + 1
        copied = min(outcome.copied, num_tokens) if request.drafter in ("auto", "ngram") else 0
        before, history = request.history.copied, request.history
        for k in LOOKUP_LENGTHS:
            rounds[k] += (before + copied) // (k + 1) - before // (k + 1)
        missed += num_tokens - copied
        history.copied = before + copied if copied == num_tokens else 0
    return rounds, missed
