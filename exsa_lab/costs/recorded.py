"""Step costs that were measured on other machines, to ask what drafting would gain there.

Medians of `exsa_lab.costs.calibration` and of repeated decodes at 128 tokens of context, llama-cpp-python 0.3.36, the
default pair. The H100's are steady steps: a change of the batch's shape costs some 4 ms more there.
"""

from __future__ import annotations

from dataclasses import dataclass

from exsa_lab.costs.model import CostModel

COST_FACTORS = (1, 4, 10)
"""How many times the target's own cost a recorded machine is offered with; see `exsa_lab.models.scale_cost`."""

_MS = 1e-3
_DRAFT_2 = {1: 0.77, 2: 0.77, 3: 0.85, 4: 1.16, 5: 1.62, 8: 1.93, 16: 3.93, 64: 6.9}
_DRAFT_16 = {1: 0.57, 2: 0.63, 4: 0.68, 8: 0.86, 16: 1.25, 64: 2.3}
_DRAFT_H100 = {1: 0.3, 2: 0.36, 4: 0.39, 8: 0.51, 16: 0.9, 32: 1.17, 64: 1.56}
_Q4_1 = {1: 6.9, 2: 13.1, 3: 16.6, 4: 28.3, 5: 46.9, 8: 34.5, 16: 78.0, 64: 186.0}
_Q8_0 = {1: 7.2, 2: 15.8, 3: 17.3, 4: 19.4, 5: 23.8, 8: 26.6, 16: 41.0, 64: 137.0}
_CORES_16 = {1: 2.9, 2: 4.9, 3: 5.0, 4: 5.7, 5: 5.9, 6: 6.5, 8: 7.9, 16: 12.4, 64: 30.0}
_H100 = {
    1: 1.16,
    2: 1.47,
    4: 1.47,
    5: 1.74,
    8: 1.74,
    9: 3.19,
    16: 3.25,
    17: 4.06,
    32: 4.18,
    64: 5.22,
    128: 8.0,
    256: 11.6,
}


@dataclass(frozen=True, slots=True)
class RecordedMachine:
    """Milliseconds by number of tokens, of one sequence."""

    name: str
    target: dict[int, float]
    draft: dict[int, float]
    ms_per_sequence: float = 0.0
    """What each further sequence adds to a decode of the target."""

    def costs(self, factor: float = 1) -> CostModel:
        """Return the costs of a target that takes ``factor`` times as long; the draft is the same.

        Example: ``RECORDED_MACHINES[0].costs(10).step_seconds(1)``.
        """
        return CostModel.from_measurements(
            {n: factor * _MS * ms for n, ms in self.target.items()},
            {n: _MS * ms for n, ms in self.draft.items()},
            seconds_per_sequence=factor * _MS * self.ms_per_sequence,
        )


RECORDED_MACHINES = (
    RecordedMachine("2 CPU cores, Q4_1", _Q4_1, _DRAFT_2),
    RecordedMachine("2 CPU cores, Q8_0", _Q8_0, _DRAFT_2),
    RecordedMachine("16 CPU cores", _CORES_16, _DRAFT_16),
    RecordedMachine("H100", _H100, _DRAFT_H100, ms_per_sequence=0.03),
)
