"""Draft lengths for a device on which a change of the batch's shape is dear: one mode for a stretch of steps.

llama.cpp's CUDA backend replays a captured graph only while the shape of the batch (tokens, sequences, outputs) stays
what it was. On one H100 with the default pair a replayed step took 1.16 ms (draft: 0.27 ms), and each change of shape
added 3.8 ms in all (draft: 1.2 ms): lengths that follow the text from step to step would cost more than they gain.

So a *mode* is kept: plain, or drafts of k tokens, the same for all sequences, by the draft model, by lookup, or, where
one sequence decodes alone, by whoever promises more in each round. Every draft is filled up to k, so that the target's
batch keeps its shape; confidence ends no draft early.

When to change the mode is the problem of whether to rent or to buy. For every mode a *regret* is kept: the seconds it
would have saved since the last change, never below 0. Plain decoding and lookup of any length are known exactly from
the tokens that came (`NgramIndex.learn`); the draft model's lengths are judged by the acceptance rates. Once the
regret of a mode exceeds the price of changing to it, that is done: what is lost by waiting is then about what the
change costs, whatever the text does (compare metrical task systems, Borodin, Linial and Saks 1992). Where the shape
changes anyway, because a prompt was read or a sequence came or went, the mode of the highest expected goodput is taken
at once: what each mode would have cost for the last hundred tokens is known, whoever's they were.

Two rules keep this from being slower than plain decoding:

* an account for each drafter, in seconds. It earns a small share of the time and what drafting gains, and pays what it
  loses, changes included. Only who can pay the way there and back may begin, and who cannot pay the way back stops.
* the draft model is probed beside plain steps: it proposes one token, which is compared with what comes and not
  verified. That costs a decode of the draft and no change of the target's shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from exsa_lab.config import DrafterName
from exsa_lab.costs.model import CostModel
from exsa_lab.events import DraftReason
from exsa_lab.runtime.steady import STEPS_TO_RECORD
from exsa_lab.speculation.acceptance_rates import AcceptanceEstimate
from exsa_lab.speculation.draft_length import MIN_GAIN, NO_LIMIT, DraftLengthPolicy, Resting
from exsa_lab.speculation.draft_plan import Choice, DraftRequest, Outcome, StepPlan
from exsa_lab.speculation.goodput import StepCosts
from exsa_lab.speculation.steady_plan import (
    LOOKUP_LENGTHS,
    MODEL_LENGTHS,
    MODES,
    PLAIN,
    Mode,
    SteadyPlan,
    account,
    lookup_rounds,
)
from exsa_lab.speculation.step_times import StepTimes

SHARE = 0.01
"""Share of the time that each drafter may lose for good."""
FIRST_CREDIT: dict[DrafterName, float] = {"model": 16.0, "ngram": 16.0}
"""Changes of shape that each drafter may pay for before it earned any, once in the life of an engine."""
MAX_CREDIT = 16.0
"""Most changes of shape that a drafter can save up for."""
CAUTION = 2.0
"""A change is made once its regret exceeds its price so many times: texts of a hundred tokens leave room for few."""
MEMORY = 0.99
"""What a token before counts against the last one in what the modes would have cost."""
PROBES = 8
"""Probes in a row, at most; two in a row that fail end it."""
FIRST_GAP, LAST_GAP = 16, 2048
"""Plain steps between such rows: twice the former, from one limit to the other, while the draft model does not pay."""
PROSPECT = 64
"""Steps for which the draft model is expected to go on as in a row of probes that went well."""
_JUDGE_EVERY = 8
_CATCH_UP_STEPS = 32
_CATCH_UP_ROUNDS = 8
"""Rounds that the draft model is expected to go on with what it catches up."""


class SteadyPolicy(DraftLengthPolicy):
    """Like its base, to which it has the same interface, where `CostModel.has_costly_shapes`."""

    def __init__(self, costs: CostModel, *, has_draft: bool, estimate: AcceptanceEstimate | None = None) -> None:
        super().__init__(costs, has_draft=has_draft, estimate=estimate)
        self._switch = costs.switch_seconds["target"]
        self.balance: dict[DrafterName, float] = {name: n * self._switch for name, n in FIRST_CREDIT.items()}
        """Seconds that each drafter may still lose. What both do in one mode is the model's affair."""
        self._usual: dict[tuple[int, Mode], float] = {}
        """What tokens would have cost lately in each mode, by the number of sequences; plain decoding is 1."""
        self._owed = 0.0
        """Of what the draft's catching up took, the part not yet paid: who resumes drafting will go on with it."""
        self._mode = PLAIN
        self._shape = (0, 0, 0)
        self._regret: dict[Mode, float] = {}
        self._judged: dict[Mode, float] = {}
        self._judged_for: tuple[object, ...] = ()
        self._age = 0
        self._times = StepTimes()
        self._num_same = 0
        """Steps of the same shape up to now."""
        self._gap = self._until_probe = FIRST_GAP
        self._row_left = 0
        """Probes left of a row that has begun."""
        self._has_failed = False
        self._is_promising = False
        """Whether a row of probes has just gone well."""

    # Choosing

    def choose(
        self,
        requests: Sequence[DraftRequest],
        *,
        other_tokens: int = 0,
        other_sequences: int = 0,
        budget: int = NO_LIMIT,
    ) -> SteadyPlan:
        """See the base. All sequences get the same length, which stays until a change pays."""
        num = len(requests)
        costs = self._steady_costs(num, other_tokens, other_sequences)
        shape = (num, other_tokens, other_sequences)
        is_free = shape != self._shape
        modes = self._possible_modes(requests, costs, budget)
        mode = self._best_mode(requests, costs, [m for m in modes if self._can_pay(m, is_free)], is_free=is_free)
        if mode.drafter == "auto":
            choices = [self._best_choice(requests[0], mode.k, costs)]
        else:
            choices = [self._choice(request, mode, costs, num) for request in requests]
        if mode is PLAIN and self._is_probe_due(requests, costs):
            lags = [(r.draft_lag, i) for i, r in enumerate(requests) if r.limit and r.drafter in ("auto", "model")]
            if lags:
                choices[min(lags)[1]] = Choice("model", 1, DraftReason.PROBING)
        return SteadyPlan(self, requests, choices, costs, mode, shape, modes)

    def interrupt(self) -> None:
        """See the base: the shape has changed anyway."""
        self._shape = (0, 0, 0)

    def rests(self, sequences: Sequence[Resting]) -> bool:
        """Never: every step is entered into the regrets, and costs little beside a GPU's."""
        return False

    def _steady_costs(self, num: int, other_tokens: int, other_sequences: int) -> StepCosts:
        base = other_tokens + num
        most = base + num * LOOKUP_LENGTHS[-1]
        verify, times = self.costs.target.table(most), self._times
        draft = self.costs.draft.table(max(num, 128)) if self.has_draft and self.costs.draft else []
        plain_seconds = verify[num] + self.costs.sequences_seconds(num + other_sequences) + times.plain
        verify = [seconds + times.wide * (n > base) for n, seconds in enumerate(verify[: most + 1])]
        draft = [seconds * times.draft_ratio for seconds in draft]
        return StepCosts(verify, draft, base, plain_seconds, most)

    def _possible_modes(self, requests: Sequence[DraftRequest], costs: StepCosts, budget: int) -> tuple[Mode, ...]:
        num, wanted = len(requests), {request.drafter for request in requests}
        names: list[DrafterName] = ["model"] if costs.draft and wanted & {"auto", "model"} else []
        if wanted & {"auto", "ngram"}:
            # Several sequences would need now more and now fewer of the draft model's decodes.
            names = ["ngram", "auto"] if names and num == 1 else ["ngram", *names]
        modes = [
            mode
            for name in names
            for mode in MODES[name]
            if costs.base_tokens + num * mode.k <= budget and (name == "model" or self._is_of_use(mode.k, costs, num))
        ]
        return (PLAIN, *modes)

    @staticmethod
    def _is_of_use(k: int, costs: StepCosts, num: int) -> bool:
        """Whether copies of k tokens that are all right win clearly against shorter ones, which lose less if wrong."""

        def seconds(k: int) -> float:
            return costs.seconds(costs.base_tokens + num * k, 0.0) / (k + 1)

        return all(seconds(k) < 0.9 * seconds(shorter) for shorter in (0, *LOOKUP_LENGTHS) if shorter < k)

    def _can_pay(self, mode: Mode, is_free: bool) -> bool:
        if mode is PLAIN:
            return True
        changes = 1 if is_free or self._mode.k else 2  # the way back, and there
        return self.balance[account(mode)] >= changes * self._switch

    def _best_mode(
        self, requests: Sequence[DraftRequest], costs: StepCosts, modes: list[Mode], *, is_free: bool
    ) -> Mode:
        if len(modes) == 1:
            return PLAIN
        if is_free or self._mode not in modes:
            expected = {mode: self._expected_seconds(requests, costs, mode, modes) for mode in modes}
            return min(modes, key=lambda mode: expected[mode])
        best, most = self._mode, 0.0
        for mode in modes:
            gain = self._regret.get(mode, 0.0) - CAUTION * self._price(requests, costs, mode)
            if gain > most:
                best, most = mode, gain
        return best

    def _expected_seconds(
        self, requests: Sequence[DraftRequest], costs: StepCosts, mode: Mode, modes: list[Mode]
    ) -> float:
        """Seconds a token when a mode begins, with nothing known of these sequences but what is usual."""
        plain = costs.plain_seconds / len(requests)
        if mode is PLAIN:
            return plain / MIN_GAIN
        usual = self._usual.get((len(requests), mode))
        if mode.drafter == "ngram":
            return usual * plain if usual else self._seconds_of_lookup(requests, costs, mode.k)
        seconds = usual * plain if usual else self._judge(requests, costs, tuple(modes))[mode]
        return seconds + self._catch_up_seconds(requests, costs) / PROSPECT

    def _price(self, requests: Sequence[DraftRequest], costs: StepCosts, mode: Mode) -> float:
        """Seconds that changing to a mode costs."""
        price = self._switch if mode.k != self._mode.k else 0.0
        if mode.drafter in ("auto", "model") and self._mode.drafter not in ("auto", "model"):
            price += self._catch_up_seconds(requests, costs)
        return price

    def _catch_up_seconds(self, requests: Sequence[DraftRequest], costs: StepCosts) -> float:
        lag = sum(request.draft_lag - 1 for request in requests)
        return costs.draft_seconds(lag) + self.costs.switch_seconds["draft"] if lag else 0.0

    def _best_choice(self, request: DraftRequest, k: int, costs: StepCosts) -> Choice:
        """Who drafts how many of up to k tokens in this round, the target's time being the same."""
        verify = costs.seconds(costs.base_tokens + k, 0.0)
        k = min(k, request.limit)
        best, rate = Choice("none", 0, DraftReason.NOT_WORTH_IT), 1.0 / verify
        if length := min(k, request.ngram_tokens):
            expected = 1.0 + sum(self.estimate.ngram_survival(request.history, request.match_length, length))
            best, rate = Choice("ngram", length, DraftReason.MEASURED_GAIN), expected / verify
        expected, seconds = 1.0, verify + self._catch_up_seconds([request], costs) / _CATCH_UP_ROUNDS
        for length, survival in enumerate(
            self.estimate.model_survival(request.history, min(k, MODEL_LENGTHS[-1])), start=1
        ):
            expected, seconds = expected + survival, seconds + costs.draft[1]
            if expected / seconds > rate:
                best, rate = Choice("model", length, DraftReason.MEASURED_GAIN), expected / seconds
        return best

    def _choice(self, request: DraftRequest, mode: Mode, costs: StepCosts, num: int) -> Choice:
        k = min(mode.k, request.limit)
        may_look_up = request.drafter in ("auto", "ngram") and request.ngram_tokens > 0
        if k and mode.drafter == "model" and request.drafter in ("auto", "model"):
            return Choice("model", k, DraftReason.MEASURED_GAIN)
        if k and may_look_up:
            return Choice("ngram", min(k, request.ngram_tokens), DraftReason.MEASURED_GAIN)
        return Choice("none", 0, DraftReason.NO_DRAFTER if mode.k else self._why_plain(request, costs, num))

    # Judging

    def _judge(self, requests: Sequence[DraftRequest], costs: StepCosts, modes: tuple[Mode, ...]) -> dict[Mode, float]:
        """Seconds a token in each of the draft model's modes, by the acceptance rates; kept for a few steps."""
        key = (len(requests), costs.base_tokens, modes)
        self._age -= 1
        if key == self._judged_for and self._age > 0:
            return self._judged
        self._judged_for, self._age = key, _JUDGE_EVERY
        self._judged = {}
        drafting = [request for request in requests if request.drafter in ("auto", "model")]
        survivals = [self.estimate.model_survival(request.history, MODEL_LENGTHS[-1]) for request in drafting]
        num = len(requests)
        for mode in modes:
            if mode.drafter in ("auto", "model") and drafting:
                lengths = range(1, min(mode.k, MODEL_LENGTHS[-1]) + 1) if mode.drafter == "auto" else (mode.k,)
                self._judged[mode] = min(self._seconds_with_model(survivals, costs, num, mode.k, n) for n in lengths)
        return self._judged

    @staticmethod
    def _seconds_with_model(survivals: list[list[float]], costs: StepCosts, num: int, width: int, length: int) -> float:
        """Seconds a token with drafts of some length, in batches for drafts of ``width``."""
        tokens = num + sum(sum(survival[:length]) for survival in survivals)
        # After a draft that was accepted whole, its last token is one decode more for all.
        none_whole = math.prod(1.0 - survival[length - 1] for survival in survivals)
        draft = (length + 1.0 - none_whole) * costs.draft[len(survivals)]
        return costs.seconds(costs.base_tokens + num * width, draft) / tokens

    def _seconds_of_lookup(self, requests: Sequence[DraftRequest], costs: StepCosts, k: int) -> float:
        """Seconds a token if lookup goes on as its matches look now."""
        tokens = float(len(requests))
        for request in requests:
            if request.ngram_tokens and request.drafter in ("auto", "ngram"):
                length = min(k, request.ngram_tokens)
                tokens += sum(self.estimate.ngram_survival(request.history, request.match_length, length))
        return costs.seconds(costs.base_tokens + len(requests) * k, 0.0) / tokens

    # Learning

    def observe(self, plan: StepPlan, outcomes: Sequence[Outcome], seconds: float | None = None) -> None:
        """See the base."""
        assert isinstance(plan, SteadyPlan)
        self._count_step()
        if not plan.requests:
            return
        self._settle(plan, outcomes)
        if seconds is not None:
            self._observe_times(plan, seconds)
        for request, choice, outcome in zip(plan.requests, plan.choices, outcomes, strict=True):
            if choice.drafter == "model" and (outcome.verified or outcome.peeked is not None):
                self._learn(request.history, choice, outcome)
                if len(plan.requests) <= 4 or self._is_promising:
                    self._age = 0
            else:
                request.history.idle += 1
        self._until_probe -= 1
        if any(choice.drafter == "model" for choice in plan.choices) and plan.mode is not PLAIN:
            self._until_probe, self._row_left = self._gap, 0
        if plan.mode != self._mode:
            self._regret.clear()
        self._mode, self._shape = plan.mode, plan.shape
        self._add_regret(plan, outcomes)

    def _add_regret(self, plan: SteadyPlan, outcomes: Sequence[Outcome]) -> None:
        if len(plan.modes) == 1:
            return
        num, costs = len(plan.requests), plan.costs
        tokens = sum(outcome.accepted + 1 for outcome in outcomes)
        spent = dict.fromkeys(plan.modes, tokens * costs.plain_seconds / num)
        for mode, seconds in self._judge(plan.requests, costs, plan.modes).items():
            spent[mode] = tokens * seconds
        lookups = [mode for mode in plan.modes if mode.drafter in ("auto", "ngram")]
        if lookups:
            rounds, missed = lookup_rounds(plan.requests, outcomes)
            for mode in lookups:
                verify = costs.seconds(costs.base_tokens + num * mode.k, 0.0)
                other = spent[mode] / tokens if mode.drafter == "auto" else verify / num
                spent[mode] = rounds[mode.k] * verify / num + missed * other
        for mode, seconds in spent.items():
            ratio = seconds / spent[PLAIN]
            usual = self._usual.get((num, mode), ratio)
            self._usual[num, mode] = ratio + (usual - ratio) * MEMORY ** (tokens / num)
        current = spent[plan.mode]
        for mode, seconds in spent.items():
            times = PROSPECT if self._is_promising and mode.drafter in ("auto", "model") else 1
            self._regret[mode] = max(0.0, self._regret.get(mode, 0.0) + times * (current - seconds))
        self._is_promising = False

    def _observe_times(self, plan: SteadyPlan, seconds: float) -> None:
        """Learn what a step takes in all, where no change of shape is part of it."""
        is_same = plan.shape == self._shape and plan.mode.k == self._mode.k
        self._num_same = self._num_same + 1 if is_same else 0
        num, (_, other_tokens, other_sequences) = len(plan.requests), plan.shape
        drafting = [
            (c.k + r.draft_lag - 1, r.draft_lag)
            for r, c in zip(plan.requests, plan.choices, strict=True)
            if c.drafter == "model"
        ]
        is_odd = other_tokens > 0 or any(lag > 2 for _, lag in drafting) or (plan.mode is PLAIN and bool(drafting))
        if self._num_same < STEPS_TO_RECORD or is_odd:
            return
        verify = self.costs.target(num * (1 + plan.width)) + self.costs.sequences_seconds(num + other_sequences)
        draft = 0.0
        if drafting and self.costs.draft:
            draft = max(decodes for decodes, _ in drafting) * self.costs.draft(len(drafting))
        seconds /= self.costs.slow_down
        self._times.observe(seconds, verify=verify, draft=draft, is_plain=plan.mode is PLAIN)

    def _settle(self, plan: SteadyPlan, outcomes: Sequence[Outcome]) -> None:
        """Enter a step: what it took and brought, against plain steps for the same tokens."""
        costs, num = plan.costs, len(plan.requests)
        has_changed = plan.mode.k != self._mode.k and plan.shape == self._shape
        lags = [r.draft_lag for r, c in zip(plan.requests, plan.choices, strict=True) if c.drafter == "model"]
        draft = 0.0
        if lags:
            k = max((c.k for c in plan.choices if c.drafter == "model"), default=0)
            draft = k * costs.draft[len(lags)]
            late = max(lags) - 1
            few = late * costs.draft[len(lags)]
            many = costs.draft_seconds(sum(lags)) + self.costs.switch_seconds["draft"]
            self._owed += min(few, many) if late else 0.0
        instalment = self._owed if plan.mode is PLAIN else self._owed / _CATCH_UP_STEPS
        self._owed -= instalment
        seconds = costs.seconds(costs.base_tokens + num * plan.width, draft) + has_changed * self._switch
        gain = sum(outcome.accepted + 1 for outcome in outcomes) * costs.plain_seconds / num - seconds
        payer = account(self._mode if plan.mode is PLAIN and has_changed else plan.mode)
        for name, balance in self.balance.items():
            pays = name == payer and (plan.mode is not PLAIN or has_changed)
            if lags and name == "model" and plan.mode is PLAIN:
                pays = True
            earned = SHARE * seconds + (gain if pays else 0.0) - (instalment if name == "model" else 0.0)
            self.balance[name] = min(MAX_CREDIT * self._switch, balance + earned)

    # Probing

    def _is_probe_due(self, requests: Sequence[DraftRequest], costs: StepCosts) -> bool:
        if not costs.draft or self._until_probe > 0:
            return False
        if self._row_left:
            return True
        lag = min(request.draft_lag for request in requests)
        price = PROBES * costs.draft[1] + costs.draft_seconds(lag) + 2 * self.costs.switch_seconds["draft"]
        return self.balance["model"] >= price and self._can_win("model", costs, len(requests))

    def _learn_probe(self, outcome: Outcome) -> None:
        """Once a row of probes is over, wait; the longer, the more often the draft model proved not to pay."""
        has_failed = outcome.peeked_right is False
        is_bad = has_failed and self._has_failed
        self._row_left = (self._row_left or PROBES) - 1
        self._is_promising = not self._row_left and not is_bad
        if not self._row_left or is_bad:
            self._gap = min(LAST_GAP, 2 * self._gap)
            self._until_probe, self._row_left = self._gap, 0
        self._has_failed = has_failed


def policy_for(costs: CostModel, *, has_draft: bool) -> DraftLengthPolicy:
    """The policy for a machine with these costs: steady where a change of the batch's shape is dear."""
    policy = SteadyPolicy if costs.has_costly_shapes else DraftLengthPolicy
    return policy(costs, has_draft=has_draft)
