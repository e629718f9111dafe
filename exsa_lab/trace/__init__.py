"""A recorded run as a value: the trace, what another draft length would have done, what drafting can gain.

Example::

    from exsa_lab.trace import Trace, break_even_acceptance

    print(Trace.load("run.json").replay(draft_length=3))
    break_even_acceptance(engine.costs, 3)  # the acceptance rate from which drafts of 3 tokens pay
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exsa_lab.lazy import lazy_members

if TYPE_CHECKING:
    from exsa_lab.trace.break_even import (
        best_case_speedup,
        break_even_acceptance,
        expected_tokens,
        round_cost,
        speed_up,
        verdict_sentence,
    )
    from exsa_lab.trace.measured import MeasuredSpeed, PlainSpeed, acceptance_of_tested, measured_speeds, plain_speed
    from exsa_lab.trace.positions import MAX_POSITIONS, Positions, common_probability, match_probability
    from exsa_lab.trace.replay import Replay
    from exsa_lab.trace.time_parts import TimeParts, time_parts
    from exsa_lab.trace.trace import Trace
    from exsa_lab.trace.what_if import WhatIf

__all__ = [
    "MAX_POSITIONS",
    "MeasuredSpeed",
    "PlainSpeed",
    "Positions",
    "Replay",
    "TimeParts",
    "Trace",
    "WhatIf",
    "acceptance_of_tested",
    "best_case_speedup",
    "break_even_acceptance",
    "common_probability",
    "expected_tokens",
    "match_probability",
    "measured_speeds",
    "plain_speed",
    "round_cost",
    "speed_up",
    "time_parts",
    "verdict_sentence",
]

# Imported when first used, so that importing one module of this package costs no more than that module.
__getattr__, __dir__ = lazy_members(
    __name__,
    {
        "MAX_POSITIONS": "exsa_lab.trace.positions",
        "MeasuredSpeed": "exsa_lab.trace.measured",
        "PlainSpeed": "exsa_lab.trace.measured",
        "Positions": "exsa_lab.trace.positions",
        "Replay": "exsa_lab.trace.replay",
        "TimeParts": "exsa_lab.trace.time_parts",
        "Trace": "exsa_lab.trace.trace",
        "WhatIf": "exsa_lab.trace.what_if",
        "best_case_speedup": "exsa_lab.trace.break_even",
        "break_even_acceptance": "exsa_lab.trace.break_even",
        "common_probability": "exsa_lab.trace.positions",
        "expected_tokens": "exsa_lab.trace.break_even",
        "match_probability": "exsa_lab.trace.positions",
        "measured_speeds": "exsa_lab.trace.measured",
        "plain_speed": "exsa_lab.trace.measured",
        "round_cost": "exsa_lab.trace.break_even",
        "speed_up": "exsa_lab.trace.break_even",
        "acceptance_of_tested": "exsa_lab.trace.measured",
        "time_parts": "exsa_lab.trace.time_parts",
        "verdict_sentence": "exsa_lab.trace.break_even",
    },
)
