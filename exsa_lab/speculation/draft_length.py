"""How many tokens each sequence drafts in the next step, and whether to draft at all. Pure arithmetic, no clock.

A step with k_i draft tokens for sequence i commits E_i(k_i) tokens in expectation and takes the time of one target
decode of all tokens plus the draft's decodes. The lengths are chosen to maximise goodput, expected committed tokens
per second of the whole step (TurboSpec, arXiv 2406.14066):

    sum_i E_i(k_i) / (T_target(sum_i (1 + k_i)) + T_draft),     E_i(k) = 1 + sum_{j<=k} S_i(j)

S_i(j) is the probability that the first j draft tokens are all accepted. With one acceptance rate a for every place
it is a^j, and E(k) = (1 - a^(k+1)) / (1 - a) (Leviathan et al., arXiv 2211.17192). S_i never rises with j and
T_target depends on the sum only, so the best way to spend K draft tokens is to take the K largest S_i(j) of all
sequences, and trying every K is exact even where the cost curve has jumps. Where nobody waits for a slot, S_i(j) is
weighted with what a token of that sequence is worth (token_worth.py).

Three more rules keep "auto" from being slower than plain decoding where the estimates are wrong:

* an account for each drafter, in plain steps. It earns a small share of the time spent and what drafting gains, and
  pays what drafting loses, both against plain decoding at the same costs. The drafter rests while it is overdrawn,
  and what it may stake on one step grows with its account. A request begins with no more than a part of what others
  saved up, since its text may be of another kind; a lookup that can stake little comes back once drafts that it only
  thought of would have gained enough (`Accounts.trade_on_paper`).
* probing. Where the draft model does not pay, a short draft is tried when the account affords it, ever more rarely
  while that fails, and never where even a draft that is always right could not win. N-gram drafts need no probing:
  what they would have been worth is known from the tokens that came (`NgramIndex.learn`).
* a plain step now and then while drafting, because only that shows what plain decoding costs now (cost_model.py).
* whole steps are measured, too: what those with a draft take beyond their decodes raises the gain that is asked of
  them (surcharge.py).

Deciding has a price too: after a decode that went through all weights nothing else is left in the processor's caches,
and this arithmetic takes 0.1 of 8 ms. What was weighed and lost is therefore not weighed again for some steps, and
where nothing else is to be weighed the step is plain at once (`rests`). In a batch hardly a step passes in which no
sequence has anything new: there none is weighed for two steps after one that lost.
"""

from __future__ import annotations

from collections.abc import Sequence

from exsa_lab.config import DrafterName
from exsa_lab.costs.model import CostModel
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import AcceptanceEstimate, DraftHistory
from exsa_lab.speculation.draft_accounts import PAPER_TOKENS, Accounts
from exsa_lab.speculation.draft_plan import Choice, DraftRequest, Outcome, StepPlan, Take
from exsa_lab.speculation.goodput import Candidate, StepCosts, best_lengths, doubted, perfect_gain, token_price, worth
from exsa_lab.speculation.probing import MODEL_REST, ModelProbes, PlainSteps
from exsa_lab.speculation.surcharge import Surcharge

__all__ = ["Choice", "DraftLengthPolicy", "DraftRequest", "Outcome", "Resting", "StepPlan", "Take"]

MIN_GAIN = 1.02
"""Expected speed-up below which drafting is not worth its risk."""
_MATCH_REST = 8
"""Steps for which matches no longer than one that was not worth a draft are not weighed again."""
_BATCH_REST = 2
"""Steps for which a batch that was not worth a draft is not weighed again."""
_FORGET_EVERY = 64
_MEASURE_EVERY = 4
"""Of the steps in which all rest, one in so many is measured."""
_DRAFT_TABLE = 128
NO_LIMIT = 1 << 30
_NAMES: dict[tuple[bool, bool], tuple[DrafterName, ...]] = {
    (False, False): (),
    (True, False): ("ngram",),
    (False, True): ("model",),
    (True, True): ("ngram", "model"),
}
Resting = tuple[DraftHistory, int, DrafterName]
"""One sequence that may rest: what is known of it, how long lookup's match is, who may draft."""
_NOTHING = Candidate([], False)
_PLAIN = {reason: Choice("none", 0, reason) for reason in DraftReason}


