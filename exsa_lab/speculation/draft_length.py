"""How many tokens each sequence drafts in the next step, and whether to draft at all. Pure arithmetic, no clock.

One policy for every device. A device is: what a step costs by its number of tokens, and what a change of the batch's
shape costs (nothing on a CPU; several steps where recorded graphs are replayed). A drafter is: the survival
probabilities of its next tokens, and what they cost.

* Each step takes the lengths of highest goodput (goodput.py). Draft models are asked token by token whether to go on,
  by their confidence (`StepPlan.take`).
* Where a change of shape costs something, decoding is in a mode: every draft is filled up to one width, and the mode
  changes only where that saves more over the tokens to come than it costs.
* `LossGuard` bounds what drafting loses, by the seconds that steps really took.
* A draft model that is not used is probed now and then: it proposes tokens, which are compared with what comes and not
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
    FREE,
    PLAIN,
    DraftChoice,
    DraftOutcome,
    DraftRequest,
    Mode,
    Others,
    StepCosts,
    StepPlan,
)
from exsa_lab.speculation.goodput import Candidate, search
from exsa_lab.speculation.guard import ALLOWANCE, LossGuard

HORIZON = 128
"""Tokens over which what is paid once is spread: about an answer's length."""
RECENT = 32
"""Tokens over which the cost of a token in a mode is averaged: a change of mode has to last longer."""
USUAL = 256
"""The same for the beginning of a request: two or three answers."""
MIN_GAIN = 1.05
"""Expected speed-up below which drafting is not worth its risk: what calibration may be wrong by."""
PROBES = 8
"""Tokens of a probe: they tell 0.4 from 0.8."""
FIRST_GAP = 256
"""Steps until an unused draft model is probed; twice as many after each probe."""
REST = 4
"""Steps for which a decision stands, where deciding takes longer than it may save: in batches and in modes."""
MOST_STRETCH = 2.0
"""A step that took so many times what it should is another program's doing."""
WIDTHS: dict[DrafterName, tuple[int, ...]] = {"ngram": (3, 7, 15), "auto": (3, 7, 15), "model": (1, 3, 7)}
"""Draft lengths of the modes: with the sequence's own token 4, 8 and 16, the sizes at which CUDA kernels step."""
NO_LIMIT = 1 << 30


