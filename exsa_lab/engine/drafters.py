"""Who proposes draft tokens: a small model, or the text itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from exsa_lab.engine.events import DraftReason
from exsa_lab.engine.sampling import Distribution, apply_chain, top_with_probability
from exsa_lab.engine.sequence import Sequence
from exsa_lab.engine.slots import SlotTable
from exsa_lab.runtime.protocol import Batch, Context, Logits, Model

KeepDrafting = Callable[[Sequence, "Draft"], bool]
"""Asked after each drafted token of a sequence: is another one worth its cost?"""


@dataclass(slots=True)
class Draft:
    """Tokens proposed for one sequence in one round."""

    drafter: str
    tokens: list[int] = field(default_factory=list)
    probs: list[float] = field(default_factory=list)
    """The drafter's own probability of each token: its confidence, and the q that is shown."""
    dists: list[Distribution] = field(default_factory=list)
    """The distribution each token was drawn from; one-hot where nothing was drawn."""
    reason: DraftReason = DraftReason.FIXED
    """Why it is as long as it is."""


def draft_by_lookup(sequence: Sequence, length: int) -> Draft:
    """Propose what followed the same words before (prompt lookup); costs no model."""
    draft = Draft("ngram")
    if sequence.ngrams is not None:
        draft.tokens, _ = sequence.ngrams.propose(length)
        draft.probs = [1.0] * len(draft.tokens)
        draft.dists = [Distribution.one_hot(token) for token in draft.tokens]
    return draft


class ModelDrafter:
    """Drafts with a small model, all sequences in lockstep. Owned by the engine thread.

    Its KV cache uses the target's slots. It may lag behind the target; drafting first catches up, with the
    tokens it has not seen yet.
    """

    def __init__(self, model: Model, context: Context, slots: SlotTable) -> None:
        self.context = context
        self._model = model
        self._slots = slots
        self._batch: Batch = context.new_batch()

    def lag(self, sequence: Sequence) -> int:
        """Tokens of the sequence it has not seen."""
        assert sequence.slot is not None
        return sequence.num_tokens - self._slots.num_drafted(sequence.slot)

    def draft(self, requests: list[tuple[Sequence, int]], keep_drafting: KeepDrafting) -> list[Draft]:
        """Propose up to k tokens for each (sequence, k >= 1); raises OutOfMemory when its cache is full.

        A draft ends early at an end token, or when ``keep_drafting`` says so. Afterwards the cache holds each
        sequence's tokens and its draft but for the draft's last token.
        """
        drafts = [Draft("model") for _ in requests]
        self._catch_up([sequence for sequence, _ in requests])
        active = list(range(len(requests)))
        while active:
            rows = self._step([(requests[i][0], drafts[i]) for i in active])
            for row, i in zip(rows, active, strict=True):
                self._choose(requests[i][0], drafts[i], row)
            active = [i for i in active if self._goes_on(*requests[i], drafts[i], keep_drafting)]
        return drafts

    def forget(self, sequence: Sequence) -> None:
        """Drop the sequence from the draft's cache; it is caught up again when drafting resumes."""
        assert sequence.slot is not None
        self.context.remove(sequence.slot, 0)
        self._slots.set_drafted(sequence.slot, 0)

    def _catch_up(self, sequences: list[Sequence]) -> None:
        """Leave each sequence with so few unseen tokens that one batch takes them all."""
        share = max(1, self.context.n_batch // len(sequences))
        for sequence in sequences:
            while (lag := self.lag(sequence)) > share:
                self._batch.clear()
                self._feed(sequence, min(self.context.n_batch, lag - share), outputs=0)
                self.context.decode(self._batch)

    def _feed(self, sequence: Sequence, count: int, outputs: int) -> None:
        assert sequence.slot is not None
        start = self._slots.num_drafted(sequence.slot)
        self._batch.add(sequence.tokens[start : start + count], start, sequence.slot, outputs)
        self._slots.set_drafted(sequence.slot, start + count)

    def _step(self, active: list[tuple[Sequence, Draft]]) -> Logits:
        self._batch.clear()
        for sequence, draft in active:
            assert sequence.slot is not None
            if draft.tokens:
                position = sequence.num_tokens + len(draft.tokens) - 1
                self._batch.add(draft.tokens[-1:], position, sequence.slot, 1)
                self._slots.set_drafted(sequence.slot, position + 1)
            else:
                self._feed(sequence, self.lag(sequence), outputs=1)
        return self.context.decode(self._batch)

    def _choose(self, sequence: Sequence, draft: Draft, row: Logits) -> None:
        if sequence.params.temperature == 0:
            token, prob = top_with_probability(row)
            dist = Distribution.one_hot(token)
        else:
            dist = apply_chain(row, sequence.params)
            token = dist.sample(sequence.random.draft_uniform())
            prob = dist.probability(token)
        draft.tokens.append(token)
        draft.probs.append(prob)
        draft.dists.append(dist)

    def _goes_on(self, sequence: Sequence, length: int, draft: Draft, keep_drafting: KeepDrafting) -> bool:
        if len(draft.tokens) >= length or self._model.is_end(draft.tokens[-1]):
            return False
        return keep_drafting(sequence, draft)
