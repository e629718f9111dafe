"""What drafting can gain on this machine, for people: break-even acceptance, best case, one plain sentence."""

from __future__ import annotations

from exsa_lab.config import MAX_DRAFT_LENGTH
from exsa_lab.costs.model import CostModel

CHAT_ACCEPTANCE = 0.6
"""Acceptance rate of a small draft model on chat, for the verdict; the default pair reaches it for its first token."""
_CLEAR_GAIN = 1.05


def expected_tokens(acceptance: float, k: int) -> float:
    """Tokens a round of ``k`` draft tokens commits on average: (1 - a^(k+1)) / (1 - a).

    Leviathan et al. 2023, arXiv 2211.17192, equation 1; ``acceptance`` is the same at every place.
    """
    return sum(acceptance**j for j in range(k + 1))


def round_cost(costs: CostModel, k: int, *, uses_model: bool = True) -> float:
    """Cost of a round of ``k`` draft tokens in single steps: (T(1+k) + k c + s) / T(1).

    c is one decode of the draft, s what the first of them takes beyond that; both are 0 for looked-up drafts.
    """
    draft = k * costs.draft_seconds(1) + costs.draft_start_seconds * costs.slow_down if uses_model and k else 0.0
    return (costs.step_seconds(1 + k) + draft) / costs.step_seconds(1)


def speed_up(costs: CostModel, k: int, acceptance: float, *, uses_model: bool = True) -> float:
    """Expected speed against plain decoding, of one sequence."""
    return expected_tokens(acceptance, k) / round_cost(costs, k, uses_model=uses_model)


def best_case_speedup(costs: CostModel, k: int, *, uses_model: bool = True) -> float:
    """Speed against plain decoding if every draft token were accepted."""
    return speed_up(costs, k, 1.0, uses_model=uses_model)


def break_even_acceptance(costs: CostModel, k: int, *, uses_model: bool = True) -> float | None:
    """Acceptance rate at which ``k`` draft tokens are as fast as plain decoding; None where not even 1 is enough.

    Example: verifying 4 tokens for 2.7 single steps and drafting 3 for 0.4 needs 3.1 tokens per round: 0.85.
    """
    return acceptance_for(round_cost(costs, k, uses_model=uses_model), k)


def acceptance_for(needed: float, k: int) -> float | None:
    """Acceptance rate at which drafts of ``k`` tokens give ``needed`` tokens a round; None where not even 1 does."""
    if needed > k + 1:
        return None
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if expected_tokens(middle, k) < needed else (low, middle)
    return high


def verdict_sentence(costs: CostModel) -> str:
    """Say in plain words what drafting can do on this machine."""
    copying = max(range(1, MAX_DRAFT_LENGTH + 1), key=lambda k: best_case_speedup(costs, k, uses_model=False))
    copy_gain = best_case_speedup(costs, copying, uses_model=False)
    price = f"verifying 4 tokens costs {round_cost(costs, 3, uses_model=False):.1f} single steps"
    if costs.draft is None:
        if copy_gain < _CLEAR_GAIN:
            return f"On this machine drafting cannot pay: {price}."
        return f"No draft model is loaded; {price}. Copying text can pay: up to {copy_gain:.1f}x."
    copies = f"Copying text can: up to {copy_gain:.1f}x." if copy_gain >= _CLEAR_GAIN else "Copying text cannot either."
    k = max(range(1, MAX_DRAFT_LENGTH + 1), key=lambda k: speed_up(costs, k, CHAT_ACCEPTANCE))
    chat_gain = speed_up(costs, k, CHAT_ACCEPTANCE)
    if chat_gain < _CLEAR_GAIN:
        return f"On this machine a draft model cannot pay for chat: {price}. {copies}"
    if copy_gain >= _CLEAR_GAIN:
        copies = f"Copying text can pay more: up to {copy_gain:.1f}x."
    return (
        f"On this machine a draft model can pay for chat: {price}, so {k} draft token{'s give' if k > 1 else ' gives'} "
        f"{chat_gain:.1f}x where {CHAT_ACCEPTANCE:.0%} are accepted. {copies}"
    )
