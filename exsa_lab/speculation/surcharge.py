"""How much longer steps with a draft really take than the costs say, compared with plain steps."""

from __future__ import annotations

from exsa_lab.config import DrafterName

_GAIN = 0.05
_CLIP = 2.0
"""A step that took this many times as long as expected was another program's doing."""
_FORGET = 0.005
"""Of a surcharge, what each plain step forgives: what was given up is tried again."""


class Surcharge:
    """Measures whole steps against what `CostModel` expects of their decodes. Owned by the policy.

    A step is more than its decodes: tokens are compared and told, caches are cold after a change, and the attention
    of a batch depends on its contexts. What plain steps have of that changes no decision; what steps with a draft
    have beyond it does. Looked-up drafts and those of the model are told apart.
    """

    def __init__(self) -> None:
        self._ratios: dict[DrafterName, float] = {"none": 1.0, "ngram": 1.0, "model": 1.0}
        self._seen = dict.fromkeys(self._ratios, 0)

    def observe(self, drafter: DrafterName, expected: float, seconds: float) -> None:
        """Learn from one whole step; ``drafter`` is "model" where any sequence had a draft from it."""
        ratio = min(_CLIP, max(1 / _CLIP, seconds / expected))
        self._seen[drafter] += 1
        gain = max(_GAIN, 1 / (3 + self._seen[drafter]))
        self._ratios[drafter] += gain * (ratio - self._ratios[drafter])

    def forgive(self) -> None:
        """A plain step passed."""
        plain = self._ratios["none"]
        for name in ("ngram", "model"):
            self._ratios[name] += _FORGET * (plain - self._ratios[name])

    def factor(self, drafter: DrafterName) -> float:
        """By how much a step with such a draft is dearer than the costs say; never below 1."""
        return max(1.0, self._ratios[drafter] / self._ratios["none"])
