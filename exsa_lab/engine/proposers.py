"""Proposing draft tokens: by a small model, or by lookup in the text itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from exsa_lab.config import MAX_DRAFT_LENGTH, SamplingParams
from exsa_lab.engine.caches.windows import is_whole
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.sequence import Sequence
from exsa_lab.errors import LOAD_AGAIN, DecodeError, EngineFailed
from exsa_lab.events import DraftReason
from exsa_lab.runtime.protocol import Batch, Context, Logits, Model
from exsa_lab.speculation.draft_plan import Take
from exsa_lab.speculation.sampling import (
    Distribution,
    apply_chain,
    greedy_token,
    top_with_probability,
    with_vocabulary,
)

_AS_IT_IS = SamplingParams(temperature=1.0)
FEW = 4
"""Tokens of lag that are caught up one by one where the shape of the batch matters."""


@dataclass(slots=True)
class Draft:
    """Tokens proposed for one sequence in one round."""

    drafter: str = "none"
    reason: DraftReason = DraftReason.NO_DRAFTER
    """Why it is as long as it is."""
    tokens: list[int] = field(default_factory=list)
    probs: list[float | None] = field(default_factory=list)
    """The drafter's own probability of each token: the q that is shown, where it was asked for."""
    dists: list[Distribution | None] = field(default_factory=list)
    """The distribution each token was drawn from; None where nothing was drawn."""
    q_dists: list[Distribution] = field(default_factory=list)
    """What the drafter thought at each place, greedy or not, where the request asks for alternatives."""
    confidences: list[float | None] = field(default_factory=list)
    """Draft model: probability of the most probable token at each place, where it was asked for."""
    peeked: tuple[int, float] | None = None
    """Draft model: most probable token and its probability where the draft stopped short of taking one."""
    looked_up_in: int | None = None
    """Lookup: id of the generation whose text it was found in; None for the sequence's own."""
    padding: int = 0
    """Tokens that the target computes after these only to keep the shape of its batch: nobody proposed them, and they
    are never tested."""

    @property
    def is_forced(self) -> bool:
        """Whether nothing else could follow, so that nobody drafted."""
        return self.drafter == "forced"

    @property
    def num_proposed(self) -> int:
        """Tokens that somebody proposed, rightly or wrongly."""
        return 0 if self.is_forced else len(self.tokens)

    @property
    def fed(self) -> list[int]:
        """The tokens as the target gets them."""
        return self.tokens + (self.tokens[-1:] or [0]) * self.padding if self.padding else self.tokens


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A sequence that is to be drafted for by the model."""

    sequence: Sequence
    limit: int
    """Most tokens."""
    decide: Callable[[float], Take]
    """Asked with the confidence before each token is drawn."""
    reason: DraftReason
    wants_confidence: bool = True
    """Whether a greedy draft's confidence is looked at by anybody; ``decide`` is told 0 where it is not."""


def propose_by_lookup(sequence: Sequence, length: int) -> tuple[list[int], int]:
    """Return what followed the same words before, as far as the first token may come, and the length of the match."""
    if sequence.ngrams is None:
        return [], 0
    tokens, match = sequence.ngrams.propose(length)
    if tokens and sequence.mask is not None and not sequence.mask.admits([], tokens[0]):
        return [], 0
    return tokens, match


def draft_by_lookup(sequence: Sequence, length: int, reason: DraftReason) -> Draft:
    """Propose what followed the same words before (prompt lookup), up to what may not come; costs no model."""
    assert sequence.ngrams is not None
    owner = sequence.ngrams.owner
    tokens, _ = sequence.ngrams.propose(length)
    if sequence.mask is not None:
        tokens = sequence.mask.fitting(tokens)
    q_dists = list(map(Distribution.one_hot, tokens)) if sequence.params.top_logprobs else []
    return Draft("ngram", reason, tokens, [1.0] * len(tokens), [None] * len(tokens), q_dists, looked_up_in=owner)


def draft_forced(sequence: Sequence, most: int) -> Draft | None:
    """Propose the tokens that must follow, where they are to be verified like any draft; None where there are none."""
    if sequence.mask is None or not sequence.verifies_forced or most <= 0:
        return None
    tokens = sequence.mask.forced()[:most]
    if not tokens:
        return None
    return Draft("forced", DraftReason.FORCED, tokens, [None] * len(tokens), [None] * len(tokens))


