"""Every benchmark once on the real pair, as short as it can be: that it runs and says what it should, not how fast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exsa_lab.bench import main
from exsa_lab.bench.baselines.xllama import is_installed

pytestmark = pytest.mark.real


def run(tmp_path: Path, *argv: str) -> dict[str, Any]:
    assert main([*argv, "--quick", "--json", str(tmp_path / "out.json")]) == 0
    (report,) = json.loads((tmp_path / "out.json").read_text())
    assert report["benchmark"] == argv[0]
    return dict(report)


def test_decode(tmp_path: Path) -> None:
    (table,) = run(tmp_path, "decode", "--tokens", "6")["tables"]
    names = [row["contender"] for row in table["rows"]]
    assert names[:3] == ["bare llama_decode loop", "exsa_lab plain", "Llama"]
    assert all(row["tok/s"]["median"] > 0 for row in table["rows"])


def test_batching(tmp_path: Path) -> None:
    report = run(tmp_path, "batching", "--tokens", "3", "--requests", "1,2", "--weights", "as-shipped")
    (table,) = report["tables"]
    assert [row["contender"] for row in table["rows"][:3]] == [
        "Llama, 2 in turn",
        "exsa_lab, 1 at once",
        "exsa_lab, 2 at once",
    ]
    assert all(row["tok/s"]["median"] > 0 for row in table["rows"])
    assert "prompt tokens" in report["settings"]


def test_prefix(tmp_path: Path) -> None:
    (table,) = run(tmp_path, "prefix", "--prefix-tokens", "90")["tables"]
    first, second = table["rows"]
    assert first["tokens from the cache"] == 0
    assert second["tokens from the cache"] >= 85


def test_latency(tmp_path: Path) -> None:
    arrival, load = run(tmp_path, "latency", "--prompt-tokens", "80")["tables"]
    assert [row["ms"]["median"] > 0 for row in arrival["rows"]] == [True] * 4
    assert [row["requests"] for row in load["rows"]] == [1, 2]


def test_speculation(tmp_path: Path) -> None:
    report = run(
        tmp_path, "speculation", "--tokens", "8", "--workloads", "repeat", "--weights", "as-shipped", "--no-peers"
    )
    titles = [table["title"].partition(", ")[2] for table in report["tables"]]
    assert titles == [
        "one request, other processes take the cores halfway, in turns of 4 steps",
        "one request, temperature 0",
        "one request, temperature 0, in turns of 4 steps",
        "8 requests at once, temperature 0",
        "8 requests at once, temperature 0, in turns of 4 steps",
    ]
    for place in (0, 2, 4):
        (in_turn,) = report["tables"][place]["rows"]
        assert 0 < in_turn["lowest"] <= in_turn["auto / plain"] <= in_turn["highest"]
    assert {"plain", "auto", "model, k=2", "ngram, k=8"} == {row["setting"] for row in report["tables"][1]["rows"]}


def test_lookup(tmp_path: Path) -> None:
    argv = ("lookup", "--tokens", "24", "--workloads", "repeat", "--weights", "as-shipped")
    costs, (row,), (at_once,) = (table["rows"] for table in run(tmp_path, *argv)["tables"])
    assert all(0 < cost["lowest"] <= cost["highest"] for cost in costs)
    assert row["kind of text"] == "repeat"
    assert row["perfect / plain"] >= row["best fixed / plain"] > 0
    assert row["perfect / plain"] >= row["auto / plain"] > 0
    assert at_once["auto / plain"] > 0


def test_equivalence(tmp_path: Path) -> None:
    (table,) = run(tmp_path, "equivalence", "--prompts", "2", "--tokens", "6")["tables"]
    assert all(row["equal"] + row["diverged"] == 2 for row in table["rows"])
    assert {"auto", "plain, all at once"} < {row["setting"].partition(" (")[0] for row in table["rows"]}


def test_structured(tmp_path: Path) -> None:
    report = run(tmp_path, "structured", "--tokens", "8", "--weights", "as-shipped")
    (table,) = report["tables"]
    names = {(row["requests at once"], row["contender"].split(",")[0].split(" (")[0]) for row in table["rows"]}
    assert {("1", "plain"), ("1", "auto"), ("16", "plain"), ("16", "auto")} < names
    server = {("1", "llama-server"), ("16", "llama-server")}
    assert names & server == (server if is_installed() else set())
    assert ("1", "llama-cpp-python") in names
    assert all(row["tok/s"]["median"] > 0 for row in table["rows"])
