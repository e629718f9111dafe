"""The models table: the catalog first, then what else lies in the caches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exsa_lab.hardware import GPU, Hardware
from exsa_lab.models import hub
from exsa_lab.models.cache import cache_folder
from exsa_lab.models.catalog import PAIRS
from exsa_lab.models.hub import HubName, find_cached
from exsa_lab.models.listing import Fit, Where, fit_of, list_models
from exsa_lab.models.pins import PINS
from tests.models.gguf_files import write

GB = 10**9
MACHINE = Hardware("cpu", 8, 8, 8, None, 16 << 30, 16 << 30)
WITH_GPU = replace(MACHINE, gpus=(GPU("gpu", 8 << 30, 8 << 30, "CUDA"),), can_offload=True)


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def cached(caches: Path, repo: str, file: str, commit: str = "abc") -> Path:
    folder = caches / "hub" / f"models--{repo.replace('/', '--')}" / "snapshots" / commit
    folder.mkdir(parents=True, exist_ok=True)
    return write(folder / file)


def test_every_catalog_name_is_listed_once(caches: Path) -> None:
    rows = list_models(MACHINE)
    names = [row.name for row in rows]
    assert len(names) == len(set(names))
    assert set(PAIRS) <= set(names)
    by_name = {row.name: row for row in rows}
    assert by_name["smollm2-135m-draft"].where == Where.BUNDLED
    assert by_name["smollm2-135m"].draft == "smollm2-135m-draft"
    missing = by_name["qwen3-4b"]
    assert (missing.where, missing.path, missing.draft) == (Where.ELSEWHERE, None, "qwen3-0.6b")
    assert "2.5 GB" in missing.note


def test_downloads_and_conversions_are_listed(caches: Path) -> None:
    known = cached(caches, "Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf", PINS["qwen3-0.6b"].revision)
    other = cached(caches, "acme/x", "x-00001-of-00002.gguf")
    cached(caches, "acme/x", "x-00002-of-00002.gguf")
    cached(caches, "acme/x", "mmproj-x.gguf")
    made = write(cache_folder("converted") / "y.Q8_0.gguf")
    rows = {row.path: row for row in list_models(MACHINE) if row.path is not None}
    assert (rows[known].name, rows[known].where) == ("qwen3-0.6b", Where.CACHED)
    assert (rows[other].where, rows[other].name) == (Where.CACHED, "hf:acme/x/x-00001-of-00002.gguf")
    assert rows[other].size_bytes == 2 * other.stat().st_size
    assert rows[made].where == Where.CONVERTED
    assert find_cached(HubName("acme/x")) == find_cached(hub.parse(rows[other].name)) == other
    assert not any("mmproj" in path.name or "00002-of" in path.name for path in rows)


@pytest.mark.parametrize(
    ("gigabytes", "machine", "fit"),
    [
        (1, MACHINE, Fit.CPU),
        (12, MACHINE, Fit.CPU),
        (20, MACHINE, Fit.TOO_LARGE),
        (4, WITH_GPU, Fit.GPU),
        (12, WITH_GPU, Fit.PARTLY),
        (40, WITH_GPU, Fit.TOO_LARGE),
        (4, replace(WITH_GPU, can_offload=False), Fit.CPU),
        (20, replace(MACHINE, available_memory=0), Fit.CPU),
    ],
)
def test_fit(gigabytes: float, machine: Hardware, fit: Fit) -> None:
    assert fit_of(round(gigabytes * GB), machine) == fit
