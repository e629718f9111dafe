"""Which sequences draft in a step, with whom and how far; then the drafting itself."""

from __future__ import annotations

from exsa_lab.config import EngineConfig
from exsa_lab.engine.acceptance import Verdict
from exsa_lab.engine.drafters import Draft, ModelDrafter, draft_by_lookup
from exsa_lab.engine.events import DraftReason
from exsa_lab.engine.scheduler import Work
from exsa_lab.engine.sequence import Sequence
from exsa_lab.errors import OutOfMemory

PREFILL_BESIDE_DECODE = 32


class Drafting:
    """Chooses draft lengths and asks the drafters. Owned by the engine thread."""

    def __init__(self, model_drafter: ModelDrafter | None, config: EngineConfig, *, can_roll_back: bool) -> None:
        self.model_drafter = model_drafter
        self._config = config
        self._can_roll_back = can_roll_back

    def draft(self, work: list[Work], *, room: int) -> dict[int, Draft]:
        """Propose drafts for the decoding sequences of a step, by sequence id.

        ``room`` bounds the draft tokens of the whole step (cells and batch capacity left).
        """
        drafts: dict[int, Draft] = {}
        requests: list[tuple[Sequence, int]] = []
        for item in work:
            if not item.is_decode:
                continue
            sequence = item.sequence
            length = min(self._length(sequence), sequence.num_left - 1, room)
            draft = drafts[sequence.id] = Draft("none", reason=self._reason(sequence))
            if length <= 0:
                continue
            room -= length
            if sequence.params.drafter == "ngram":
                drafts[sequence.id] = draft_by_lookup(sequence, length)
                drafts[sequence.id].reason = draft.reason
            else:
                requests.append((sequence, length))
        if requests:
            drafts |= self._draft_with_model(requests)
        return drafts

    def prefill_beside_decode(self) -> int:
        """Most prefill tokens in a step in which others decode, so that a long prompt never stalls them."""
        return PREFILL_BESIDE_DECODE

    def observe_step(self, num_tokens: int, num_sequences: int, seconds: float) -> None:
        """Learn what a step of the target really took."""

    def observe_round(self, sequence: Sequence, draft: Draft, verdict: Verdict) -> None:
        """Learn what became of a draft."""

    def _draft_with_model(self, requests: list[tuple[Sequence, int]]) -> dict[int, Draft]:
        assert self.model_drafter is not None
        try:
            proposed = self.model_drafter.draft(requests, lambda sequence, draft: True)
        except OutOfMemory:
            # The draft's cache is full: it may drop everything, since it can always catch up.
            for sequence, _ in requests:
                self.model_drafter.forget(sequence)
            return {}
        for (sequence, _), draft in zip(requests, proposed, strict=True):
            draft.reason = self._reason(sequence)
        return {sequence.id: draft for (sequence, _), draft in zip(requests, proposed, strict=True)}

    def _length(self, sequence: Sequence) -> int:
        params = sequence.params
        if not self._can_roll_back or params.drafter == "none":
            return 0
        if params.drafter != "ngram" and self.model_drafter is None:
            return 0
        return self._config.default_draft_length if params.draft_length == "auto" else params.draft_length

    def _reason(self, sequence: Sequence) -> DraftReason:
        return DraftReason.NO_DRAFTER if self._length(sequence) == 0 else DraftReason.FIXED
