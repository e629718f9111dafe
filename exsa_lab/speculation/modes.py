"""Which mode decoding is in, where a change of the batch's shape costs something.

llama.cpp's CUDA backend replays a recorded graph only while the shape of the batch stays what it was. On an H100 with
the default pair a replayed step takes 1.16 ms, and a change of shape 3.8 ms more: draft lengths that followed the text
from step to step would cost more than they gain. So a mode is kept for a stretch of steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from exsa_lab.config import DrafterName
from exsa_lab.events import DraftReason
from exsa_lab.speculation.acceptance_rates import AcceptanceRates
from exsa_lab.speculation.draft_plan import PLAIN, DraftChoice, DraftRequest, Mode, StepCosts, StepPlan

WIDTHS: dict[DrafterName, tuple[int, ...]] = {"auto": (3, 7, 15), "model": (1, 3, 7), "ngram": (3, 7, 15)}
"""Draft lengths: with the sequence's own token 4, 8 and 16, the sizes at which CUDA kernels step."""
RECENT = 32
"""Tokens of a sequence over which the cost of a token in a mode is averaged."""
USUAL = 256
"""The same over all requests, for the beginning of one."""


class Modes:
    """Costs of a token in each mode, as learned; plain decoding is 1. Owned by the policy.

    ``price`` is what a change of the target's shape costs, in seconds.
    """

    def __init__(self, rates: AcceptanceRates, price: float, *, has_draft: bool) -> None:
        self._rates = rates
        self.price = price
        self._has_draft = has_draft
        self._current = PLAIN
        self._num = 0
        """Sequences of the last step; 0 after a prompt's step, which changed the shape anyway."""
        self.is_free = True
        """Whether the last choice was free to change the shape."""
        self._recent: dict[Mode, float] = {}
        self._usual: dict[tuple[int, Mode], float] = {}

    def interrupt(self) -> None:
        """The shape changed for another reason, and with it perhaps who decodes."""
        self._num = 0
        self._recent.clear()

    def of(self, requests: Sequence[DraftRequest]) -> list[Mode]:
        """The modes with drafts that these sequences allow."""
        wanted = {request.drafter for request in requests}
        names: list[DrafterName] = ["ngram"] if wanted & {"auto", "ngram"} else []
        if self._has_draft and wanted & {"auto", "model"}:
            # Several sequences would need now more and now fewer of the draft model's decodes.
            names.append("auto" if len(requests) == 1 else "model")
        return [Mode(name, k) for name in names for k in WIDTHS[name]]

    def change_price(self, mode: Mode, num: int, costs: StepCosts) -> float:
        """Plain steps that changing the batch's shape for a mode costs now."""
        changes = num == self._num and mode.k != self._current.k
        return self.price / costs.plain_seconds if changes else 0.0

    def choose(
        self,
        requests: Sequence[DraftRequest],
        costs: StepCosts,
        prices: Mapping[Mode, float],
        horizon: int,
        min_gain: float,
    ) -> Mode:
        """Return the mode in which the next ``horizon`` tokens cost least; ``prices`` are those of entering each."""
        num = len(requests)
        self.is_free = num != self._num
        best, least = PLAIN, horizon / min_gain + self.change_price(PLAIN, num, costs)
        for mode, price in prices.items():
            total = horizon * self.cost(mode, requests, costs) + price
            if total < least:
                best, least = mode, total
        return best

    def cost(self, mode: Mode, requests: Sequence[DraftRequest], costs: StepCosts) -> float:
        """What a token costs in a mode: lately, or usually, or as it looks now."""
        known = self._recent.get(mode, self._usual.get((len(requests).bit_length(), mode)))
        return self._estimate(mode, requests, costs) if known is None else known

    def observe(self, plan: StepPlan, num_committed: int) -> None:
        """Learn what the tokens of a step would have cost in each mode."""
        num = len(plan.requests)
        tokens = num_committed / num
        recent, usual = (1 - 1 / RECENT) ** tokens, (1 - 1 / USUAL) ** tokens
        for mode in self.of(plan.requests):
            if mode.k * num > plan.costs.max_tokens - plan.costs.base_tokens:
                continue
            now, key = self._estimate(mode, plan.requests, plan.costs), (num.bit_length(), mode)
            before = self._usual.get(key, now)
            self._usual[key] = now + (before - now) * usual
            self._recent[mode] = now + (self._recent.get(mode, before) - now) * recent
        self._current, self._num = plan.mode, num

    def draft_in(self, mode: Mode, request: DraftRequest, costs: StepCosts) -> DraftChoice | None:
        """One sequence's draft in a mode; None where it has none."""
        drafter, length, _ = self._best(
            mode, request, costs, costs.seconds(mode.k), costs.draft[1] if costs.draft else 0.0
        )
        return DraftChoice(drafter, length, DraftReason.MEASURED_GAIN) if length else None

    def _estimate(self, mode: Mode, requests: Sequence[DraftRequest], costs: StepCosts) -> float:
        num = len(requests)
        verify = costs.seconds(mode.k * num)
        decode = costs.draft[num] if costs.draft and mode.drafter != "ngram" else 0.0
        if num == 1:
            drafter, length, expected = self._best(mode, requests[0], costs, verify, decode)
            seconds = verify + (length * decode if drafter == "model" else 0.0)
        else:
            expected = sum(self._best(mode, request, costs, verify, decode)[2] for request in requests)
            seconds = verify + mode.k * decode
            if decode:
                # After a draft that was accepted whole, its last token is one decode more for all.
                none_whole = math.prod(1.0 - self._rates.model_rate(request.history) ** mode.k for request in requests)
                seconds += (1.0 - none_whole) * decode
        return seconds / expected * num / costs.plain_seconds

    def _best(
        self, mode: Mode, request: DraftRequest, costs: StepCosts, verify: float, decode: float
    ) -> tuple[DrafterName, int, float]:
        """Who drafts how many tokens in a mode, and the tokens to be expected."""
        best: tuple[DrafterName, int, float] = ("none", 0, 1.0)
        length = min(mode.k, request.limit, request.ngram_tokens)
        if length and mode.drafter != "model" and request.drafter in ("auto", "ngram"):
            best = (
                "ngram",
                length,
                1.0 + sum(self._rates.lookup_survival(request.history, request.match_length, length)),
            )
        if mode.drafter == "ngram" or request.drafter not in ("auto", "model"):
            return best
        survival = self._rates.model_survival(request.history, min(mode.k, request.limit))
        if mode.drafter == "model":
            return "model", len(survival), 1.0 + sum(survival)
        rate, expected = best[2] / verify, 1.0
        for length, alive in enumerate(survival, start=1):
            expected += alive
            if expected / (verify + length * decode) > rate:
                best, rate = ("model", length, expected), expected / (verify + length * decode)
        return best
