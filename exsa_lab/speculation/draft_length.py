"""How many tokens each sequence drafts in the next step, and whether to draft at all. Pure arithmetic, no clock.

One policy for every device. Each step takes the lengths of highest goodput (goodput.py); draft models are asked token
by token whether to go on (`StepPlan.take`). Where a change of the batch's shape costs something, as where recorded
graphs are replayed, decoding is in a mode: every draft is filled up to one width, and the mode changes only where that
saves more over the tokens to come than it costs. `LossGuard` bounds what drafting loses, by the seconds that steps
really took. A draft model that is not used is probed now and then: its tokens are compared with what comes and not
verified. What lookup would have been worth is known from the tokens that came, drafted or not.
"""

from __future__ import annotations

from collections.abc import Sequence

from exsa_lab.config import MAX_DRAFT_LENGTH, DrafterName
from exsa_lab.costs.model import CostModel
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import AcceptanceRates
from exsa_lab.speculation.draft_plan import ALONE, DraftChoice, DraftOutcome, DraftRequest, Others, StepPlan
from exsa_lab.speculation.goodput import FREE, NOTHING, PLAIN, Candidate, Mode, StepCosts, best_lengths
from exsa_lab.speculation.guard import ALLOWANCE, LossGuard

HORIZON = 128
"""Tokens over which what is paid once is spread: about an answer's length."""
MEMORY = 32
"""Steps over which the cost of a token in a mode is averaged: a change of mode has to last."""
MIN_GAIN = 1.05
"""Expected speed-up below which drafting is not worth its risk: what calibration may be wrong by."""
PROBES = 8
"""Tokens of a probe: they tell 0.4 from 0.8."""
FIRST_GAP = 256
"""Steps until an unused draft model is probed; twice as many after each probe."""
REST = 4
"""Steps for which a decision stands, where deciding takes longer than it may save: in batches and in modes."""
PROVEN = 0.25
"""Plain steps that lookup may risk for each token written of a copy: so many right guesses are its proof."""
MOST_STRETCH = 2.0
"""A step that took so many times what it should is another program's doing."""
WIDTHS: dict[DrafterName, tuple[int, ...]] = {"ngram": (3, 7, 15), "auto": (3, 7, 15), "model": (1, 3, 7)}
"""Draft lengths of the modes: with the sequence's own token 2, 4, 8 and 16, the sizes at which CUDA kernels step."""
NO_LIMIT = 1 << 30


