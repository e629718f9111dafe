"""Which sequences draft in a step, with whom and how far; then the drafting itself, and learning from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from exsa_lab.config import MAX_DRAFT_LENGTH, EngineConfig
from exsa_lab.engine.acceptance import Verdict
from exsa_lab.engine.acceptance_estimate import AcceptanceEstimate
from exsa_lab.engine.cost_model import CostModel
from exsa_lab.engine.draft_length import DraftRequest, Outcome, StepPlan, Take
from exsa_lab.engine.drafters import Draft, ModelDrafter, ModelRequest, draft_by_lookup
from exsa_lab.engine.events import DraftReason
from exsa_lab.engine.ngram import NgramIndex
from exsa_lab.engine.scheduler import Work
from exsa_lab.engine.sequence import Sequence
from exsa_lab.engine.steady_length import policy_for
from exsa_lab.errors import EngineError

OBSERVE_EVERY = 4
"""Steps in a row of the same number of tokens of which one is learned from."""


@dataclass(slots=True)
class _Step:
    """What was decided for the current step, until its outcome is known."""

    plan: StepPlan | None
    planned: dict[int, int]
    """Sequence id -> index in the plan."""
    outcomes: list[Outcome]


class Drafting:
    """Chooses draft lengths, asks the drafters and learns from what came of it. Owned by the engine thread.

    ``costs`` is None where nothing was measured; "auto" then means ``default_draft_length``.
    """

    def __init__(
        self, model_drafter: ModelDrafter | None, costs: CostModel | None, config: EngineConfig, *, can_roll_back: bool
    ) -> None:
        self.model_drafter = model_drafter
        self.costs = costs
        self._config = config
        self._can_roll_back = can_roll_back
        self._policy = policy_for(costs, has_draft=model_drafter is not None) if costs else None
        self._estimate = self._policy.estimate if self._policy else AcceptanceEstimate()
        self._step = _Step(None, {}, [])
        self._last_tokens = 0
        self._num_same = 0
        if model_drafter is not None and costs is not None:
            model_drafter.has_costly_shapes = costs.has_costly_shapes
            model_drafter.on_decode = lambda tokens, sequences, seconds: costs.observe(
                "draft", tokens, sequences, seconds
            )

    def begin(self, sequence: Sequence) -> None:
        """Prepare a new sequence: what drafting keeps for it."""
        sequence.history = self._estimate.new_history()
        if self._can_roll_back and sequence.params.drafter in ("auto", "ngram") and sequence.params.draft_length != 0:
            sequence.ngrams = NgramIndex(sequence.tokens)

    # One step

    @property
    def keeps_shapes(self) -> bool:
        """Whether this step's batch has a planned shape, which nothing else need keep steady."""
        return self._step.plan is not None and self._step.plan.keeps_shape

    def draft(self, work: list[Work], *, room: int) -> dict[int, Draft]:
        """Propose drafts for the decoding sequences of a step, by sequence id.

        ``room`` bounds the draft tokens of the whole step (cells and batch capacity left).
        """
        self._step = _Step(None, {}, [])
        if self._config.reproducible and len(work) > 1:
            # Refused drafts leave gaps in the cache, which others would fill.
            return {item.sequence.id: Draft("none", DraftReason.REPRODUCIBLE) for item in work if item.is_decode}
        drafts: dict[int, Draft] = {}
        to_model: list[ModelRequest] = []
        automatic: list[Sequence] = []
        fixed_tokens = 0
        for item in work:
            if item.is_decode:
                if self._is_automatic(item.sequence):
                    automatic.append(item.sequence)
                else:
                    fixed_tokens += self._draft_fixed(item.sequence, room - fixed_tokens, drafts, to_model)
        if automatic:
            others = sum(item.num_tokens for item in work) - len(automatic) + fixed_tokens
            self._draft_automatic(automatic, others, len(work) - len(automatic), room - fixed_tokens, drafts, to_model)
        if to_model:
            drafts |= self._draft_with_model(to_model)
        if self._step.plan is not None and (width := self._step.plan.width):
            for sequence in automatic:
                draft = drafts[sequence.id]
                draft.padding = max(0, width - len(draft.tokens))
        return drafts

    def observe_step(self, num_tokens: int, num_sequences: int, seconds: float) -> None:
        """Learn what a decode of the target really took."""
        if self.costs is None:
            return
        # Steps of the same size say the same again: one of a few is enough, and a change of size is always told.
        self._num_same = self._num_same + 1 if num_tokens == self._last_tokens else 0
        self._last_tokens = num_tokens
        if self._num_same % OBSERVE_EVERY == 0 or self.costs.has_costly_shapes:
            self.costs.observe("target", num_tokens, num_sequences, seconds)

    def observe_round(self, sequence: Sequence, draft: Draft, verdict: Verdict, committed: list[int]) -> None:
        """Learn what became of a sequence's draft, and what a looked-up one would have been worth."""
        accepted = min(verdict.accepted, len(committed))
        copied = 0
        if sequence.ngrams is not None:
            for match_length, is_right in sequence.ngrams.learn(committed):
                self._estimate.observe_ngram(sequence.history, match_length, is_right)
                copied += is_right
        index = self._step.planned.get(sequence.id)
        if index is not None:
            self._step.outcomes[index] = self._outcome(sequence, draft, verdict, accepted, copied)
        elif draft.drafter == "model" and draft.tokens:
            self._estimate.observe_model(sequence.history, draft.confidences, accepted)

    def finish_step(self) -> None:
        """The step's rounds were all observed."""
        if self._policy is not None and self._step.plan is not None:
            self._policy.observe(self._step.plan, self._step.outcomes)
        self._step = _Step(None, {}, [])

    # Lengths

    def _is_automatic(self, sequence: Sequence) -> bool:
        return self._policy is not None and self._can_roll_back and sequence.params.draft_length == "auto"

    def _draft_fixed(
        self, sequence: Sequence, room: int, drafts: dict[int, Draft], to_model: list[ModelRequest]
    ) -> int:
        """The user's own length (or the default, where nothing was measured); returns the tokens it may take."""
        wanted = sequence.params.draft_length
        length = self._config.default_draft_length if wanted == "auto" else wanted
        drafter = self._fixed_drafter(sequence)
        length = min(length, sequence.num_left - 1, room)
        if drafter == "none" or length <= 0:
            reason = DraftReason.NO_DRAFTER if drafter == "none" and wanted else DraftReason.FIXED
            drafts[sequence.id] = Draft("none", reason)
            return 0
        if drafter == "ngram":
            drafts[sequence.id] = draft_by_lookup(sequence, length, DraftReason.FIXED)
        else:
            to_model.append(ModelRequest(sequence, length, lambda _: Take.MORE, DraftReason.FIXED))
        return length

    def _fixed_drafter(self, sequence: Sequence) -> str:
        drafter = sequence.params.drafter
        has_model = self.model_drafter is not None
        if not self._can_roll_back or drafter == "none" or (drafter == "model" and not has_model):
            return "none"
        if drafter != "auto":
            return drafter
        # Not the better one by what was learned, which depends on other requests: with a fixed length, a seed
        # gives the same text in any company.
        return "model" if has_model else "ngram"

    def _draft_automatic(
        self,
        sequences: list[Sequence],
        other_tokens: int,
        other_sequences: int,
        room: int,
        drafts: dict[int, Draft],
        to_model: list[ModelRequest],
    ) -> None:
        """Ask the policy; looked-up drafts are ready at once, model drafts are added to ``to_model``."""
        assert self._policy is not None
        requests = [self._request(sequence, room) for sequence in sequences]
        plan = self._policy.choose(
            requests,
            other_tokens=other_tokens,
            other_sequences=other_sequences,
            budget=other_tokens + len(sequences) + max(0, room),
        )
        self._step = _Step(plan, {s.id: i for i, s in enumerate(sequences)}, [Outcome() for _ in sequences])
        for index, (sequence, request, choice) in enumerate(zip(sequences, requests, plan.choices, strict=True)):
            if choice.drafter == "ngram" and choice.k:
                drafts[sequence.id] = draft_by_lookup(sequence, choice.k, choice.reason)
            elif choice.drafter == "model" and choice.k:
                decide = self._decider(plan, index)
                to_model.append(ModelRequest(sequence, request.limit, decide, choice.reason))
            else:
                drafts[sequence.id] = Draft("none", choice.reason)

    @staticmethod
    def _decider(plan: StepPlan, index: int) -> Callable[[float], Take]:
        return lambda confidence: plan.take(index, confidence)

    def _request(self, sequence: Sequence, room: int) -> DraftRequest:
        limit = max(0, min(MAX_DRAFT_LENGTH, sequence.num_left - 1, room))
        proposed, match = sequence.ngrams.propose(limit) if sequence.ngrams is not None else ([], 0)
        lag = self.model_drafter.lag(sequence) if self.model_drafter is not None else 1
        return DraftRequest(sequence.history, sequence.params.drafter, limit, len(proposed), match, lag)

    # Drafting and learning

    def _draft_with_model(self, requests: list[ModelRequest]) -> dict[int, Draft]:
        assert self.model_drafter is not None
        try:
            drafts = self.model_drafter.draft(requests)
        except EngineError:
            # The draft's cache is full, or it computed nonsense: drop all of it, since it can always catch up. The
            # step goes on without a draft.
            for request in requests:
                self.model_drafter.forget(request.sequence)
            return {request.sequence.id: Draft() for request in requests}
        return {request.sequence.id: draft for request, draft in zip(requests, drafts, strict=True)}

    def _outcome(self, sequence: Sequence, draft: Draft, verdict: Verdict, accepted: int, copied: int) -> Outcome:
        peeked_right = None
        if draft.peeked is not None and verdict.accepted == len(draft.tokens) and sequence.params.temperature == 0:
            peeked_right = verdict.token == draft.peeked[0]
        return Outcome(
            accepted=accepted,
            verified=len(draft.tokens),
            confidences=tuple(draft.confidences),
            peeked=draft.peeked[1] if draft.peeked else None,
            peeked_right=peeked_right,
            copied=copied,
        )