class ModelDrafter:
    """Drafts with a small model, all sequences in lockstep. Owned by the engine thread.

    Its KV cache uses the target's slots. It may lag behind the target; drafting first catches up, with the
    tokens it has not seen yet.

    Recurrent memory cannot take the drafted tokens back one decode later. There the draft is computed in a spare slot,
    into which the sequence's own was copied, and dropped at the end: the next draft then begins with one decode of all
    tokens that were accepted, as it would anyhow.
    """

    def __init__(
        self,
        model: Model,
        context: Context,
        slots: SlotTable,
        vocab_size: int | None = None,
        *,
        first_spare: int | None = None,
    ) -> None:
        """``vocab_size`` is the target's: families pad their vocabularies differently.

        ``first_spare`` is the first of the context's spare slots, one for each sequence, where its memory is recurrent.
        """
        self.context = context
        self.on_decode: Callable[[int, int, float], None] = lambda num_tokens, num_sequences, seconds: None
        """Told of every decode: tokens, sequences, seconds."""
        self._model = model
        self._vocab_size = model.vocab_size if vocab_size is None else vocab_size
        self._slots = slots
        self._batch: Batch = context.new_batch()
        self.has_costly_shapes = False
        """Whether to keep the shape of the batches: each sequence then gets one token a decode."""
        self._first_spare = first_spare
        self._num_slots = context.n_seq_max if first_spare is None else first_spare

    def reaches(self, sequence: Sequence) -> bool:
        """Whether the longest draft would end within the context that the model was trained for.

        Beyond, its drafts are worth nothing, and a model that learned an embedding for each position ends the process.
        """
        return sequence.num_tokens + MAX_DRAFT_LENGTH <= self._model.n_ctx_train

    def lag(self, sequence: Sequence) -> int:
        """Tokens of the sequence it has not seen."""
        assert sequence.slot is not None
        return sequence.num_tokens - self._slots.num_drafted(sequence.slot)

    def draft(self, requests: list[ModelRequest]) -> list[Draft]:
        """Propose tokens for each request, in lockstep; raises OutOfMemory when the draft's cache is full.

        A draft ends at its limit, at an end token, or when ``decide`` says so. Afterwards the cache holds each
        sequence's tokens and its draft but for the draft's last token.
        """
        drafts = [Draft("model", request.reason) for request in requests]
        if self._first_spare is not None:
            self._make_room(requests)
        self._catch_up([request.sequence for request in requests])
        active = list(zip(requests, drafts, strict=True))
        spares: dict[int, int] = {}
        try:
            while active:
                rows = self._decode([(request.sequence, draft) for request, draft in active], spares)
                active = [pair for pair, row in zip(active, rows, strict=True) if self._choose(*pair, row)]
        finally:
            for spare in spares.values():
                self.context.remove(spare, 0)
        return drafts

    def share(self, source: int, target: int, length: int) -> None:
        """Share the first tokens of a slot with an empty one, if a window is whole behind them."""
        try:
            if length:
                self.context.copy(source, target, 0, length)
            is_done = is_whole(self.context, target, length)
        except BaseException:
            is_done = False
        if not is_done:
            self._clear(target)

    def truncate(self, slot: int, length: int) -> None:
        """Drop what is beyond ``length``, or all of it where the memory cannot or a window is no longer whole there."""
        left = min(length, self._slots.num_drafted(slot))
        try:
            is_done = self.context.remove(slot, length) and is_whole(self.context, slot, left)
        except BaseException:
            is_done = False
        if not is_done:
            self._clear(slot)

    def forget(self) -> None:
        """Drop all that the draft's cache holds; sequences are caught up again when drafting resumes."""
        self._forget_but(set())

    def _clear(self, slot: int) -> None:
        """Drop a slot; raises EngineFailed where not even that can be done."""
        try:
            self.context.remove(slot, 0)
        except BaseException as cause:
            raise EngineFailed("the draft's KV cache cannot be cleared.", hint=LOAD_AGAIN) from cause
        self._slots.set_drafted(slot, 0)

    def _make_room(self, requests: list[ModelRequest]) -> None:
        """Drop other slots where cells may run out: recurrent memory does not share beginnings as the table does."""
        drafting = {request.sequence.slot for request in requests}
        needed = sum(self.lag(request.sequence) + request.limit for request in requests)
        if needed + sum(map(self._slots.num_drafted, range(self._num_slots))) > self.context.n_ctx:
            self._forget_but(drafting)

    def _forget_but(self, kept: set[int | None]) -> None:
        for slot in range(self._num_slots):
            if slot not in kept and self._slots.num_drafted(slot):
                self._clear(slot)

    def _catch_up(self, sequences: list[Sequence]) -> None:
        """Leave each sequence with so few unseen tokens that one batch takes them all."""
        if self.has_costly_shapes and self._first_spare is None and self._can_step(sequences):
            self._catch_up_in_step(sequences)
            return
        share = max(1, self.context.n_batch // len(sequences))
        for sequence in sequences:
            while (lag := self.lag(sequence)) > share:
                self._batch.clear()
                self._feed(sequence, min(self.context.n_batch, lag - share), outputs=0)
                self.context.decode(self._batch)

    def _can_step(self, sequences: list[Sequence]) -> bool:
        """Whether they lag so little that single tokens are enough, and who lags least can repeat one."""
        lags = list(map(self.lag, sequences))
        if not 1 < max(lags) <= FEW:
            return False
        for sequence, lag in zip(sequences, lags, strict=True):
            assert sequence.slot is not None
            place = sequence.num_tokens - max(lag, 2)
            if lag == sequence.num_tokens or not is_whole(self.context, sequence.slot, place):
                return False
        return True

    def _catch_up_in_step(self, sequences: list[Sequence]) -> None:
        """Leave each with one unseen token by decodes of the shape that drafting has; who lags less repeats a token."""
        while max(map(self.lag, sequences)) > 1:
            self._batch.clear()
            for sequence in sequences:
                if self.lag(sequence) == 1:
                    self._take_back(sequence)
                self._feed(sequence, 1, outputs=1)
            self._run(len(sequences))

    def _take_back(self, sequence: Sequence) -> None:
        assert sequence.slot is not None
        length = self._slots.num_drafted(sequence.slot) - 1
        self.context.remove(sequence.slot, length)
        self._slots.set_drafted(sequence.slot, length)

    def _feed(self, sequence: Sequence, count: int, outputs: int) -> None:
        assert sequence.slot is not None
        start = self._slots.num_drafted(sequence.slot)
        tokens = sequence.tokens[start : start + count]
        if self._vocab_size > self._model.vocab_size:
            # The draft has no such token. Whatever it reads instead makes its guess worse, not the output wrong.
            tokens = [token if token < self._model.vocab_size else 0 for token in tokens]
        self._batch.add(tokens, start, sequence.slot, outputs)
        self._slots.set_drafted(sequence.slot, start + count)

    def _decode(self, active: list[tuple[Sequence, Draft]], spares: dict[int, int]) -> Logits:
        self._batch.clear()
        for sequence, draft in active:
            assert sequence.slot is not None
            if draft.tokens:
                position = sequence.num_tokens + len(draft.tokens) - 1
                self._batch.add(draft.tokens[-1:], position, self._draft_slot(sequence, spares), 1)
            else:
                self._feed(sequence, self.lag(sequence), outputs=1)
        return with_vocabulary(self._run(len(active)), self._vocab_size)

    def _draft_slot(self, sequence: Sequence, spares: dict[int, int]) -> int:
        """The slot that a sequence's drafted tokens are computed in."""
        assert sequence.slot is not None
        if self._first_spare is None:
            self._slots.set_drafted(sequence.slot, self._slots.num_drafted(sequence.slot) + 1)
            return sequence.slot
        if sequence.id not in spares:
            spares[sequence.id] = self._first_spare + len(spares)
            self.context.copy(sequence.slot, spares[sequence.id], 0, sequence.num_tokens)
        return spares[sequence.id]

    def _run(self, num_sequences: int) -> Logits:
        begin = time.perf_counter()
        logits = self.context.decode(self._batch)
        self.on_decode(self._batch.num_tokens, num_sequences, time.perf_counter() - begin)
        return logits

    def _choose(self, request: ModelRequest, draft: Draft, row: Logits) -> bool:
        """Take the next token, or leave it; returns whether to go on."""
        sequence = request.sequence
        if sequence.shaping is not None:
            try:
                row = sequence.shaping.apply(row, draft.tokens)
            except DecodeError:  # the draft has no token that may come here; the target may have one
                return False
        dist: Distribution | None = None
        confidence: float | None = None
        if sequence.params.temperature > 0:
            dist = apply_chain(row, sequence.params)
            best, confidence = dist.top()
        elif request.wants_confidence:
            best, confidence = top_with_probability(row)
        else:
            best = greedy_token(row)
        # Decided by the confidence, which is known before the draw: deciding by the token drawn would bend the output.
        take = request.decide(confidence or 0.0)
        if take is Take.STOP:
            draft.peeked = (best, confidence or 0.0)
            return False
        token = best if dist is None else dist.sample(sequence.random.draft_uniform())
        draft.tokens.append(token)
        draft.probs.append(confidence if dist is None else dist.probability(token))
        draft.dists.append(dist)
        if sequence.params.top_logprobs:
            draft.q_dists.append(apply_chain(row, _AS_IT_IS) if dist is None else dist)
        draft.confidences.append(confidence)
        return take is Take.MORE and len(draft.tokens) < request.limit and not self._model.is_end(token)
