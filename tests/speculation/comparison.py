"""The draft policy against plain decoding and the best fixed setting, on all simulated machines.

Run ``python -m tests.speculation.comparison [--machines H100] [--at-once 1,4]`` from the repository's root. With
``--vary`` each tuned number of the policy is halved and doubled in turn.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from exsa_lab.speculation import acceptance_rates, draft_length, guard
from tests.speculation.simulator import KINDS, MACHINES, PLAIN, automatic, best_fixed, run, waves

ENOUGH = 0.97


@dataclass(frozen=True)
class Cell:
    """One machine, kind of text and number of requests at once. Speeds are quotients of seconds."""

    machine: str
    kind: str
    num: int
    of_plain: float
    of_best: float
    best: str

    @property
    def is_gpu(self) -> bool:
        return MACHINES[self.machine].is_gpu


def compare(name: str, kind: str, num: int) -> Cell:
    """Run one cell."""
    seconds = automatic(MACHINES[name], waves(kind, num), seed=1)
    plain, best, setting = fixed_settings(name, kind, num)
    return Cell(name, kind, num, plain / seconds, best / seconds, setting)


@cache
def fixed_settings(name: str, kind: str, num: int) -> tuple[float, float, str]:
    """Seconds of plain decoding, and of the best fixed setting with its name."""
    machine, batches = MACHINES[name], waves(kind, num)
    return run(machine, batches, PLAIN), *best_fixed(machine, batches)


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


GROUPS: dict[str, Callable[[Cell], bool]] = {
    "all": lambda cell: True,
    "CPU, 1 request": lambda cell: not cell.is_gpu and cell.num == 1,
    "CPU, several": lambda cell: not cell.is_gpu and cell.num > 1,
    "GPU, 1 request": lambda cell: cell.is_gpu and cell.num == 1,
    "GPU, several": lambda cell: cell.is_gpu and cell.num > 1,
}


TUNED: dict[str, tuple[ModuleType, float]] = {
    "HORIZON": (draft_length, 0.0),
    "MIN_GAIN": (draft_length, 1.0),
    "PROBES": (draft_length, 0.0),
    "FIRST_GAP": (draft_length, 0.0),
    "REST": (draft_length, 0.0),
    "PROVEN": (draft_length, 0.0),
    "MOST_STRETCH": (draft_length, 1.0),
    "MEMORY": (draft_length, 0.0),
    "SHARE": (guard, 0.0),
    "ALLOWANCE": (draft_length, 0.0),
    "MOST": (guard, 0.0),
    "SHARED_MEMORY": (acceptance_rates, 1.0),
    "OWN_MEMORY": (acceptance_rates, 1.0),
    "PRIOR_TESTS": (acceptance_rates, 0.0),
}
"""The policy's tuned numbers: where each is read, and from where it is counted (1.05 doubled is 1.10)."""


def vary(names: Sequence[str], nums: Sequence[int]) -> None:
    """Print what halving and doubling each number does to the geometric means, in percent of speed."""
    cells = [(name, kind, num) for name in names for num in nums for kind in KINDS]
    before = {cell: compare(*cell) for cell in cells}
    print(f"{'':16}{'value':>9}{'halved':>9}{'worst':>8}{'doubled':>9}{'worst':>8}")
    for constant, (module, zero) in TUNED.items():
        value, row = getattr(module, constant), []
        for factor in (0.5, 2.0):
            changed = zero + (value - zero) * factor
            setattr(module, constant, type(value)(changed) if isinstance(value, int) else changed)
            ratios = [compare(*cell).of_plain / before[cell].of_plain for cell in cells]
            row += [100 * (geometric_mean(ratios) - 1), 100 * (min(ratios) - 1)]
        setattr(module, constant, value)
        print(f"{constant:16}{value:9g}{row[0]:+9.1f}{row[1]:+8.1f}{row[2]:+9.1f}{row[3]:+8.1f}", flush=True)


def summary(cells: Sequence[Cell]) -> list[str]:
    """One line for each group of cells."""
    lines = [f"{'':16}{'auto/plain':>11}{'auto/best':>11}{f'>= {ENOUGH}':>9}{'worst':>8}"]
    for name, belongs in GROUPS.items():
        some = [cell for cell in cells if belongs(cell)]
        if some:
            plain = [cell.of_plain for cell in some]
            share = sum(value >= ENOUGH for value in plain) / len(plain)
            best = geometric_mean([cell.of_best for cell in some])
            lines.append(f"{name:16}{geometric_mean(plain):11.3f}{best:11.3f}{share:9.0%}{min(plain):8.3f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--machines", default="", help="only those whose name contains one of these, separated by commas"
    )
    parser.add_argument("--at-once", default="1,4,16,64", help="requests at once, separated by commas")
    parser.add_argument("--vary", action="store_true", help="halve and double each tuned number instead")
    chosen = parser.parse_args()
    nums = [int(word) for word in chosen.at_once.split(",")]
    names = [name for name in MACHINES if any(part in name for part in chosen.machines.split(","))]
    if chosen.vary:
        vary(names, nums)
        return
    cells = []
    print(f"{'machine':22}{'kind':13}{'at once':>8}{'auto/plain':>11}{'auto/best':>11}  best fixed setting")
    for name in names:
        for num in nums:
            for kind in KINDS:
                cell = compare(name, kind, num)
                cells.append(cell)
                print(f"{name:22}{kind:13}{num:8}{cell.of_plain:11.3f}{cell.of_best:11.3f}  {cell.best}", flush=True)
    print("\nGeometric means:", *summary(cells), sep="\n")


if __name__ == "__main__":
    main()
