"""How many tokens each sequence drafts in the next step, and whether to draft at all. Pure arithmetic, no clock.

One policy for every device. A device is: what a step costs by its number of tokens, and what a change of the batch's
shape costs (nothing on a CPU; several steps where recorded graphs are replayed). A drafter is: the survival
probabilities of its next tokens, and what they cost.

* Where shapes are free, each step takes the lengths of highest goodput (goodput.py). Draft models are asked token by
  token whether to go on, by their confidence (`StepPlan.take`).
* Where a change of shape costs something, decoding is in a mode for a stretch of steps (modes.py).
* The draft model's catching up with text it has not seen is paid once, too, and spread over the tokens to come.
* `LossGuard` bounds what drafting loses, by the seconds that steps really took.
* A draft model that is not used is probed now and then: it proposes a token, which is compared with what comes and not
  verified. What lookup would have been worth is known from the tokens that came, drafted or not.
"""

from __future__ import annotations

from collections.abc import Sequence

from exsa_lab.config import MAX_DRAFT_LENGTH, DrafterName
from exsa_lab.costs.model import CostModel
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import AcceptanceRates
from exsa_lab.speculation.draft_plan import (
    ALONE,
    PLAIN,
    DraftChoice,
    DraftOutcome,
    DraftRequest,
    Mode,
    Others,
    StepCosts,
    StepPlan,
)
from exsa_lab.speculation.goodput import NOTHING, Candidate, best_length, best_lengths, perfect_gain, worth
from exsa_lab.speculation.guard import ALLOWANCE, LossGuard
from exsa_lab.speculation.modes import Modes

HORIZON = 128
"""Tokens over which what is paid once is spread: about an answer's length."""
MIN_GAIN = 1.05
"""Expected speed-up below which drafting is not worth its risk: what calibration may be wrong by."""
PROBES = 8
"""Tokens of a probe."""
FIRST_GAP = 256
"""Steps until an unused draft model is probed; twice as many after each probe."""
NO_LIMIT = 1 << 30
_REST = 2
"""Steps for which a batch that was not worth a draft is not weighed again: deciding takes time, too."""
_WATCH_EVERY = 4
"""Plain steps after which the modes are weighed again. On an H100, weighing at each made plain steps 8 % slower."""
_MOST_STRETCH = 2.0
"""A step that took so many times what it should is another program's doing."""
_NO_DRAFT = {reason: DraftChoice("none", 0, reason) for reason in DraftReason}


