"""Step costs that were measured on other machines, to ask what drafting would gain there.

Medians of `exsa_lab.costs.calibration` and of repeated decodes at 128 tokens of context, llama-cpp-python 0.3.36, the
default pair. The H100's are steady steps: a change of the batch's shape costs some 4 ms more there.
"""

from __future__ import annotations

from dataclasses import dataclass

from exsa_lab import files
from exsa_lab.costs.model import CostModel

COST_FACTORS = (1, 4, 10)
"""How many times the target's own cost a recorded machine is offered with; see `exsa_lab.models.scale_cost`."""
_MS = 1e-3


@dataclass(frozen=True, slots=True)
class RecordedMachine:
    """Milliseconds by number of tokens, of one sequence."""

    name: str
    target: dict[str, float]
    draft: dict[str, float]
    ms_per_sequence: float = 0.0
    """What each further sequence adds to a decode of the target."""

    def costs(self, factor: float = 1) -> CostModel:
        """Return the costs of a target that takes ``factor`` times as long; the draft is the same.

        Example: ``RECORDED_MACHINES[0].costs(10).step_seconds(1)``.
        """
        return CostModel.from_measurements(
            {int(n): factor * _MS * ms for n, ms in self.target.items()},
            {int(n): _MS * ms for n, ms in self.draft.items()},
            seconds_per_sequence=factor * _MS * self.ms_per_sequence,
        )


RECORDED_MACHINES = tuple(RecordedMachine(**facts) for facts in files.read_data("exsa_lab.costs", "recorded.json"))