class DraftLengthPolicy:
    """Chooses draft lengths and learns from what came of them. Owned by the engine thread.

    Each step that does not rest: `choose`, then for model drafts `StepPlan.take` before each token, then `observe`
    with what came of it.
    """

    def __init__(self, costs: CostModel, *, has_draft: bool) -> None:
        self.costs = costs
        self.rates = AcceptanceRates()
        self.price = costs.switch_seconds["target"] if costs.has_costly_shapes else 0.0
        self.guard = LossGuard(ALLOWANCE + 2 * self.price / costs.target(1))
        self._draft = costs.draft if has_draft else None
        self._shape, self._age = (0, 0), 0
        """Sequences of the last step, draft tokens to which each was filled up, and for how many steps before."""
        self._mode = FREE
        """Where shapes cost something, the mode decided on for as many sequences."""
        self._usual: dict[tuple[int, Mode], float] = {}
        """What a token costs in a mode against plain decoding, lately in a batch of such a size."""
        self._rest = 0
        """Steps for which the last decision stands."""
        self._idle, self._gap = 0, FIRST_GAP
        """Steps since the draft model was used or probed, and after how many it is probed."""
        self._winnable: dict[tuple[DrafterName, int], bool] = {}

    def interrupt(self) -> None:
        """A step passed in which nothing was chosen here, such as a prompt's: the shape changed, perhaps the text."""
        self._shape, self._rest = (0, 0), 0
        self._winnable.clear()

    # Choosing

    def next_mode(self, num: int) -> Mode | None:
        """The mode of the next step of so many sequences as decided before; None where it is still to be chosen."""
        return self._mode if num == self._shape[0] else None

    def rests(self, num: int) -> bool:
        """Whether the next step is plain without being weighed; such a step is counted here and not observed."""
        if num != self._shape[0] or self._rest <= 0 or (self.price and self._mode is not PLAIN):
            return False
        self._rest -= 1
        self._idle = min(self._gap, self._idle + 1)
        self.guard.pass_time(1.0, num)
        return True

    def choose(self, requests: Sequence[DraftRequest], others: Others = ALONE, *, room: int = NO_LIMIT) -> StepPlan:
        """Choose drafter and length for every decoding sequence of the next step.

        ``others`` share the step without being decided here. ``room`` bounds the draft tokens of all.
        """
        num, mode = len(requests), FREE
        costs = self._costs = self._step_costs(num, others, room)
        if self.price:
            mode = self._mode = self.next_mode(num) or self._decide(requests, costs)
            mode = mode if num * mode.k < len(costs.target) else PLAIN
        else:
            longest = range((len(costs.target) - 1) // num, 0, -1)
            covered = next((k for k in longest if self._is_covered(costs, num, Mode("auto", k))), 0)
            costs = costs._replace(target=costs.target[: 1 + num * covered])
        candidates = self._candidates(mode, requests, costs)
        costs = costs.in_mode(mode, num)
        lengths, rate = best_lengths(candidates, costs)
        if mode is FREE and rate < MIN_GAIN * num / costs.plain:
            mode, lengths = PLAIN, [0] * num
        choices = [self._choice(*each, num) for each in zip(requests, candidates, lengths, strict=True)]
        self._rest, self._idle = self._rest - 1 if self.price else 0, self._idle + 1
        if mode is PLAIN:
            is_probe = self._probe(requests, choices, costs)
            self._rest = 0 if is_probe or (num == 1 and not self.price) else REST + num // 8
        shape = num, 0 if mode is FREE else mode.k
        self._age = self._age + 1 if shape == self._shape else 0
        self._shape, change_seconds = shape, self.price / 2 if self._age < 2 else 0.0
        is_lockstep = mode.drafter == "model"
        return StepPlan(requests, choices, costs, self.rates, 1.0 / rate, shape[1], is_lockstep, change_seconds)

    def _step_costs(self, num: int, others: Others, room: int) -> StepCosts:
        num_plain, room = num + others.sequences + others.drafted, min(room, num * MAX_DRAFT_LENGTH)
        base = num_plain + others.certain
        table = self.costs.target.table(base + room)
        plain = table[num_plain] + self.costs.sequences_seconds(num + others.sequences)
        more = plain - table[base] + self.costs.return_seconds
        target = [plain, *(seconds + more for seconds in table[base + 1 : base + room + 1])]
        draft = self._draft.table(num) if self._draft else [0.0] * (num + 1)
        return StepCosts(plain, target, draft, table[base] - table[num_plain])

    def _is_covered(self, costs: StepCosts, num: int, mode: Mode, once: float = 0.0, proven: float = 0.0) -> bool:
        """Whether the guard allows that all drafts of a mode are refused, and ``once`` seconds are paid besides.

        ``proven`` plain steps may be risked beyond what the guard holds.
        """
        decodes = 0 if mode.drafter == "ngram" else mode.k
        seconds = costs.target[num * mode.k] + decodes * costs.draft[num] + once
        return self.guard.covers(seconds / costs.plain - 1.0 - proven, num)

    def _candidates(self, mode: Mode, requests: Sequence[DraftRequest], costs: StepCosts) -> list[Candidate]:
        """The draft of a mode that promises most for each request."""
        num, decode = len(requests), costs.draft[len(requests)] / costs.plain
        options = [[self._candidate(name, one, mode.k, num) for name in self._drafters(one, mode)] for one in requests]
        return [max(some, key=lambda one: one.worth(decode), default=NOTHING) for some in options]

    def _candidate(self, drafter: DrafterName, request: DraftRequest, k: int, num: int) -> Candidate:
        """What a drafter could do for a request with at most so many tokens."""
        length = max(0, min(request.limit, k - request.num_filled))
        if drafter == "ngram":
            length = min(length, request.ngram_tokens)
            return Candidate("ngram", self.rates.lookup_survival(request.history, request.match_length, length))
        catch_up = self._catch_up_seconds(request.draft_lag - 1, num)
        if not self.guard.covers(catch_up / self.costs.target(num), num):
            return NOTHING
        survival = self.rates.model_survival(request.history, length)
        share = min(1.0, (1.0 + sum(survival)) / min(HORIZON, request.tokens_left))
        return Candidate("model", survival, 0.0 if self.price else share * catch_up)

    def _drafters(self, request: DraftRequest, mode: Mode = FREE) -> list[DrafterName]:
        """Who could draft for a request now."""
        can: dict[DrafterName, bool] = {"ngram": request.ngram_tokens > 0, "model": self._draft is not None}
        wanted = [name for name in can if {mode.drafter, request.drafter} <= {"auto", name}]
        return [name for name in wanted if can[name] and request.limit > 0 and mode.k]

    def _choice(self, request: DraftRequest, candidate: Candidate, k: int, num: int) -> DraftChoice:
        if k:
            return DraftChoice(candidate.drafter, k, DraftReason.MEASURED_GAIN)
        names = self._drafters(request)
        reason = DraftReason.NOT_WORTH_IT if any(self._can_win(name, num) for name in names) else DraftReason.CANNOT_WIN
        return DraftChoice("none", 0, reason if names else DraftReason.NO_DRAFTER)

    def _can_win(self, drafter: DrafterName, num: int) -> bool:
        """Whether drafts that are always right would win; looked up again at every prompt."""
        key = drafter, num
        if key not in self._winnable:
            perfect, costs = Candidate(drafter, [1.0] * MAX_DRAFT_LENGTH), self._step_costs(num, ALONE, NO_LIMIT)
            self._winnable[key] = best_lengths([perfect] * num, costs)[1] >= MIN_GAIN * num / costs.plain
        return self._winnable[key]

    def _catch_up_seconds(self, lag: int, num: int = 1) -> float:
        """What the draft model takes to read so many tokens that it has not seen; ``num`` share a change of shape."""
        return self._draft(lag) + self.costs.switch_seconds["draft"] / num if self._draft and lag > 0 else 0.0

    def _probe(self, requests: Sequence[DraftRequest], choices: list[DraftChoice], costs: StepCosts) -> bool:
        """Where it is time, let the model propose a token for the sequence nearest to its draft."""
        num = len(requests)
        if self._idle > self._gap + PROBES:
            self._idle, self._gap = 0, 2 * self._gap
        lags = [(request.draft_lag, i) for i, request in enumerate(requests) if "model" in self._drafters(request)]
        if self._idle <= self._gap or not lags or not self._can_win("model", num):
            return False
        lag, index = min(lags)
        seconds = self._catch_up_seconds(lag - 1) + PROBES * costs.draft[1]
        if self.guard.covers(seconds / costs.plain, num):
            choices[index] = DraftChoice("model", 1, DraftReason.PROBING)
        return choices[index].k > 0

    def _decide(self, requests: Sequence[DraftRequest], costs: StepCosts) -> Mode:
        """The mode whose tokens cost least over those to come, the change included."""
        num, horizon = len(requests), min(HORIZON, max(request.tokens_left for request in requests))
        last, change = self.next_mode(num), self.price / costs.plain
        best, least = PLAIN, horizon / MIN_GAIN + change * (last is not None and last.k > 0)
        lag = sum(request.draft_lag - 1 for request in requests)
        repeated = sum(request.num_repeated for request in requests)
        # A lone text that begins changes the shape anyway: it is judged by itself, not by the texts before.
        weight = 1.0 if last is None and num == 1 else min(1.0, (REST + num // 8) / MEMORY)
        for drafter, widths in WIDTHS.items():
            # Several sequences would need now more and now fewer of the draft model's decodes.
            if drafter == ("model" if num == 1 else "auto"):
                continue
            is_lookup = drafter == "ngram"
            catch_up = 0.0 if is_lookup else self._catch_up_seconds(lag)
            proven = PROVEN * repeated / num if is_lookup else 0.0
            widest = self._candidates(Mode(drafter, widths[-1]), requests, costs)
            for mode in [Mode(drafter, k) for k in widths if k * num < len(costs.target)]:
                cut = [candidate._replace(survival=candidate.survival[: mode.k]) for candidate in widest]
                now = num / best_lengths(cut, costs.in_mode(mode, num))[1] / costs.plain
                usual = self._usual.get((num.bit_length(), mode), now)
                self._usual[num.bit_length(), mode] = usual = usual + (now - usual) * weight
                is_change = last is not None and mode.k != last.k  # at a prompt the shape changes anyway
                total = horizon * usual + change * is_change + catch_up / costs.plain
                if total < least and self._is_covered(costs, num, mode, self.price * is_change + catch_up, proven):
                    best, least = mode, total
        return best

    # Learning

    def observe(self, plan: StepPlan, outcomes: Sequence[DraftOutcome], seconds: float) -> None:
        """Learn from one step; ``outcomes[i]`` belongs to ``plan.requests[i]``, ``seconds`` is what the step took.

        What the tokens say about later ones is told to ``rates``, before.
        """
        num, last, costs = len(plan.requests), self._mode, plan.costs
        verified = sum(outcome.verified for outcome in outcomes)
        expected, pairs = costs.target[verified] + plan.change_seconds, zip(plan.requests, outcomes, strict=True)
        if lags := [request.draft_lag - 1 for request, outcome in pairs if outcome.decodes]:
            expected += max(outcome.decodes for outcome in outcomes) * costs.draft[len(lags)]
            expected += self._catch_up_seconds(sum(lags))
            if verified:
                self._idle, self._gap = 0, FIRST_GAP
        seconds = min(max(0.0, seconds / self.costs.slow_down - costs.certain), MOST_STRETCH * expected)
        seconds -= plan.change_seconds  # settled when it was decided on, or plain decoding would pay it, too
        self.guard.pass_time(seconds / costs.plain, num)
        if verified or lags or plan.width:
            gained = sum(outcome.committed - 1 for outcome in outcomes if outcome.verified) / num
            spent = seconds + self.costs.return_seconds * (verified > 0) - costs.plain
            self.guard.settle(gained - spent / costs.plain, num)
        if self.price and num == self._shape[0] and (not plan.width or self._rest <= 0):
            self._mode = self._decide(plan.requests, self._costs)
            if self._mode.k:
                self._rest = REST + num // 8
            if self._mode.k != last.k:
                self.guard.settle(-self.price / costs.plain, num)