class DraftLengthPolicy:
    """Chooses draft lengths and learns from what came of them. Owned by the engine thread.

    Each step: `choose`, then for model drafts `StepPlan.take` before each token, then `observe` with what came of it.
    Or, where `is_plain` says so, a plain step and `observe_plain`, and where that asks for it, `watch`.
    """

    def __init__(self, costs: CostModel, *, has_draft: bool) -> None:
        self.costs = costs
        self.has_draft = has_draft and costs.draft is not None
        self.rates = AcceptanceRates()
        price = costs.switch_seconds["target"] if costs.has_costly_shapes else 0.0
        self.guard = LossGuard(ALLOWANCE + 2 * price / costs.target(1))
        self.modes = Modes(self.rates, price, has_draft=self.has_draft) if price else None
        self._winnable: dict[tuple[DrafterName, int, int], bool] = {}
        self._rest = 0
        self._gap = self._until_probe = FIRST_GAP
        self._probes_left = 0
        self._last_mode = PLAIN
        self._decided: tuple[int, int, Mode] | None = None
        """Where shapes cost something: sequences, others, and the mode of their next step."""
        self._unwatched = 0

    def interrupt(self) -> None:
        """A step passed in which nothing was chosen here, such as a prompt's: another text may begin."""
        self._winnable.clear()
        self._rest = 0
        self._decided = None
        if self.modes:
            self.modes.interrupt()

    # Choosing

    def next_mode(self, num: int, others: int) -> Mode | None:
        """The mode that was decided on for so many sequences and others; None where it is still to be."""
        if not self.modes:
            return PLAIN
        return self._decided[2] if self._decided and self._decided[:2] == (num, others) else None

    def is_plain(self, num: int, others: int) -> bool:
        """Whether the next step is plain by what was decided before."""
        if not self.modes:
            return num > 1 and self._rest > 0
        return self.next_mode(num, others) == PLAIN and self._until_probe > 0

    def choose(
        self,
        requests: Sequence[DraftRequest],
        others: Others = ALONE,
        *,
        room: int = NO_LIMIT,
    ) -> StepPlan:
        """Choose drafter and length for every decoding sequence of the next step.

        ``others`` share the step without being decided here. ``room`` bounds the draft tokens of all.
        """
        costs = self._step_costs(len(requests), others, room)
        if self.modes:
            mode = self.next_mode(len(requests), others.sequences) or self._decide(requests, costs)
            plan = self._in_mode(mode, requests, costs)
        else:
            plan = self._best(requests, costs)
        if plan is None:
            plan = self._probe(requests, costs) or self._plain(requests, costs)
            self._rest = _REST
        plan.other_sequences = others.sequences
        return plan

    def _step_costs(self, num: int, others: Others, room: int) -> StepCosts:
        num_plain = num + others.sequences + others.drafted
        base = num_plain + others.certain
        most = base + min(room, num * MAX_DRAFT_LENGTH)
        draft = self.costs.draft.table(num) if self.has_draft and self.costs.draft else []
        verify = self.costs.target.table(most)
        plain = verify[num_plain] + self.costs.sequences_seconds(num + others.sequences)
        certain = verify[base] - verify[num_plain]
        return StepCosts(verify, draft, base, plain, most, self.costs.return_seconds, certain)

    def _best(self, requests: Sequence[DraftRequest], costs: StepCosts) -> StepPlan | None:
        """The lengths of highest goodput; None where plain decoding is as good."""
        num = len(requests)
        longest = {name: self._longest(name, costs, num) for name in self.guard.balance}
        options = [self._candidates(request, costs, num, longest) for request in requests]
        if not any(options):
            return None
        if num == 1:
            found = [(*best_length(candidate, costs), candidate) for candidate in options[0]]
            length, rate, candidate = max(found, key=lambda one: one[1])
            lengths, candidates = [length], [candidate]
        else:
            candidates = [max(some, key=lambda one: worth(one, costs, num), default=NOTHING) for some in options]
            lengths, rate = best_lengths(candidates, costs)
        if rate < MIN_GAIN * num / costs.plain_seconds:
            return None
        choices = [
            DraftChoice(candidate.drafter, length, DraftReason.MEASURED_GAIN)
            if length
            else self._no_draft(request, costs, num)
            for request, candidate, length in zip(requests, candidates, lengths, strict=True)
        ]
        return StepPlan(requests, choices, costs, self.rates, 1.0 / rate, longest["model"])

    def _candidates(
        self, request: DraftRequest, costs: StepCosts, num: int, longest: dict[DrafterName, int]
    ) -> list[Candidate]:
        found = []
        length = min(request.limit, longest["ngram"], request.ngram_tokens)
        if length > 0 and request.drafter in ("auto", "ngram"):
            survival = self.rates.lookup_survival(request.history, request.match_length, length)
            found.append(Candidate("ngram", survival))
        length = min(request.limit, longest["model"])
        catch_up = self._catch_up_seconds(request.draft_lag - 1)
        if length > 0 and request.drafter in ("auto", "model") and self._covers("model", catch_up, costs, num):
            survival = self.rates.model_survival(request.history, length)
            spread = min(1.0, (1.0 + sum(survival)) / min(HORIZON, request.tokens_left))
            found.append(Candidate("model", survival, spread * catch_up))
        return found

    def _longest(self, drafter: DrafterName, costs: StepCosts, num: int) -> int:
        """Draft tokens of each sequence whose refusal the guard covers; 0 where even right ones could not win."""
        if not self._can_win(drafter, costs, num):
            return 0
        decode = costs.draft[num] if drafter == "model" else 0.0
        for k in range((costs.max_tokens - costs.base_tokens) // num, 0, -1):
            if self._covers(drafter, costs.seconds(num * k) + k * decode - costs.plain_seconds, costs, num):
                return k
        return 0

    def _covers(self, drafter: DrafterName, seconds: float, costs: StepCosts, num: int) -> bool:
        return self.guard.covers(drafter, seconds / costs.plain_seconds, num)

    def _can_win(self, drafter: DrafterName, costs: StepCosts, num: int) -> bool:
        """Whether drafts that are always right would win; looked up again at every prompt."""
        if drafter == "model" and not costs.draft:
            return False
        key = (drafter, num, costs.base_tokens)
        if key not in self._winnable:
            longest = (costs.max_tokens - costs.base_tokens) // num
            self._winnable[key] = perfect_gain(costs, num, longest, uses_model=drafter == "model") > MIN_GAIN
        return self._winnable[key]

    def _catch_up_seconds(self, lag: int) -> float:
        """What the draft model takes to read so many tokens that it has not seen."""
        if lag <= 0 or self.costs.draft is None:
            return 0.0
        return self.costs.draft(lag) + self.costs.switch_seconds["draft"]

    def _plain(self, requests: Sequence[DraftRequest], costs: StepCosts) -> StepPlan:
        choices = [self._no_draft(request, costs, len(requests)) for request in requests]
        return StepPlan(requests, choices, costs, self.rates, costs.plain_seconds, width=0 if self.modes else None)

    def _no_draft(self, request: DraftRequest, costs: StepCosts, num: int) -> DraftChoice:
        looks_up = request.ngram_tokens > 0 and request.drafter in ("auto", "ngram")
        drafts = bool(costs.draft) and request.drafter in ("auto", "model")
        if request.limit <= 0 or not (looks_up or drafts):
            return _NO_DRAFT[DraftReason.NO_DRAFTER]
        can_win = (looks_up and self._can_win("ngram", costs, num)) or (drafts and self._can_win("model", costs, num))
        return _NO_DRAFT[DraftReason.NOT_WORTH_IT if can_win else DraftReason.CANNOT_WIN]

    def _probe(self, requests: Sequence[DraftRequest], costs: StepCosts) -> StepPlan | None:
        """A plain step in which the sequence nearest to its draft lets the model propose a token, if it is time."""
        num = len(requests)
        if self._until_probe > 0:
            return None
        lags = [(r.draft_lag, i) for i, r in enumerate(requests) if r.limit > 0 and r.drafter in ("auto", "model")]
        if not lags or not self._can_win("model", costs, num):
            self._until_probe = FIRST_GAP
            return None
        lag, index = min(lags)
        if not self._probes_left:
            if not self._covers("model", PROBES * costs.draft[1] + self._catch_up_seconds(lag - 1), costs, num):
                self._until_probe = FIRST_GAP
                return None
            self._probes_left = PROBES
        plan = self._plain(requests, costs)
        plan.choices[index] = DraftChoice("model", 1, DraftReason.PROBING)
        plan.is_probe = True
        return plan

    # Where a change of shape costs something

    def _decide(self, requests: Sequence[DraftRequest], costs: StepCosts) -> Mode:
        """The mode whose tokens are cheapest over those to come, what it takes to enter it included."""
        assert self.modes
        num, modes = len(requests), self.modes
        horizon = min(HORIZON, max(request.tokens_left for request in requests))
        catch_up = self._catch_up_seconds(sum(request.draft_lag - 1 for request in requests)) / costs.plain_seconds
        prices: dict[Mode, float] = {}
        for mode in modes.of(requests):
            drafter: DrafterName = "ngram" if mode.drafter == "ngram" else "model"
            if mode.k * num > costs.max_tokens - costs.base_tokens or not self._can_win(drafter, costs, num):
                continue
            price = modes.change_price(mode, num, costs)
            # The way there, a step whose draft is refused, and the way back.
            loss = costs.seconds(mode.k * num) - costs.plain_seconds + modes.price
            loss += mode.k * costs.draft[num] if drafter == "model" else 0.0
            if self.guard.covers(drafter, price + loss / costs.plain_seconds, num):
                enters = drafter == "model" and self._last_mode.drafter not in ("auto", "model")
                prices[mode] = price + catch_up * enters
        return modes.choose(requests, costs, prices, horizon, MIN_GAIN)

    def _in_mode(self, mode: Mode, requests: Sequence[DraftRequest], costs: StepCosts) -> StepPlan | None:
        assert self.modes
        num = len(requests)
        if mode == PLAIN or mode.k * num > costs.max_tokens - costs.base_tokens:
            return None
        choices = [
            self.modes.draft_in(mode, request, costs) or _NO_DRAFT[DraftReason.NO_DRAFTER] for request in requests
        ]
        seconds = self.modes.cost(mode, requests, costs) * costs.plain_seconds / num
        return StepPlan(requests, choices, costs, self.rates, seconds, mode.k, mode.k, is_lockstep=num > 1, mode=mode)

    # Learning

    def observe_plain(self, num: int, seconds: float) -> bool:
        """Learn from a plain step that `is_plain` announced; returns whether `watch` is to be called."""
        self._until_probe -= 1
        self._rest -= 1
        self.guard.pass_time(1.0, num)
        if self.modes and self._last_mode != PLAIN:
            plain_seconds = self.costs.target(num) + self.costs.sequences_seconds(num)
            self.guard.settle(_payer(self._last_mode), -self.modes.price / plain_seconds, num)  # for the way back
            self._last_mode = PLAIN
        self._unwatched += 1
        # Estimates take time, even where the device computes meanwhile; the more sequences, the more.
        return self.modes is not None and self._unwatched >= _WATCH_EVERY + num // 8

    def watch(self, requests: Sequence[DraftRequest]) -> None:
        """Note what plain steps would have cost in each mode, as it looks after them, and decide on the next."""
        costs = self._step_costs(len(requests), ALONE, NO_LIMIT)
        plan = self._plain(requests, costs)
        self._note_mode(plan, self._unwatched * len(requests))

    def observe(
        self,
        plan: StepPlan,
        outcomes: Sequence[DraftOutcome],
        seconds: float | None = None,
        draft_seconds: float = 0.0,
    ) -> None:
        """Learn from one step; ``outcomes[i]`` belongs to ``plan.requests[i]``.

        ``seconds`` is what the whole step took, ``draft_seconds`` the part of it for drafting, where that is known.
        """
        decodes, lag = 0, 0
        for request, choice, outcome in zip(plan.requests, plan.choices, outcomes, strict=True):
            if choice.drafter == "model":
                decodes = max(decodes, outcome.verified + (outcome.peeked is not None))
                lag += request.draft_lag
                self.rates.observe_model(request.history, outcome.confidences, outcome.accepted)
                if outcome.peeked_right is not None:
                    self.rates.observe_token(request.history, outcome.peeked, outcome.peeked_right)
        self._count_probe(plan, uses_model=decodes > 0 and not plan.is_probe)
        if seconds is not None:
            expected = 0.0
            if decodes:
                num_model = sum(choice.drafter == "model" for choice in plan.choices)
                expected = decodes * plan.costs.draft[num_model] + self._catch_up_seconds(lag - num_model)
            slow = self.costs.slow_down
            self._settle(plan, outcomes, seconds / slow, min(draft_seconds / slow, _MOST_STRETCH * expected))
        if self.modes:
            self._note_mode(plan, sum(outcome.committed for outcome in outcomes))

    def _note_mode(self, plan: StepPlan, num_committed: int) -> None:
        """Learn about the modes, and decide on the next step's: it need not wait for that."""
        assert self.modes
        self.modes.observe(plan, num_committed)
        self._last_mode, self._unwatched = plan.mode, 0
        mode = self._decide(plan.requests, plan.costs)
        self._decided = (len(plan.requests), plan.other_sequences, mode)

    def _count_probe(self, plan: StepPlan, *, uses_model: bool) -> None:
        """Once a probe is over, wait twice as long as before it; a draft model that is used needs none."""
        self._until_probe -= 1
        if uses_model:
            self._gap = self._until_probe = FIRST_GAP
            self._probes_left = 0
        elif plan.is_probe:
            self._probes_left -= 1
            if not self._probes_left:
                self._gap = self._until_probe = 2 * self._gap

    def _settle(self, plan: StepPlan, outcomes: Sequence[DraftOutcome], seconds: float, draft_seconds: float) -> None:
        """Tell the guard what a step took and brought, against plain steps for the same tokens."""
        costs, num = plan.costs, len(plan.requests)
        drafted, gained = dict.fromkeys(self.guard.balance, 0), dict.fromkeys(self.guard.balance, 0.0)
        has_changed = self.modes is not None and plan.mode.k != self._last_mode.k
        mode = plan.mode if plan.mode != PLAIN or not has_changed else self._last_mode  # who leaves pays the way back
        payer = _payer(mode)
        for choice, outcome in zip(plan.choices, outcomes, strict=True):
            # The balance that let a mode begin answers for all that is drafted in it.
            name = choice.drafter if plan.mode == PLAIN else payer
            if name in drafted:
                drafted[name] += outcome.verified
                gained[name] += (outcome.committed - 1) / num
        total = sum(drafted.values())
        width = total if plan.width is None else num * plan.width
        price = self.modes.price if self.modes and has_changed else 0.0
        expected = costs.seconds(width) + draft_seconds + price
        seconds = min(max(0.0, seconds - costs.certain_seconds), _MOST_STRETCH * expected)
        self.guard.pass_time(seconds / costs.plain_seconds, num)
        if self.modes and has_changed and self.modes.is_free:
            seconds -= price  # plain decoding pays that, too
        verify = seconds - draft_seconds - costs.plain_seconds + costs.return_seconds * (total > 0)
        for name, gain in gained.items():
            spent = draft_seconds * (name == "model")
            if total or plan.mode != PLAIN:
                spent += verify * (drafted[name] / total if total else name == payer)
            elif has_changed and self.modes and not self.modes.is_free:
                spent += price * (name == payer)
            self.guard.settle(name, gain - spent / costs.plain_seconds, num)


def _payer(mode: Mode) -> DrafterName:
    """Whose balance answers for a mode."""
    return "ngram" if mode.drafter == "ngram" else "model"