class DraftLengthPolicy:
    """Chooses draft lengths and learns from what came of them. Owned by the engine thread.

    Each step that does not rest: `choose`, then for model drafts `StepPlan.take` before each token, then `observe`
    with what came of it.
    """

    def __init__(self, costs: CostModel, *, has_draft: bool) -> None:
        self.costs = costs
        self.has_draft = has_draft and costs.draft is not None
        self.rates = AcceptanceRates()
        self.price = costs.switch_seconds["target"] if costs.has_costly_shapes else 0.0
        self.guard = LossGuard(ALLOWANCE + 2 * self.price / costs.target(1))
        self._shape, self._age = (0, 0), 0
        """Sequences of the last step, draft tokens to which each was filled up, and for how many steps before."""
        self._mode: Mode | None = None
        """Where shapes cost something, the next step's mode; None where it is still to be chosen, and free."""
        self._recent: dict[Mode, float] = {}
        self._usual: dict[tuple[int, Mode], float] = {}
        """What a token costs in a mode against plain decoding: since the last prompt, and usually in such a batch."""
        self._rest, self._passed = 0, 0.0
        """Steps for which the last decision stands, and the tokens of a sequence since it was made."""
        self._idle, self._gap, self._probed = 0, FIRST_GAP, 0
        """Steps since the draft model was used or probed, after how many it is probed, and that probe's tokens."""
        self._winnable: dict[tuple[DrafterName, int], bool] = {}

    def interrupt(self) -> None:
        """A step passed in which nothing was chosen here, such as a prompt's: the shape changed, perhaps the text."""
        self._mode, self._shape, self._rest = None, (0, 0), 0
        self._recent.clear()
        self._winnable.clear()

    # Choosing

    def next_mode(self, num: int) -> Mode | None:
        """The mode of the next step of so many sequences as decided before; None where it is still to be chosen."""
        return self._mode if num == self._shape[0] else None

    def rests(self, num: int) -> bool:
        """Whether the next step is plain without being weighed; such a step is counted here and not observed."""
        if num != self._shape[0] or self._rest <= 0 or (self._mode and self._mode.k):
            return False
        self._rest -= 1
        self._passed += 1
        self._idle += 1
        self.guard.pass_time(1.0, num)
        return True

    def choose(self, requests: Sequence[DraftRequest], others: Others = ALONE, *, room: int = NO_LIMIT) -> StepPlan:
        """Choose drafter and length for every decoding sequence of the next step.

        ``others`` share the step without being decided here. ``room`` bounds the draft tokens of all.
        """
        num, mode = len(requests), FREE
        costs = self._step_costs(num, others, room)
        if self.price:
            mode = self._mode = self.next_mode(num) or self._decide(requests, costs)
            if mode.k * num >= len(costs.target):
                mode = PLAIN
        self._idle += 1
        plan = self._plan(mode, requests, costs) or self._plain(requests, costs)
        self._age = self._age + 1 if self._shape == (num, plan.mode.k) else 0
        plan.change_seconds = self.price / 2 if self._age < 2 else 0.0
        self._shape = num, plan.mode.k
        return plan

    def _step_costs(self, num: int, others: Others, room: int) -> StepCosts:
        num_plain, room = num + others.sequences + others.drafted, min(room, num * MAX_DRAFT_LENGTH)
        base = num_plain + others.certain
        table = self.costs.target.table(base + room)
        plain = table[num_plain] + self.costs.sequences_seconds(num + others.sequences)
        more = plain - table[base] + self.costs.return_seconds
        target = [plain, *(seconds + more for seconds in table[base + 1 : base + room + 1])]
        draft = self.costs.draft.table(num) if self.has_draft and self.costs.draft else []
        return StepCosts(target, draft, table[base] - table[num_plain])

    def _plan(self, mode: Mode, requests: Sequence[DraftRequest], costs: StepCosts) -> StepPlan | None:
        """The lengths of highest goodput in a mode; None where plain decoding is as good."""
        num = len(requests)
        if mode is PLAIN:
            return None
        offered = {name for request in requests for name in self._drafters(request)}
        longest = {name: self._longest(name, costs, num) if mode is FREE else mode.k for name in offered}
        candidates, lengths, rate = search(mode, self._options(requests, longest, costs), costs)
        if mode is FREE and rate < MIN_GAIN * num / costs.plain:
            return None
        choices = [
            DraftChoice(candidate.drafter, length, DraftReason.MEASURED_GAIN)
            if length
            else self._no_draft(request, costs, num)
            for request, candidate, length in zip(requests, candidates, lengths, strict=True)
        ]
        plan = StepPlan(requests, choices, costs, self.rates, seconds_per_token=1.0 / rate)
        plan.longest = max(len(candidate.survival) * (candidate.drafter == "model") for candidate in candidates)
        if mode is not FREE:
            plan.mode, plan.width = mode, mode.k
        return plan

    def _options(
        self, requests: Sequence[DraftRequest], longest: dict[DrafterName, int], costs: StepCosts
    ) -> list[list[Candidate]]:
        """What each drafter could do for each request, with at most so many tokens."""
        options = []
        for request in requests:
            found: list[Candidate] = []
            for name in self._drafters(request):
                length = min(request.limit, longest[name])
                if name == "ngram":
                    length = min(length, request.ngram_tokens)
                    survival = self.rates.lookup_survival(request.history, request.match_length, length)
                    found.append(Candidate("ngram", survival))
                    continue
                catch_up = self._catch_up_seconds(request.draft_lag - 1, len(requests))
                if self.guard.covers("model", catch_up / costs.plain, len(requests)):
                    survival = self.rates.model_survival(request.history, length)
                    spread = min(1.0, (1.0 + sum(survival)) / min(HORIZON, request.tokens_left))
                    found.append(Candidate("model", survival, 0.0 if self.price else spread * catch_up))
            options.append(found)
        return options

    def _drafters(self, request: DraftRequest) -> list[DrafterName]:
        """Who could draft for a request now."""
        can: dict[DrafterName, bool] = {"ngram": request.ngram_tokens > 0, "model": self.has_draft}
        return [name for name in can if can[name] and request.limit > 0 and request.drafter in ("auto", name)]

    def _longest(self, drafter: DrafterName, costs: StepCosts, num: int, price: float = 0.0) -> int:
        """Draft tokens of each sequence whose refusal the guard covers; 0 where even right ones could not win."""
        if self._can_win(drafter, costs, num):
            for k in range((len(costs.target) - 1) // num, 0, -1):
                loss = (costs.seconds(drafter, num, k) + price) / costs.plain - 1.0
                if self.guard.covers(drafter, loss, num):
                    return k
        return 0

    def _can_win(self, drafter: DrafterName, costs: StepCosts, num: int) -> bool:
        """Whether drafts that are always right would win, one sequence's or all; looked up again at every prompt."""
        key = drafter, num
        if key not in self._winnable:
            self._winnable[key] = (drafter != "model" or bool(costs.draft)) and any(
                (num + k * some) * costs.plain > MIN_GAIN * num * costs.seconds(drafter, some, k)
                for some in {1, num}
                for k in range(1, (len(costs.target) - 1) // num + 1)
            )
        return self._winnable[key]

    def _catch_up_seconds(self, lag: int, num: int = 1) -> float:
        """What the draft model takes to read so many tokens that it has not seen; ``num`` share a change of shape."""
        if lag <= 0 or self.costs.draft is None:
            return 0.0
        return self.costs.draft(lag) + self.costs.switch_seconds["draft"] / num

    def _plain(self, requests: Sequence[DraftRequest], costs: StepCosts) -> StepPlan:
        """A plain step; where it is time, the sequence nearest to its draft lets the model propose a token."""
        num = len(requests)
        choices = [self._no_draft(request, costs, num) for request in requests]
        plan = StepPlan(requests, choices, costs, self.rates, width=0 if self.price else None)
        if self._idle <= self._gap:
            self._rest = REST + num // 8 if self.price or num > 1 else 0
            return plan
        lags = [(request.draft_lag, i) for i, request in enumerate(requests) if "model" in self._drafters(request)]
        lag, index = min(lags, default=(0, 0))
        catch_up = self._catch_up_seconds(lag - 1)
        price = (catch_up + PROBES * self.costs.draft_seconds(1)) / costs.plain
        if not lag or not self._can_win("model", costs, num) or not self.guard.covers("model", price, num):
            self._idle = 0
            return plan
        self.guard.settle("model", -(catch_up + costs.draft[1]) / costs.plain, num)
        choices[index] = DraftChoice("model", 1, DraftReason.PROBING)
        plan.is_probe = True
        self._probed += 1
        if self._probed == PROBES:
            self._idle, self._gap, self._probed = 0, 2 * self._gap, 0
        return plan

    def _no_draft(self, request: DraftRequest, costs: StepCosts, num: int) -> DraftChoice:
        reason = DraftReason.NO_DRAFTER
        if drafters := self._drafters(request):
            can_win = any(self._can_win(name, costs, num) for name in drafters)
            reason = DraftReason.NOT_WORTH_IT if can_win else DraftReason.CANNOT_WIN
        return DraftChoice("none", 0, reason)

    def _decide(self, requests: Sequence[DraftRequest], costs: StepCosts, passed: float = 0.0) -> Mode:
        """The mode whose tokens cost least over those to come, the change included; ``passed`` came since last time."""
        num, horizon = len(requests), min(HORIZON, max(request.tokens_left for request in requests))
        last, change = self.next_mode(num), self.price / costs.plain
        best, least = PLAIN, horizon / MIN_GAIN + change * (last is not None and last.k > 0)
        catch_up = self._catch_up_seconds(sum(request.draft_lag - 1 for request in requests)) / costs.plain
        has_read = last is not None and last.drafter in ("auto", "model")
        wanted = {request.drafter for request in requests}
        options = self._options(requests, dict.fromkeys(self.guard.balance, max(WIDTHS["auto"])), costs)
        for name in [name for name in self.guard.balance if wanted & {"auto", name}]:
            longest = self._longest(name, costs, num, self.price)
            # Several sequences would need now more and now fewer of the draft model's decodes.
            drafter: DrafterName = "auto" if name == "model" and num == 1 else name
            for k in [k for k in WIDTHS[drafter] if self._can_win(name, costs, num) and k * num < len(costs.target)]:
                mode = Mode(drafter, k)
                now, key = num / search(mode, options, costs)[2] / costs.plain, (num.bit_length(), mode)
                usual = self._usual.get(key, now)
                self._usual[key] = now + (usual - now) * (1 - 1 / USUAL) ** passed
                self._recent[mode] = now + (self._recent.get(mode, usual) - now) * (1 - 1 / RECENT) ** passed
                total = horizon * self._recent[mode] + change * (last is not None and k != last.k)
                total += catch_up * (name == "model" and not has_read)
                if total < least and k <= longest:
                    best, least = mode, total
        return best

    # Learning

    def observe(self, plan: StepPlan, outcomes: Sequence[DraftOutcome], seconds: float) -> None:
        """Learn from one step; ``outcomes[i]`` belongs to ``plan.requests[i]``, ``seconds`` is what the step took.

        What the tokens say about later ones is told to ``rates``, before.
        """
        num, last = len(plan.requests), self._mode
        if any(outcome.decodes and not plan.is_probe for outcome in outcomes):
            self._idle, self._gap, self._probed = 0, FIRST_GAP, 0
        self._settle(plan, outcomes, seconds / self.costs.slow_down)
        self._passed += sum(outcome.committed for outcome in outcomes) / num
        self._rest -= plan.mode.k > 0
        if self.price and num == self._shape[0] and (plan.mode is PLAIN or self._rest <= 0):
            self._mode = self._decide(plan.requests, plan.costs, self._passed)
            self._rest, self._passed = 0 if plan.is_probe else REST + num // 8, 0.0
            if last and last.k != self._mode.k:
                self.guard.settle(_payer(self._mode if self._mode.k else last), -self.price / plan.costs.plain, num)

    def _settle(self, plan: StepPlan, outcomes: Sequence[DraftOutcome], seconds: float) -> None:
        """Tell the guard what a step took and brought, against plain steps."""
        plain, num, drafting = plan.costs.plain, len(plan.requests), 0.0
        if decodes := max(outcome.decodes for outcome in outcomes):
            pairs = zip(plan.requests, outcomes, strict=True)
            lags = [request.draft_lag - 1 for request, outcome in pairs if outcome.decodes]
            drafting = decodes * plan.costs.draft[len(lags)] + self._catch_up_seconds(sum(lags))
        drafted, gained = dict.fromkeys(self.guard.balance, 0), dict.fromkeys(self.guard.balance, 0.0)
        for choice, outcome in zip(plan.choices, outcomes, strict=True):
            # The balance that let a mode begin answers for all that is drafted in it.
            name = _payer(plan.mode) if plan.mode.k else choice.drafter
            if name in drafted:
                drafted[name] += outcome.verified
                gained[name] += (outcome.committed - 1) / num
        total = sum(drafted.values())
        expected = plan.costs.target[num * plan.mode.k or total] + drafting + plan.change_seconds
        # The change was settled when it was decided on, or plain decoding would pay it, too.
        seconds = min(max(0.0, seconds - plan.costs.certain), MOST_STRETCH * expected) - plan.change_seconds
        self.guard.pass_time(seconds / plain, num)
        if total or plan.mode.k:
            spent = seconds + self.costs.return_seconds - plain
            for name, gain in gained.items():
                share = drafted[name] / total if total else name == _payer(plan.mode)
                self.guard.settle(name, gain - share * spent / plain, num)


def _payer(mode: Mode) -> DrafterName:
    """Whose balance answers for a mode."""
    return "ngram" if mode.drafter == "ngram" else "model"
