"""What a benchmark found, as text for people and JSON for programs."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from exsa_lab.bench.measure import Middle, Ratio, rounded
from exsa_lab.scatter import if_busy

Cell = str | int | float | Ratio | Middle | None


@dataclass(slots=True)
class Table:
    """Rows under named columns. Numbers are rounded only where the table is shown."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]] = field(default_factory=list)

    def add(self, *cells: Cell) -> None:
        """Append a row; it must have one cell for each column."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns")
        self.rows.append(cells)

    def to_text(self) -> str:
        lines = [list(self.columns), *([_show(cell) for cell in row] for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        is_text = [all(isinstance(row[i], str | None) for row in self.rows) for i in range(len(self.columns))]
        shown = [
            "  ".join(
                cell.ljust(width) if left else cell.rjust(width)
                for cell, width, left in zip(line, widths, is_text, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, shown[0], "-" * (sum(widths) + 2 * len(widths) - 2), *shown[1:]])


@dataclass(frozen=True, slots=True)
class Check:
    """One number exsa_lab promises, and what was measured."""

    name: str
    value: float
    wanted: float
    at_least: bool = True

    @property
    def is_met(self) -> bool:
        return self.value >= self.wanted if self.at_least else self.value <= self.wanted

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{'ok  ' if self.is_met else 'MISS'} {self.name}: {self.value:.3g} (promised {sign} {self.wanted:g})"


@dataclass(slots=True)
class Report:
    """The result of one benchmark."""

    benchmark: str
    settings: dict[str, Any] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    """What was measured in each round, for the JSON only."""
    machine: str = field(default_factory=lambda: machine_line())

    def table(self, title: str, *columns: str) -> Table:
        """Start a new table of this report."""
        self.tables.append(Table(title, columns))
        return self.tables[-1]

    def to_text(self) -> str:
        parts = [f"exsa_lab bench {self.benchmark}\n{self.machine}\n{_settings_line(self.settings)}"]
        parts += [table.to_text() for table in self.tables]
        if self.checks:
            parts.append("\n".join(str(check) for check in self.checks))
        parts += [*self.notes, *([self.warning] if self.warning else [])]
        return "\n\n".join(parts)

    @property
    def warning(self) -> str:
        """Which rounds of the same work differ most, where that is by more than it should be; else empty."""
        found = [
            (cell.spread, f"the rounds of {row[0]} ({table.title})")
            for table in self.tables
            for row in table.rows
            for cell in row
            if isinstance(cell, Middle)
        ]
        return if_busy(*max(found, default=(0.0, "")))

    def to_json(self) -> dict[str, Any]:
        data = {**asdict(self), "warning": self.warning}
        for table in data["tables"]:
            table["rows"] = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
        for check, found in zip(data["checks"], self.checks, strict=True):
            check["is_met"] = found.is_met
        return data


def save(reports: Sequence[Report], path: Path) -> None:
    """Write the reports as one JSON list."""
    path.write_text(json.dumps([report.to_json() for report in reports], indent=2) + "\n", encoding="utf-8")


def machine_line() -> str:
    """Return in one line what these numbers were measured on."""
    from exsa_lab.hardware import detect

    found = detect()
    versions = ", ".join(
        f"{name} {version}" for name in ("exsa-lab", "llama-cpp-python") if (version := _version(name))
    )
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    gpus = "".join(f", {gpu.name}" for gpu in found.gpus)
    return f"{found.cpu}, {found.usable_threads} cores{load}{gpus}; Python {platform.python_version()}, {versions}"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _settings_line(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())


def _show(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return rounded(cell)
    return str(cell)
