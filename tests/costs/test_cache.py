"""The disk cache of cost curves: it helps where it can and never breaks a load."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from exsa_lab.costs import cache
from exsa_lab.costs.cache import cache_path, default_folder, load_costs, save_costs
from exsa_lab.costs.model import CostModel

FACTS = {"target": "sha256:aa", "draft": "sha256:bb", "machine": "x86_64 2 cores", "threads": 2, "flash": True}
COSTS = CostModel.from_measurements({1: 0.007, 4: 0.019, 16: 0.04}, {1: 0.001}, seconds_per_sequence=0.0001)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    assert save_costs(tmp_path, FACTS, COSTS) == ""
    cached = load_costs(tmp_path, FACTS)
    assert cached.note == ""
    assert cached.costs is not None
    assert cached.costs.target.points == COSTS.target.points
    assert cached.costs.draft is not None
    assert cached.costs.draft.points == {1: 0.001}
    assert cached.costs.seconds_per_sequence == 0.0001


def test_curves_are_saved_as_measured_not_as_corrected(tmp_path: Path) -> None:
    costs = CostModel.from_measurements({1: 0.007, 4: 0.019})
    for _ in range(50):
        costs.observe("target", 1, 1, 0.02)
        costs.observe("target", 4, 1, 0.02)
    save_costs(tmp_path, FACTS, costs)
    loaded = load_costs(tmp_path, FACTS).costs
    assert loaded is not None
    assert loaded.target.points == {1: 0.007, 4: 0.019}
    assert loaded.draft is None


def test_the_price_of_a_changed_shape_is_kept_where_there_is_one(tmp_path: Path) -> None:
    costs = CostModel.from_measurements({1: 0.001, 8: 0.002}, {1: 0.0003}, switch_seconds={"target": 0.004})
    save_costs(tmp_path, FACTS, costs)
    loaded = load_costs(tmp_path, FACTS).costs
    assert loaded is not None
    assert loaded.switch_seconds == {"target": 0.004, "draft": 0.0}
    assert loaded.has_costly_shapes
    save_costs(tmp_path, FACTS, COSTS)
    assert "switch" not in cache_path(tmp_path, FACTS).read_text()


def test_nothing_saved_is_no_failure(tmp_path: Path) -> None:
    cached = load_costs(tmp_path / "missing", FACTS)
    assert cached.costs is None
    assert cached.note == ""


@pytest.mark.parametrize("changed", [{"target": "sha256:cc"}, {"threads": 4}, {"flash": False}, {"new": 1}])
def test_other_facts_are_another_file(tmp_path: Path, changed: dict[str, str | int]) -> None:
    save_costs(tmp_path, FACTS, COSTS)
    assert load_costs(tmp_path, {**FACTS, **changed}).costs is None


def test_the_folder_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert save_costs(folder, FACTS, COSTS) == ""
    assert load_costs(folder, FACTS).costs is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "[]",
        "null",
        "{}",
        '{"format": 2}',
        b"\xff\xfe\x00",
        "[" * 100_000,
    ],
)
def test_a_damaged_file_is_told_and_not_used(tmp_path: Path, text: str | bytes) -> None:
    path = cache_path(tmp_path, FACTS)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    cached = load_costs(tmp_path, FACTS)
    assert cached.costs is None
    assert "damaged" in cached.note


@pytest.mark.parametrize(
    "change",
    [
        {"target": {}},
        {"target": {"1": -0.1}},
        {"target": {"1": float("nan")}},
        {"target": {"0": 0.1}},
        {"target": {"one": 0.1}},
        {"target": None},
        {"draft": {"1": 0}},
        {"seconds_per_sequence": -1},
        {"seconds_per_sequence": "x"},
        {"switch_seconds": {"target": -1}},
        {"switch_seconds": []},
        {"seconds_per_sequence": float("nan")},
        {"scatter": -1},
        {"scatter": float("inf")},
        {"scatter": None},
    ],
)
def test_impossible_numbers_are_told_and_not_used(tmp_path: Path, change: dict[str, object]) -> None:
    save_costs(tmp_path, FACTS, COSTS)
    path = cache_path(tmp_path, FACTS)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    cached = load_costs(tmp_path, FACTS)
    assert cached.costs is None
    assert "damaged" in cached.note


def test_another_machines_file_is_told_and_not_used(tmp_path: Path) -> None:
    other = {**FACTS, "machine": "aarch64 8 cores"}
    save_costs(tmp_path, other, COSTS)
    cache_path(tmp_path, other).rename(cache_path(tmp_path, FACTS))
    cached = load_costs(tmp_path, FACTS)
    assert cached.costs is None
    assert "another machine" in cached.note


def test_a_later_format_is_told_and_not_used(tmp_path: Path) -> None:
    save_costs(tmp_path, FACTS, COSTS)
    path = cache_path(tmp_path, FACTS)
    path.write_text(path.read_text().replace(f'"format": {cache._FORMAT}', '"format": 99'))
    cached = load_costs(tmp_path, FACTS)
    assert cached.costs is None
    assert "format 99" in cached.note


def test_a_folder_where_the_file_should_be_is_told(tmp_path: Path) -> None:
    cache_path(tmp_path, FACTS).mkdir()
    assert "cannot be read" in load_costs(tmp_path, FACTS).note
    assert "could not be kept" in save_costs(tmp_path, FACTS, COSTS)


def test_no_place_to_write_is_told(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert "could not be kept" in save_costs(blocked / "folder", FACTS, COSTS)
    assert "cannot be read" in load_costs(blocked / "folder", FACTS).note


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert "could not be kept" in save_costs(tmp_path, FACTS, COSTS)
    finally:
        tmp_path.chmod(0o700)


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_costs(tmp_path, FACTS, COSTS)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "replace", no_space)
    assert "No space left" in save_costs(tmp_path, FACTS, CostModel.from_measurements({1: 1.0}))
    loaded = load_costs(tmp_path, FACTS).costs
    assert loaded is not None
    assert loaded.target.points == COSTS.target.points
    assert list(tmp_path.iterdir()) == [cache_path(tmp_path, FACTS)]


def test_the_default_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "exsa_lab"
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_folder() == tmp_path / "local" / "exsa_lab" / "cache"
