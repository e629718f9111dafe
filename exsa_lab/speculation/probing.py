"""Steps taken to learn something: drafts while the draft model rests, and plain steps while drafting goes on."""

from __future__ import annotations

from exsa_lab.costs.model import CostModel

PLAIN_FIRST, PLAIN_LAST = 3, 128
"""Steps with a draft after which a plain one is due: at first, and where it has long held no surprise."""
MODEL_REST = 32
"""Most steps for which a draft model that was not worth it is not weighed again."""
_SHIFT = 1.15
"""Change of the common slow-down since the last plain step that makes the next one due at once."""
_PROBES = 8
"""Probes in a row while they go well; each that fails counts as half of them."""
_FIRST_GAP, _LAST_GAP = 4, 512
"""Steps without a probe after such a row: twice the former, from one limit to the other."""


class ModelProbes:
    """When a draft model that does not pay is weighed or tried again. Owned by the policy."""

    def __init__(self) -> None:
        self.rest = 0
        """Steps for which it is not weighed, because it just lost."""
        self._gap = 0
        self._rest_gap = _FIRST_GAP
        self._left = _PROBES
        self._steps_since_draft = 0

    @property
    def is_resting(self) -> bool:
        return self.rest > 0

    @property
    def until_next(self) -> int:
        """Steps until it may be tried again; 0 or less: now."""
        return self._gap - self._steps_since_draft

    def count_step(self, rest: int = 0) -> None:
        """A step passed, after which the model is to rest so long."""
        self._steps_since_draft += 1
        self.rest = max(rest, self.rest - 1)

    def note_draft(self) -> None:
        """It drafted in the step that was counted last."""
        self._steps_since_draft = self.rest = 0

    def note_probe(self, *, was_right: bool, was_verified: bool) -> None:
        """Go on probing while it goes well: the draft has caught up now, and a single probe says little."""
        if not (was_right and was_verified):
            self._left -= 1 if was_right else _PROBES // 2
        if self._left > 0:
            self._gap = 0
        else:
            self._rest_gap = min(_LAST_GAP, 2 * self._rest_gap)
            self._gap, self._left = self._rest_gap, _PROBES


class PlainSteps:
    """When a plain step is due among those with drafts: only it shows what that costs. Owned by the policy."""

    def __init__(self, costs: CostModel) -> None:
        self.drafted = 0
        """Steps with a draft since the last plain one."""
        self._costs = costs
        self._gap = PLAIN_FIRST
        self._slow_down = costs.slow_down

    @property
    def is_due(self) -> bool:
        return self.drafted >= self._gap or (self.drafted >= PLAIN_FIRST and self._has_shifted())

    def note(self, *, is_plain: bool) -> None:
        """Count a step; where the costs have shifted since the last plain one they come more often."""
        if not is_plain:
            self.drafted += 1
            return
        if self.drafted:
            has_changed = self._has_shifted() or self._costs.is_surprised
            self._gap = PLAIN_FIRST if has_changed else min(PLAIN_LAST, 3 * self._gap)
        self.drafted = 0
        self._slow_down = self._costs.slow_down

    def _has_shifted(self) -> bool:
        """Whether drafting or not, or something else, changed the common slow-down since the last plain step."""
        return not 1 / _SHIFT < self._costs.slow_down / self._slow_down < _SHIFT
