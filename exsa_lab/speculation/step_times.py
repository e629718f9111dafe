"""What whole steps take beyond their decodes, for a device beside whose decodes Python is slow."""

from __future__ import annotations

_GAIN = 0.1
_LONGEST = 2.0
"""A step that took so many times what its decodes should is another program's doing."""
_MOST = 3.0
"""Of draft decodes in use and as calibrated, at most. An H100 with the default pair: 0.39 to 0.27 ms."""


class StepTimes:
    """Learns it from steps of settled shapes. Times in seconds; owned by the policy.

    Three things are told apart: what a plain step takes beyond its decode, what a step that verifies takes beyond
    that, and how many times as long as calibrated a decode of the draft takes, choosing its token included.

    Example::

        times = StepTimes()
        times.observe(0.0013, verify=0.0011, draft=0.0, is_plain=True)
        times.plain  # 0.00002, on its way to 0.0002
    """

    def __init__(self) -> None:
        self.plain = 0.0
        self.wide = 0.0
        self.draft_ratio = 1.0

    def observe(self, seconds: float, *, verify: float, draft: float, is_plain: bool) -> None:
        """Learn from a step of so many seconds, whose decodes should take ``verify`` and ``draft``."""
        if seconds > _LONGEST * (verify + draft):
            return
        beyond = seconds - verify - self.plain
        if is_plain:
            self.plain = max(0.0, self.plain + _GAIN * beyond)
        elif not draft:
            self.wide = max(0.0, self.wide + _GAIN * (beyond - self.wide))
        else:
            ratio = min(_MOST, max(1.0, (beyond - self.wide) / draft))
            self.draft_ratio += _GAIN * (ratio - self.draft_ratio)
