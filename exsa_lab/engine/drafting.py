"""Which sequences draft in a step, with whom and how far; then the drafting itself, and learning from it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from exsa_lab.config import MAX_DRAFT_LENGTH, DrafterName, EngineConfig
from exsa_lab.costs.model import CostModel
from exsa_lab.engine.proposers import Draft, ModelDrafter, ModelRequest, draft_by_lookup
from exsa_lab.engine.scheduler import Work
from exsa_lab.engine.sequence import Sequence
from exsa_lab.errors import EngineError
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import DraftHistory
from exsa_lab.speculation.draft_length import DraftRequest, Outcome, Resting, StepPlan, Take
from exsa_lab.speculation.history import TextHistory
from exsa_lab.speculation.ngram import NgramIndex
from exsa_lab.speculation.rejection_sampling import Verdict
from exsa_lab.speculation.steady_length import policy_for
from exsa_lab.speculation.token_worth import token_worths

OBSERVE_EVERY = 4
"""Steps in a row of the same number of tokens of which one is learned from."""


@dataclass(slots=True)
class DraftStep:
    """What was decided for a step, until its outcome is known."""

    plan: StepPlan | None = None
    planned: dict[int, int] = field(default_factory=dict)
    """Sequence id -> index in the plan."""
    outcomes: list[Outcome] = field(default_factory=list)
    resting: list[Sequence] = field(default_factory=list)
    """Sequences for which there was nothing to weigh."""
    sequences: list[Sequence] = field(default_factory=list)
    """Sequences of the plan where nobody else takes part."""
    began: float = field(default_factory=time.perf_counter)


_PLAIN = {reason: Draft("none", reason) for reason in DraftReason}


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
        self._config = config
        self.max_length = min(MAX_DRAFT_LENGTH, max_rollback)
        self._is_end = is_end
        self._policy = policy_for(costs, has_draft=model_drafter is not None) if costs else None
        self.texts = TextHistory() if config.lookup_history else None
        """What was generated so far, for lookup."""
        self.step = DraftStep()
        self._ahead = DraftStep()
        """Plan of the next step, where it is the same sequences' again."""
        self._last_tokens = 0
        self._num_same = 0
        if model_drafter is not None and costs is not None:
            model_drafter.has_costly_shapes = costs.has_costly_shapes
            model_drafter.on_decode = lambda tokens, sequences, seconds: costs.observe(
                "draft", tokens, sequences, seconds
            )

    def begin(self, sequence: Sequence) -> None:
        """Prepare a new sequence: what drafting keeps for it."""
        sequence.history = self._policy.new_history() if self._policy else DraftHistory()
        if self.max_length and sequence.params.drafter in ("auto", "ngram") and sequence.params.draft_length != 0:
            # With a length that the user fixed, a seed gives the same text whatever was seen before.
            is_fixed = sequence.params.temperature > 0 and sequence.params.draft_length != "auto"
            sequence.ngrams = NgramIndex(sequence.tokens, self._is_end, None if is_fixed else self.texts)

    def end(self, sequence: Sequence) -> None:
        """A sequence is over: others may repeat its text."""
        if self.texts is not None and self.max_length:
            self.texts.add(sequence.tokens, sequence.id)

    # One step

    @property
    def keeps_shapes(self) -> bool:
        """Whether this step's batch has a planned shape, which nothing else need keep steady."""
        return self.step.plan is not None and self.step.plan.keeps_shape

    def plan_ahead(self) -> None:
        """Choose for the next step already: while a GPU computes this one, that takes no time.

        This step's outcome is missing then, which modes that are kept for long do not mind. But lookup must know the
        last token: where it is to draft, or others take part, the next step is chosen for when it comes.
        """
        self._ahead = DraftStep()
        sequences = self.step.sequences
        if self._policy is None or self.step.plan is None or not self.step.plan.keeps_shape or not sequences:
            return
        plan = self._policy.choose([self._request(sequence, MAX_DRAFT_LENGTH) for sequence in sequences])
        if all(choice.drafter != "ngram" for choice in plan.choices):
            self._ahead = DraftStep(plan, sequences=sequences)

    def is_planned(self, work: list[Work]) -> bool:
        """Whether the next step's drafts need nothing of what is still to be learned of the last one."""
        decoding = [item.sequence for item in work if item.is_decode]
        automatic = [sequence for sequence in decoding if self._is_automatic(sequence)]
        if automatic:
            return self._ahead.sequences == automatic and len(work) == len(automatic)
        return all(self._fixed_drafter(sequence) != "ngram" for sequence in decoding)

    def draft(self, work: list[Work], *, room: int, company: Collection[Sequence] = ()) -> dict[int, Draft]:
        """Propose drafts for the decoding sequences of a step, by sequence id.

        ``room`` bounds the draft tokens of the whole step (cells and batch capacity left). ``company`` are all
        sequences yet to end, where those that do free nothing that others wait for.
        """
        self.step = DraftStep()
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
        if (
            automatic
            and not self._leave_to_prompts(automatic, work, company, drafts)
            and not self._rest(automatic, drafts)
        ):
            others = sum(item.num_tokens for item in work) - len(automatic) + fixed_tokens
            self._draft_automatic(
                automatic, company, others, len(work) - len(automatic), room - fixed_tokens, drafts, to_model
            )
        if self._policy is not None and self.step.plan is None and not self.step.resting:
            self._policy.interrupt()
        if to_model:
            drafts |= self._draft_with_model(to_model)
        if self.step.plan is not None and (width := self.step.plan.width):
            for sequence in automatic:
                draft = drafts[sequence.id]
                draft.padding = max(0, min(width, self.max_length) - len(draft.tokens))
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

    def observe_round(
        self, step: DraftStep, sequence: Sequence, draft: Draft, verdict: Verdict, committed: list[int]
    ) -> None:
        """Learn what became of a sequence's draft in a step, and what a looked-up one would have been worth."""
        accepted = min(verdict.accepted, len(committed))
        copied = 0
        if sequence.ngrams is not None:
            looked_up = sequence.ngrams.learn(committed)
            copied = sum(is_right for _, is_right in looked_up)
            if self._policy is not None:
                is_alone = len(step.planned) + len(step.resting) == 1
                self._policy.observe_ngram(sequence.history, looked_up, is_plain_alone=is_alone and not draft.tokens)
        index = step.planned.get(sequence.id)
        if index is not None:
            step.outcomes[index] = self._outcome(sequence, draft, verdict, accepted, copied)
        elif self._policy is not None and draft.drafter == "model" and draft.tokens:
            self._policy.estimate.observe_model(sequence.history, draft.confidences, accepted)

    def finish_step(self, step: DraftStep, ended: float) -> None:
        """The step's rounds were all observed; ``ended`` is when its tokens were committed."""
        if self._policy is None:
            return
        seconds = ended - step.began
        if step.plan is not None:
            self._policy.observe(step.plan, step.outcomes, seconds)
        elif step.resting:
            self._policy.observe_rest([sequence.history for sequence in step.resting], seconds)

    # Lengths

    def _is_automatic(self, sequence: Sequence) -> bool:
        return self._policy is not None and self.max_length > 0 and sequence.params.draft_length == "auto"

    def _draft_fixed(
        self, sequence: Sequence, room: int, drafts: dict[int, Draft], to_model: list[ModelRequest]
    ) -> int:
        """The user's own length (or the default, where nothing was measured); returns the tokens it may take."""
        wanted = sequence.params.draft_length
        length = self._config.default_draft_length if wanted == "auto" else wanted
        drafter = self._fixed_drafter(sequence)
        length = min(length, self.max_length, sequence.num_left - 1, room)
        if drafter == "none" or length <= 0:
            reason = DraftReason.NO_DRAFTER if drafter == "none" and wanted else DraftReason.FIXED
            drafts[sequence.id] = Draft("none", reason)
            return 0
        if drafter == "ngram":
            drafts[sequence.id] = draft_by_lookup(sequence, length, DraftReason.FIXED)
        else:
            to_model.append(self._model_request(sequence, length, lambda _: Take.MORE, DraftReason.FIXED))
        return length

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

    def _leave_to_prompts(
        self, sequences: list[Sequence], work: list[Work], company: Collection[Sequence], drafts: dict[int, Draft]
    ) -> bool:
        """Let none of these draft beside prompts that are read, where nobody waits for what drafts would free.

        Who waits for a first token would pay for them, and who decodes already is ahead: what that gains now is given
        back when the batch grows small sooner.
        """
        assert self.costs is not None
        if not company or self.costs.has_costly_shapes or all(item.is_decode for item in work):
            return False
        for sequence in sequences:
            drafts[sequence.id] = _PLAIN[DraftReason.PROMPTS]
        return True

    def _rest(self, sequences: list[Sequence], drafts: dict[int, Draft]) -> bool:
        """Let all these sequences take a plain step where nothing is to be weighed for any of them."""
        assert self._policy is not None
        waiting: list[Resting] = []
        for sequence in sequences:
            match_length = sequence.ngrams.match_length if sequence.ngrams is not None else 0
            waiting.append((sequence.history, match_length, self._drafter(sequence)))
        if not self._policy.rests(waiting):
            return False
        for sequence, each in zip(sequences, waiting, strict=True):
            drafts[sequence.id] = _PLAIN[self._policy.why_resting(*each)]
        self.step.resting = sequences
        return True

    def _draft_automatic(
        self,
        sequences: list[Sequence],
        company: Collection[Sequence],
        other_tokens: int,
        other_sequences: int,
        room: int,
        drafts: dict[int, Draft],
        to_model: list[ModelRequest],
    ) -> None:
        """Ask the policy; looked-up drafts are ready at once, model drafts are added to ``to_model``."""
        assert self._policy is not None
        are_all = not other_tokens and not other_sequences
        ahead, self._ahead = self._ahead, DraftStep()
        plan = ahead.plan if are_all and ahead.sequences == sequences else None
        if plan is not None and len(sequences) * plan.width <= room:
            for sequence, request in zip(sequences, plan.requests, strict=True):
                request.limit, request.draft_lag = self._limit(sequence, room), self._lag(sequence)
        else:
            worths = self._worths(sequences, company)
            requests = [self._request(sequence, room, worth) for sequence, worth in zip(sequences, worths, strict=True)]
            plan = self._policy.choose(
                requests,
                other_tokens=other_tokens,
                other_sequences=other_sequences,
                budget=other_tokens + len(sequences) + max(0, room),
            )
        planned, outcomes = {s.id: i for i, s in enumerate(sequences)}, [Outcome() for _ in sequences]
        self.step = DraftStep(plan, planned, outcomes, sequences=sequences if are_all else [], began=self.step.began)
        for index, (sequence, request, choice) in enumerate(zip(sequences, plan.requests, plan.choices, strict=True)):
            length = min(choice.k, request.limit)
            if choice.drafter == "ngram" and length:
                drafts[sequence.id] = draft_by_lookup(sequence, length, choice.reason)
            elif choice.drafter == "model" and length:
                decide = self._decider(plan, index)
                wants_confidence = not plan.keeps_shape or choice.reason is DraftReason.PROBING
                to_model.append(
                    self._model_request(
                        sequence, request.limit, decide, choice.reason, wants_confidence=wants_confidence
                    )
                )
            else:
                drafts[sequence.id] = Draft("none", choice.reason)

    @staticmethod
    def _decider(plan: StepPlan, index: int) -> Callable[[float], Take]:
        return lambda confidence: plan.take(index, confidence)

    def _worths(self, sequences: list[Sequence], company: Collection[Sequence]) -> list[float]:
        """What a token of each is worth, in mean tokens of a plain step of these sequences."""
        if self.costs is None or len(company) < 2 or self.costs.has_costly_shapes:
            return [1.0] * len(sequences)
        num = len(sequences)
        seconds = self.costs.plain_steps(max(num, len(company)))
        worths = token_worths([each.steps_left for each in company], seconds, num)
        by_id = {each.id: worth for each, worth in zip(company, worths, strict=True)}
        return [by_id[sequence.id] for sequence in sequences]

    def _request(self, sequence: Sequence, room: int, worth: float = 1.0) -> DraftRequest:
        limit = self._limit(sequence, room)
        proposed, match = sequence.ngrams.propose(limit) if sequence.ngrams is not None else ([], 0)
        lag = self._lag(sequence)
        return DraftRequest(sequence.history, self._drafter(sequence), limit, len(proposed), match, lag, worth)

    def _limit(self, sequence: Sequence, room: int) -> int:
        return max(0, min(self.max_length, sequence.num_left - 1, room))

    def _drafter(self, sequence: Sequence) -> DrafterName:
        """Who may draft for a sequence: not the model once the text has outgrown it."""
        wanted = sequence.params.drafter
        if self.model_drafter is None or self.model_drafter.reaches(sequence):
            return wanted
        return "ngram" if wanted == "auto" else "none" if wanted == "model" else wanted

    def _lag(self, sequence: Sequence) -> int:
        """Tokens the draft model has not seen; while a draft is verified, the last one at least."""
        return max(1, self.model_drafter.lag(sequence)) if self.model_drafter is not None else 1

    # Drafting and learning

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