class DraftLengthPolicy:
    """Chooses draft lengths; learns acceptance and keeps the account. Owned by the engine thread.

    Each step: `choose`, then for model drafts `StepPlan.take` before each token, then `observe` with what came of
    it. `choose` changes nothing. Or, where `rests` says so, a plain step and `observe_rest`.
    """

    def __init__(self, costs: CostModel, *, has_draft: bool, estimate: AcceptanceEstimate | None = None) -> None:
        self.costs = costs
        self.has_draft = has_draft and costs.draft is not None
        self.estimate = estimate or AcceptanceEstimate()
        self.accounts = Accounts()
        self.surcharge = Surcharge()
        self._steps = 0
        self._batch_rest = 0
        self._plain_steps = PlainSteps(costs)
        self._probes = ModelProbes()
        self._winnable: dict[tuple[DrafterName, int, int], bool] = {}
        self._prices: dict[tuple[int, int, int], float] = {}

    def new_history(self) -> DraftHistory:
        """What a new sequence keeps for the policy."""
        self.accounts.new_text()
        return self.estimate.new_history()

    def choose(
        self,
        requests: Sequence[DraftRequest],
        *,
        other_tokens: int = 0,
        other_sequences: int = 0,
        budget: int = NO_LIMIT,
    ) -> StepPlan:
        """Choose drafter and length for every decoding sequence of the next step.

        ``other_tokens`` and ``other_sequences`` share the step without being decided here: prefill chunks, and
        sequences whose length the user fixed. ``budget`` bounds all tokens of the step.
        """
        costs = self._step_costs(requests, other_tokens, other_sequences, budget)
        if not requests:
            return self._plan(requests, costs, 0.0)
        plain_rate = len(requests) / costs.plain_seconds
        drafters = self._possible_drafters(requests, costs)
        if not any(drafters):
            return self._plan(requests, costs, plain_rate, model_rest=self._rest_of_none)
        if self._plain_steps.is_due:
            return self._plan(requests, costs, plain_rate, plain_reason=DraftReason.PROBING)
        only_lookup = [names[:1] if "ngram" in names else () for names in drafters]
        for possible in [drafters] if only_lookup == drafters else [drafters, only_lookup]:
            if any(possible):
                names, lengths, rate = self._best(requests, possible, costs)
                least = MIN_GAIN * plain_rate * self.surcharge.factor(_main_drafter(names, lengths))
                if any(lengths) and rate > least:
                    return self._plan(requests, costs, rate, names=names, lengths=lengths)
        return self._probe(requests, drafters, costs, plain_rate)

    def observe(self, plan: StepPlan, outcomes: Sequence[Outcome], seconds: float | None = None) -> None:
        """Learn from one step; ``outcomes[i]`` belongs to ``plan.requests[i]``.

        ``seconds`` is what the whole step took, if that is known.
        """
        first_tokens = 0
        self._count_step()
        decodes: list[int] = []
        self._probes.count_step(plan.model_rest)
        self._batch_rest = _BATCH_REST if len(plan.requests) > 1 and _has_lost(plan.choices) else 0
        for request, choice, outcome in zip(plan.requests, plan.choices, outcomes, strict=True):
            if choice.drafter != "model" or not (outcome.verified or outcome.peeked is not None):
                request.history.idle += 1
                if choice.drafter == "none" and choice.reason is not DraftReason.PROBING:
                    self._note_lost(request, choice.reason)
                continue
            decodes.append(outcome.verified + (outcome.peeked is not None))
            first_tokens += request.draft_lag
            self._learn(request.history, choice, outcome)
        draft_seconds = self._draft_seconds(plan.costs, decodes, first_tokens)
        drafter = _main_drafter([c.drafter for c in plan.choices], [outcome.verified for outcome in outcomes])
        self.accounts.settle(plan, outcomes, draft_seconds, self.surcharge.factor(drafter))
        if plan.requests:
            self._measure(plan, drafter, sum(outcome.verified for outcome in outcomes), draft_seconds, seconds)
            self._plain_steps.note(is_plain=not any(outcome.verified for outcome in outcomes))

    def interrupt(self) -> None:
        """A step went by in which nothing was chosen here, such as a prompt's."""

    def rests(self, sequences: Sequence[Resting]) -> bool:
        """Whether the next step is plain for all of these sequences by what was weighed before."""
        if len(sequences) > 1 and self._batch_rest > 0:
            return True
        return all(self._has_nothing_new(*each) for each in sequences)

    def _has_nothing_new(self, history: DraftHistory, match_length: int, drafter: DrafterName) -> bool:
        if drafter != "ngram" and self.has_draft and not self._probes.is_resting:
            return False
        return not match_length or (match_length <= history.lost_match and history.match_rest > 0)

    def why_resting(self, history: DraftHistory, match_length: int, drafter: DrafterName = "auto") -> DraftReason:
        """The reason of such a step."""
        can_draft = match_length > 0 or (self.has_draft and drafter != "ngram")
        return history.why_plain if can_draft else DraftReason.NO_DRAFTER

    def observe_rest(self, histories: Sequence[DraftHistory], seconds: float | None = None) -> None:
        """Learn from one plain step in which every sequence rested; ``seconds`` as in `observe`."""
        self._count_step()
        self._probes.count_step()
        self._batch_rest -= 1
        for history in histories:
            history.idle += 1
            history.match_rest -= 1
        self.accounts.rest(len(histories))
        self.surcharge.forgive()
        if seconds and self._steps % _MEASURE_EVERY == 0:
            self.surcharge.observe("none", self.costs.step_seconds(len(histories), len(histories)), seconds)
        self._plain_steps.note(is_plain=True)

    def _trade_on_paper(self, history: DraftHistory, looked_up: Sequence[tuple[int, bool]]) -> None:
        """Enter what lookup would have gained with a draft that its stake does not cover."""
        if history.on_paper is None and not looked_up:
            return
        if self.accounts.stake("ngram", 1) >= self._paper_price() - 1.0:
            history.on_paper = None
            return
        if history.on_paper is None:
            if not self._pays_on_paper(history, looked_up[0][0]):
                return
            history.on_paper = 0
        is_right = bool(looked_up) and looked_up[0][1]
        history.on_paper += is_right
        if not is_right or history.on_paper == PAPER_TOKENS:
            num_steps = history.on_paper + (not is_right)
            self.accounts.trade_on_paper(num_steps - self._paper_price())
            history.on_paper = None

    def _pays_on_paper(self, history: DraftHistory, match_length: int) -> bool:
        survival = self.estimate.ngram_survival(history, match_length, PAPER_TOKENS)
        return 1.0 + sum(survival) > MIN_GAIN * self._paper_price()

    def _paper_price(self) -> float:
        """Plain steps that the verification of a draft on paper would take."""
        costs = self.costs
        return (costs.step_seconds(1 + PAPER_TOKENS) + costs.return_seconds) / costs.step_seconds(1)

    @staticmethod
    def _note_lost(request: DraftRequest, reason: DraftReason) -> None:
        history = request.history
        history.why_plain = reason
        if request.match_length:
            history.lost_match, history.match_rest = request.match_length, _MATCH_REST
        else:
            history.match_rest -= 1

    def _count_step(self) -> None:
        """One more step; what was derived from costs is derived anew now and then."""
        self._steps += 1
        if self._steps % _FORGET_EVERY == 0:
            self._winnable.clear()
            self._prices.clear()

    def observe_ngram(
        self, history: DraftHistory, outcomes: Sequence[tuple[int, bool]], *, is_plain_alone: bool = False
    ) -> None:
        """Learn from what `NgramIndex.learn` returned for the tokens just committed, drafted or not.

        ``is_plain_alone``: nothing was drafted, and the policy chose for no other sequence.
        """
        if is_plain_alone:
            self._trade_on_paper(history, outcomes)  # decides by what was known before this step
        for match_length, is_right in outcomes:
            self.estimate.observe_ngram(history, match_length, is_right)

    # Choosing

    def _step_costs(
        self, requests: Sequence[DraftRequest], other_tokens: int, other_sequences: int, budget: int
    ) -> StepCosts:
        num = len(requests)
        base = other_tokens + num
        longest = max([request.limit for request in requests], default=0)
        most = max(base, min(budget, base + longest * num))
        draft: list[float] = []
        if self.has_draft and self.costs.draft:
            draft = self.costs.draft.table(max(num, _DRAFT_TABLE))
        verify = self.costs.target.table(most)
        plain_seconds = verify[num] + self.costs.sequences_seconds(num + other_sequences)
        return StepCosts(verify, draft, base, plain_seconds, most, self.costs.return_seconds)

    def _longest(self, drafter: DrafterName, costs: StepCosts, num_sequences: int) -> int:
        """Draft tokens per sequence that the drafter's stake covers should all of them be refused."""
        allowed = self.accounts.stake(drafter, num_sequences) * costs.plain_seconds + costs.verify[costs.base_tokens]
        allowed -= costs.return_seconds
        for num_tokens in range(costs.max_tokens, costs.base_tokens, -num_sequences):
            if costs.verify[num_tokens] <= allowed:
                return max(1, (num_tokens - costs.base_tokens) // num_sequences)
        return 0

    def _possible_drafters(self, requests: Sequence[DraftRequest], costs: StepCosts) -> list[tuple[DrafterName, ...]]:
        """Who may draft for each sequence; the draft model only where catching up is covered by its stake."""
        num = len(requests)
        can_look_up = self.accounts.steps("ngram", num) > 0 and self._can_win("ngram", costs, num)
        most_lag = 0
        if costs.draft and not self._probes.is_resting and self._can_win("model", costs, num):
            most_lag = self._most_lag(requests, costs)
        possible: list[tuple[DrafterName, ...]] = []
        for request in requests:
            looks_up = can_look_up and request.ngram_tokens > 0 and request.drafter in ("auto", "ngram")
            drafts = request.draft_lag <= most_lag and request.drafter in ("auto", "model")
            possible.append(_NAMES[looks_up, drafts] if request.limit > 0 else ())
        return possible

    def _most_lag(self, requests: Sequence[DraftRequest], costs: StepCosts) -> int:
        """Sequences that lag no more than this may draft: catching up is a sure price, worth all of the account."""
        num = len(requests)
        allowed = max(self.accounts.stake("model", num), self.accounts.steps("model", num)) * costs.plain_seconds
        lags = sorted(request.draft_lag for request in requests)
        while lags and costs.draft_seconds(sum(lags)) > allowed:
            lags.pop()
        return lags[-1] if lags else 0

    def _candidate(
        self, request: DraftRequest, drafter: DrafterName, longest: dict[DrafterName, int], *, is_alone: bool
    ) -> Candidate:
        length = min(request.limit, longest[drafter])
        if drafter == "model":
            survival = self.estimate.model_survival(request.history, length)
        else:
            length = min(length, request.ngram_tokens)
            survival = self.estimate.ngram_survival(request.history, request.match_length, length)
            if not is_alone:
                survival = doubted(survival)
        worth_of_each = [request.worth * chance for chance in survival] if request.worth != 1 else survival
        return Candidate(worth_of_each, drafter == "model", request.draft_lag)

    def _best(
        self, requests: Sequence[DraftRequest], drafters: list[tuple[DrafterName, ...]], costs: StepCosts
    ) -> tuple[list[DrafterName], list[int], float]:
        """The best drafter and length of every sequence, and the goodput of the step."""
        longest = {name: self._longest(name, costs, len(requests)) for name in self.accounts.balance}
        if len(requests) == 1:
            request = requests[0]
            found = [
                (name, *best_lengths([self._candidate(request, name, longest, is_alone=True)], costs))
                for name in drafters[0]
            ]
            name, lengths, rate = max(found, key=lambda one: one[2])
            return [name], lengths, rate
        names: list[DrafterName] = []
        candidates = []
        price = self._token_price(costs, len(requests))
        for request, possible in zip(requests, drafters, strict=True):
            chosen: tuple[DrafterName, Candidate] = ("none", _NOTHING)
            best = 0.0
            for option in possible:
                candidate = self._candidate(request, option, longest, is_alone=False)
                value = worth(candidate, costs, len(requests), price)
                if value > best:
                    chosen, best = (option, candidate), value
            names.append(chosen[0])
            candidates.append(chosen[1])
        return names, *best_lengths(candidates, costs)

    def _token_price(self, costs: StepCosts, num_sequences: int) -> float:
        key = (num_sequences, costs.base_tokens, costs.max_tokens)
        if key not in self._prices:
            self._prices[key] = token_price(costs, num_sequences)
        return self._prices[key]

    def _probe(
        self,
        requests: Sequence[DraftRequest],
        drafters: list[tuple[DrafterName, ...]],
        costs: StepCosts,
        plain_rate: float,
    ) -> StepPlan:
        """A step in which the sequence nearest to its draft tries a short one, if it is time for that."""
        lag, index = min(((r.draft_lag, i) for i, r in enumerate(requests) if "model" in drafters[i]), default=(0, -1))
        if index < 0:
            return self._plan(requests, costs, plain_rate, model_rest=self._rest_of_none)
        if self._probes.until_next > 0:
            return self._plan(requests, costs, plain_rate, model_rest=min(MODEL_REST, self._probes.until_next))
        _, length = perfect_gain(costs, len(requests), requests[index].limit, uses_model=True)
        price = (costs.draft_seconds(lag) + costs.draft[1]) / costs.plain_seconds
        if not length or self.accounts.steps("model", len(requests)) < price:
            return self._plan(requests, costs, plain_rate, model_rest=MODEL_REST)
        lengths = [length if i == index else 0 for i in range(len(requests))]
        names: list[DrafterName] = ["model"] * len(requests)
        return self._plan(requests, costs, plain_rate, names=names, lengths=lengths, is_probe=True)

    def _plan(
        self,
        requests: Sequence[DraftRequest],
        costs: StepCosts,
        rate: float,
        *,
        names: list[DrafterName] | None = None,
        lengths: list[int] | None = None,
        is_probe: bool = False,
        model_rest: int = 0,
        plain_reason: DraftReason | None = None,
    ) -> StepPlan:
        choices = []
        reason = DraftReason.PROBING if is_probe else DraftReason.MEASURED_GAIN
        for index in range(len(requests)):
            if names and lengths and lengths[index]:
                choices.append(Choice(names[index], lengths[index], reason))
            else:
                choices.append(_PLAIN[plain_reason or self._why_plain(requests[index], costs, len(requests))])
        longest = self._longest("model", costs, len(requests)) if self.has_draft and requests else 0
        return StepPlan(self, requests, choices, costs, rate, longest, model_rest)

    def _why_plain(self, request: DraftRequest, costs: StepCosts, num_sequences: int) -> DraftReason:
        longest = min(request.limit, (costs.max_tokens - costs.base_tokens) // num_sequences)
        looks_up = request.ngram_tokens > 0 and request.drafter in ("auto", "ngram")
        drafts = self.has_draft and request.drafter in ("auto", "model")
        if longest <= 0 or not (looks_up or drafts):
            return DraftReason.NO_DRAFTER
        if (looks_up and self._can_win("ngram", costs, num_sequences)) or (
            drafts and self._can_win("model", costs, num_sequences)
        ):
            return DraftReason.NOT_WORTH_IT
        return DraftReason.CANNOT_WIN

    def _can_win(self, drafter: DrafterName, costs: StepCosts, num_sequences: int) -> bool:
        """Whether drafts that are always right would win; looked up again once in a while."""
        key = (drafter, num_sequences, costs.base_tokens)
        if key not in self._winnable:
            longest = (costs.max_tokens - costs.base_tokens) // num_sequences
            gain, _ = perfect_gain(costs, num_sequences, longest, uses_model=drafter == "model")
            self._winnable[key] = gain > MIN_GAIN
        return self._winnable[key]

    # Learning

    def _measure(
        self, plan: StepPlan, drafter: DrafterName, num_drafted: int, draft_seconds: float, seconds: float | None
    ) -> None:
        """Compare a whole step with what was expected of it."""
        if drafter == "none":
            self.surcharge.forgive()
        if seconds and plan.costs.base_tokens == len(plan.requests) and (num_drafted or not draft_seconds):
            expected = plan.costs.seconds(plan.costs.base_tokens + num_drafted, draft_seconds)
            # The way back is paid by the plain step after one with a draft.
            if num_drafted:
                expected -= plan.costs.return_seconds
            elif self._plain_steps.drafted:
                expected += plan.costs.return_seconds
            self.surcharge.observe(drafter, expected * self.costs.slow_down, seconds)

    def _learn(self, history: DraftHistory, choice: Choice, outcome: Outcome) -> None:
        confidences = outcome.confidences
        self.estimate.observe_model(history, list(confidences), outcome.accepted)
        if outcome.peeked is not None and outcome.accepted == len(confidences):
            place = len(confidences)
            if outcome.peeked_right is None:
                self.estimate.observe_guess(history, place, outcome.peeked)
            else:
                self.estimate.observe_token(history, place, outcome.peeked, outcome.peeked_right)
        self._probes.note_draft()
        if choice.reason is DraftReason.PROBING:
            self._learn_probe(outcome)

    def _learn_probe(self, outcome: Outcome) -> None:
        was_right = outcome.accepted == outcome.verified and (outcome.peeked_right or not outcome.peeked)
        self._probes.note_probe(was_right=bool(was_right), was_verified=outcome.verified > 0)

    def _draft_seconds(self, costs: StepCosts, decodes: list[int], first_tokens: int) -> float:
        """What the draft's decodes cost: the first with the lags, then one token of each that went on."""
        if not decodes:
            return 0.0
        later = (sum(d > place for d in decodes) for place in range(1, max(decodes)))
        return costs.draft_seconds(first_tokens) + sum(costs.draft[num] for num in later)

    @property
    def _rest_of_none(self) -> int:
        """How long the draft model rests after a step in which it may not draft: one that rests already goes on."""
        return 0 if self._probes.is_resting else MODEL_REST


def _has_lost(choices: Sequence[Choice]) -> bool:
    """Whether nobody drafts because it would not pay."""
    return all(choice.drafter == "none" and choice.reason is not DraftReason.PROBING for choice in choices)


def _main_drafter(names: Sequence[DrafterName], lengths: Sequence[int]) -> DrafterName:
    """Whose draft decides what a step costs: the model's, if there is any."""
    drafting = {name for name, length in zip(names, lengths, strict=True) if length}
    return "model" if "model" in drafting else "ngram" if drafting else "none"
