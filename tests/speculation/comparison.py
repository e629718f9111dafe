"""The draft policy against plain decoding and the best fixed setting, on all simulated machines.

Run ``python -m tests.speculation.comparison [--machines H100] [--at-once 1,4]`` from the repository's root.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
    machine, batches = MACHINES[name], waves(kind, num)
    seconds = automatic(machine, batches, seed=1)
    best, setting = best_fixed(machine, batches)
    return Cell(name, kind, num, run(machine, batches, PLAIN) / seconds, best / seconds, setting)


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


GROUPS: dict[str, Callable[[Cell], bool]] = {
    "all": lambda cell: True,
    "CPU, 1 request": lambda cell: not cell.is_gpu and cell.num == 1,
    "CPU, several": lambda cell: not cell.is_gpu and cell.num > 1,
    "GPU, 1 request": lambda cell: cell.is_gpu and cell.num == 1,
    "GPU, several": lambda cell: cell.is_gpu and cell.num > 1,
}


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
    parser.add_argument("--machines", default="", help="only those whose name contains this")
    parser.add_argument("--at-once", default="1,4,16,64", help="requests at once, separated by commas")
    chosen = parser.parse_args()
    cells = []
    print(f"{'machine':16}{'kind':13}{'at once':>8}{'auto/plain':>11}{'auto/best':>11}  best fixed setting")
    for name in (name for name in MACHINES if chosen.machines in name):
        for num in map(int, chosen.at_once.split(",")):
            for kind in KINDS:
                cell = compare(name, kind, num)
                cells.append(cell)
                print(f"{name:16}{kind:13}{num:8}{cell.of_plain:11.3f}{cell.of_best:11.3f}  {cell.best}", flush=True)
    print("\nGeometric means:", *summary(cells), sep="\n")


if __name__ == "__main__":
    main()
