"""Which sequences draft in a step, with whom and how far; then the drafting itself, and learning from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from exsa_lab.config import MAX_DRAFT_LENGTH, DrafterName, EngineConfig
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.proposers import (
    Draft,
    ModelDrafter,
    ModelRequest,
    draft_by_lookup,
    draft_forced,
    propose_by_lookup,
)
from exsa_lab.engine.scheduler import Work, in_turn
from exsa_lab.engine.sequence import Sequence
from exsa_lab.errors import EngineError
from exsa_lab.events import DraftReason
from exsa_lab.speculation.draft_length import DraftLengthPolicy
from exsa_lab.speculation.draft_plan import DraftOutcome, DraftRequest, Others, StepPlan, Take
from exsa_lab.speculation.history import TextHistory
from exsa_lab.speculation.ngram import NgramIndex
from exsa_lab.speculation.rejection_sampling import Verdict


@dataclass(slots=True)
class DraftStep:
    """What was decided for a step, until its outcome is known."""

    plan: StepPlan | None = None
    planned: dict[int, int] = field(default_factory=dict)
    """Sequence id -> index in the plan."""
    outcomes: list[DraftOutcome] = field(default_factory=list)
    width: int = 0
    """Places beyond its first that each sequence has in the batch, used or not; 0 where shapes are free."""


class Drafting:
    """Chooses draft lengths, asks the drafters and learns from what came of it. Owned by the engine thread.

    ``costs`` is None where nothing was measured; "auto" then means ``default_draft_length``.
    """

    def __init__(
        self,
        model_drafter: ModelDrafter | None,
        costs: CostModel | None,
        config: EngineConfig,
        *,
        max_rollback: int,
        is_end: Callable[[int], bool],
    ) -> None:
        """``max_rollback`` is that of the target's memory; ``is_end`` tells the target's end tokens."""
        self.model_drafter = model_drafter
        self.costs = costs
        self.max_length = min(MAX_DRAFT_LENGTH, max_rollback)
        self.texts = TextHistory() if config.lookup_history else None
        """What was generated so far, for lookup."""
        self.step = DraftStep()
        self._config = config
        self._is_end = is_end
        self._policy = DraftLengthPolicy(costs, has_draft=model_drafter is not None) if costs else None
        self.keeps_shapes = costs is not None and costs.has_costly_shapes
        """Whether a batch of another shape (tokens, sequences, outputs) costs much more than another token."""
        if model_drafter is not None and costs is not None:
            model_drafter.has_costly_shapes = costs.has_costly_shapes
            model_drafter.on_decode = lambda tokens, sequences, seconds: costs.observe(
                "draft", tokens, sequences, seconds
            )

    def begin(self, sequence: Sequence) -> None:
        """Prepare a new sequence for lookup."""
        if self.max_length and sequence.params.drafter in ("auto", "ngram") and sequence.params.draft_length != 0:
            # With a length that the user fixed, a seed gives the same text whatever was seen before.
            is_fixed = sequence.params.temperature > 0 and sequence.params.draft_length != "auto"
            sequence.ngrams = NgramIndex(sequence.tokens, self._is_end, None if is_fixed else self.texts)

    def end(self, sequence: Sequence) -> None:
        """A sequence is over: others may repeat its text."""
        if self.texts is not None and self.max_length:
            self.texts.add(sequence.tokens, sequence.id)

    # One step

    def share_forced(self, wanted: list[int], others: int, room: int) -> list[int]:
        """Return how many of its certain tokens each sequence takes, see `scheduler.ShareForced`.

        All of them will be computed, so that it is best to take as many as cost least each. Where drafts are filled up
        to a width, the places cost nothing.
        """
        num = others + len(wanted)
        if width := self._next_width(num):
            filled = [min(each, 1 + width) for each in wanted]
            if sum(filled) <= room:
                return filled
        most = min(room, sum(wanted))
        if self.costs is not None:
            most = self.costs.cheapest_step(num, others + most, num) - others
        return in_turn(wanted, most)

    def _next_width(self, num_sequences: int) -> int:
        """The width that the next step of so many sequences has, as decided before; 0 where that is open or free."""
        mode = self._policy.next_mode(num_sequences) if self.keeps_shapes and self._policy is not None else None
        return min(mode.k, self.max_length) if mode is not None else 0

    def draft(self, work: list[Work], *, room: int, report: Callable[[], None]) -> dict[int, Draft]:
        """Propose drafts for the decoding sequences of a step, by sequence id.

        ``room`` bounds the draft tokens of the whole step (cells and batch capacity left). ``report`` is called where
        a draft depends on what is still to be learned of the last step: lookup on its tokens.
        """
        self.step = DraftStep()
        if self._config.reproducible and len(work) > 1:
            # Refused drafts leave gaps in the cache, which others would fill.
            return {item.sequence.id: Draft("none", DraftReason.REPRODUCIBLE) for item in work if item.is_decode}
        drafts: dict[int, Draft] = {}
        to_model: list[ModelRequest] = []
        automatic: list[Work] = []
        fixed_tokens = 0
        for item in work:
            if item.is_decode and item.has_output:
                forced = self._draft_forced(item.sequence, room - fixed_tokens)
                if forced is not None:
                    drafts[item.sequence.id] = forced
                    fixed_tokens += len(forced.tokens)
                elif self._is_automatic(item.sequence):
                    automatic.append(item)
                else:
                    fixed_tokens += self._draft_fixed(item.sequence, room - fixed_tokens, drafts, to_model, report)
            elif item.is_decode and self.keeps_shapes and self._is_automatic(item.sequence):
                automatic.append(item)  # it drafts nothing, but is one of those that the mode is for
        if automatic and all(item.is_decode for item in work):
            width = self.step.width = self._next_width(len(automatic))
            certain = sum(max(0, item.num_tokens - 1 - width) for item in work)
            others = Others(len(work) - len(automatic), fixed_tokens, certain)
            if any(item.has_output for item in automatic):
                self._draft_automatic(automatic, others, room - fixed_tokens, drafts, to_model, report)
        else:
            # A step that reads a prompt drafts nothing: whoever waits for a first token would pay for it.
            drafts |= {item.sequence.id: Draft("none", DraftReason.PROMPTS) for item in automatic}
            if self._policy is not None:
                self._policy.interrupt()
        if to_model:
            drafts |= self._draft_with_model(to_model)
        self._fill_up(automatic, drafts)
        return drafts

    def _fill_up(self, work: list[Work], drafts: dict[int, Draft]) -> None:
        """Fill certain tokens and drafts up to the plan's width, so that the target's batch keeps its shape."""
        for item in work:
            if item.has_output and self.step.width:
                draft = drafts[item.sequence.id]
                draft.padding = max(0, self.step.width - (item.num_tokens - 1) - len(draft.tokens))

    # Learning

    def observe_round(
        self, step: DraftStep, sequence: Sequence, draft: Draft, verdict: Verdict, committed: list[int]
    ) -> None:
        """Learn what became of a sequence's draft in a step; ``committed`` are its tokens that became text."""
        looked_up = sequence.ngrams.learn(committed) if sequence.ngrams is not None else []
        if self._policy is None:
            return
        rates, tokens = self._policy.rates, len(draft.tokens)
        rates.observe_lookup(sequence.history, looked_up)
        if draft.drafter == "model":
            rates.observe_model(sequence.history, draft.confidences, min(tokens, verdict.accepted))
            if draft.peeked is not None and verdict.accepted == tokens:
                rates.observe_token(sequence.history, draft.peeked[1], verdict.token == draft.peeked[0])
        index = step.planned.get(sequence.id)
        if index is not None:
            decodes = tokens + (draft.peeked is not None) if draft.drafter == "model" else 0
            step.outcomes[index] = DraftOutcome(len(committed), tokens, decodes)

    def finish_step(
        self, step: DraftStep, num_tokens: int, num_sequences: int, seconds: float, draft_seconds: float
    ) -> None:
        """The step's rounds were all observed; it took ``seconds`` in all, ``draft_seconds`` of them for drafting.

        Not for steps that read prompts, whose tokens cost something else.
        """
        if self.costs is None or self._policy is None:
            return
        # Whole steps, as what Python does with the logits grows with their number, too.
        self.costs.observe("target", num_tokens, num_sequences, seconds - draft_seconds)
        if step.plan is not None:
            self._policy.observe(step.plan, step.outcomes, seconds)

    # Lengths

    def _is_automatic(self, sequence: Sequence) -> bool:
        return self._policy is not None and self.max_length > 0 and sequence.params.draft_length == "auto"

    def _draft_fixed(
        self,
        sequence: Sequence,
        room: int,
        drafts: dict[int, Draft],
        to_model: list[ModelRequest],
        report: Callable[[], None],
    ) -> int:
        """The user's own length (or the default, where nothing was measured); returns the tokens it may take."""
        wanted = sequence.params.draft_length
        length = self._config.default_draft_length if wanted == "auto" else wanted
        if sequence.is_new:
            # Whether its last token was left alone depends on what was cached and who read beside. Were its draft drawn
            # here, the numbers of all later drafts would depend on that, too, and with them a seed's text.
            drafts[sequence.id] = Draft(reason=DraftReason.FIRST_TOKEN)
            return 0
        drafter = self._fixed_drafter(sequence)
        length = min(length, self.max_length, sequence.num_left - 1, room)
        if drafter == "none" or length <= 0:
            reason = DraftReason.NO_DRAFTER if drafter == "none" and wanted else DraftReason.FIXED
            drafts[sequence.id] = Draft("none", reason)
            return 0
        if drafter == "ngram":
            report()
            draft = drafts[sequence.id] = draft_by_lookup(sequence, length, DraftReason.FIXED)
            # A change of the batch's shape costs more than tokens of padding.
            draft.padding = length - len(draft.tokens) if self.keeps_shapes else 0
        else:
            to_model.append(self._model_request(sequence, length, lambda _: Take.MORE, DraftReason.FIXED))
        return length

    def _draft_forced(self, sequence: Sequence, room: int) -> Draft | None:
        return draft_forced(sequence, min(self.max_length, sequence.num_left - 1, room))

    def _fixed_drafter(self, sequence: Sequence) -> str:
        drafter = sequence.params.drafter
        has_model = self.model_drafter is not None and self.model_drafter.reaches(sequence)
        if not self.max_length or drafter == "none" or (drafter == "model" and not has_model):
            return "none"
        if drafter != "auto":
            return drafter
        # Not the better one by what was learned, which depends on other requests: with a fixed length, a seed
        # gives the same text in any company.
        return "model" if has_model else "ngram"

    def _draft_automatic(
        self,
        work: list[Work],
        others: Others,
        room: int,
        drafts: dict[int, Draft],
        to_model: list[ModelRequest],
        report: Callable[[], None],
    ) -> None:
        """Ask the policy; looked-up drafts are ready at once, model drafts are added to ``to_model``."""
        assert self._policy is not None
        sequences = [item.sequence for item in work]
        if self._policy.rests(len(sequences)):
            drafts |= {sequence.id: Draft("none", DraftReason.NOT_WORTH_IT) for sequence in sequences}
            return
        mode = self._policy.next_mode(len(sequences))
        if mode is None or mode.drafter in ("auto", "ngram"):
            report()
        requests = [self._request(item, self.step.width, room) for item in work]
        plan = self._policy.choose(requests, others, room=max(0, room))
        self.step.plan, self.step.width = plan, min(plan.width or 0, self.max_length)
        self.step.planned = {sequence.id: index for index, sequence in enumerate(sequences)}
        self.step.outcomes = [DraftOutcome() for _ in sequences]
        for index, (sequence, request, choice) in enumerate(zip(sequences, requests, plan.choices, strict=True)):
            if choice.drafter == "ngram":
                report()
                drafts[sequence.id] = draft_by_lookup(sequence, choice.k, choice.reason)
            elif choice.drafter == "model":
                most = plan.width - request.num_filled if plan.width else request.limit
                limit = choice.k if plan.is_lockstep else min(request.limit, most)
                wanted = not plan.is_lockstep
                decide = _decider(plan, index)
                to_model.append(self._model_request(sequence, limit, decide, choice.reason, wants_confidence=wanted))
            else:
                drafts[sequence.id] = Draft("none", choice.reason)

    def _request(self, item: Work, width: int, room: int) -> DraftRequest:
        """``width`` are the places that its certain tokens and its draft share, 0 where there is no such limit.

        It limits what is drafted in this step and not what the request could use: wider modes are weighed, too.
        """
        sequence, num_filled = item.sequence, item.num_tokens - 1 if width else 0
        limit = max(0, min(self.max_length, sequence.num_left - 1, room)) if item.has_output else 0
        proposed, match = propose_by_lookup(sequence, limit)
        # While a draft is verified, the draft model has not seen the last token at least.
        lag = max(1, self.model_drafter.lag(sequence)) if self.model_drafter is not None else 1
        drafter, left, repeated = self._drafter(sequence), sequence.num_left, min(match, sequence.num_generated)
        return DraftRequest(sequence.history, drafter, limit, len(proposed), match, lag, left, num_filled, repeated)

    def _drafter(self, sequence: Sequence) -> DrafterName:
        """Who may draft for a sequence: not the model once the text has outgrown it."""
        wanted = sequence.params.drafter
        if self.model_drafter is None or self.model_drafter.reaches(sequence):
            return wanted
        return "ngram" if wanted == "auto" else "none" if wanted == "model" else wanted

    # Drafting

    def _model_request(
        self,
        sequence: Sequence,
        limit: int,
        decide: Callable[[float], Take],
        reason: DraftReason,
        *,
        wants_confidence: bool = False,
    ) -> ModelRequest:
        assert self.model_drafter is not None
        is_cheap = self._config.probabilities == "auto" and not self.model_drafter.context.is_asynchronous
        is_looked_at = is_cheap or sequence.is_looked_at(self._config.probabilities)
        return ModelRequest(sequence, limit, decide, reason, wants_confidence or is_looked_at)

    def _draft_with_model(self, requests: list[ModelRequest]) -> dict[int, Draft]:
        assert self.model_drafter is not None
        try:
            drafts = self.model_drafter.draft(requests)
        except EngineError:
            # The draft's cache is full (it may share less than the target's), or it computed nonsense: drop all of it,
            # since it can always catch up. The step goes on without a draft.
            self.model_drafter.forget()
            return {request.sequence.id: Draft() for request in requests}
        return {request.sequence.id: draft for request, draft in zip(requests, drafts, strict=True)}


def _decider(plan: StepPlan, index: int) -> Callable[[float], Take]:
    return lambda confidence: plan.take(index, confidence)
