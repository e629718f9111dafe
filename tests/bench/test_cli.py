from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from exsa_lab.bench import main
from exsa_lab.bench.cli import BENCHMARKS, GPU_SUITE, _parser
from exsa_lab.bench.report import Check, Report
from exsa_lab.bench.setting import Options, subjects
from exsa_lab.bench.workloads import chosen_workloads
from exsa_lab.errors import ConfigError, OutOfMemory
from tests.models.architectures import write_model


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """Replace the prefix benchmark by one that only keeps what it was asked."""
    asked: list[Options] = []

    def run(options: Options) -> Report:
        asked.append(options)
        return Report("prefix", checks=[Check("sooner", 9.0 if options.repeats != 3 else 1.0, 8.0)], machine="here")

    monkeypatch.setattr("exsa_lab.bench.prefix.run", run)
    return asked


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Options]]:
    """Replace every benchmark by one that only keeps what it was asked."""
    found: dict[str, list[Options]] = {}
    for name in BENCHMARKS:

        def run(options: Options, name: str = name) -> Report:
            found.setdefault(name, []).append(options)
            return Report(name, {"rounds": options.repeats}, machine="here")

        monkeypatch.setattr(f"exsa_lab.bench.{name}.run", run)
    return found


GIVEN = {
    "--model": ("smollm2-135m",),
    "--draft": ("auto", "none"),
    "--weights": ("as-shipped,Q8_0",),
    "--repeats": ("1", "3", "4", "50"),
    "--threads": ("0", "1"),
    "--device": ("cpu", "gpu"),
    "--cost-factor": ("10", "1,10"),
    "--json": ("out.json",),
    "--text": ("out.txt",),
    "--quick": (None,),
}
"""Every option of "all", with what it may be."""


def test_every_option_of_all_is_given() -> None:
    commands: Any = next(action.choices for action in _parser(["all"])._actions if action.dest == "name")
    options = {action.option_strings[-1] for action in commands["all"]._actions}
    assert options - {"--help"} == GIVEN.keys()


@pytest.mark.parametrize(("option", "value"), [(option, value) for option, values in GIVEN.items() for value in values])
def test_all_refuses_nothing_that_one_of_them_takes(
    option: str,
    value: str | None,
    asked: dict[str, list[Options]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("exsa_lab.bench.cli.subjects", lambda options: [])
    assert main(["all", option, *([value] if value else [])]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    every, times = list(GPU_SUITE if value == "gpu" else BENCHMARKS), 2 if value == "1,10" else 1
    reports = [(text.split()[0], text) for text in out.split("exsa_lab bench ")[1:]]
    assert [name for name, _ in reports] == [name for name in every for _ in range(times)]
    left_out = [name for name, text in reports if "Left out: smollm2-135m has no draft" in text]
    assert left_out == ["acceptance"] * (value == "none")
    assert {name: len(options) for name, options in asked.items()} == {n: times for n in every if n not in left_out}
    fewer = [name for name, text in reports if "rounds 3, rounds asked for " in text and "texts for 3 rounds" in text]
    assert fewer == ["rerun"] * (value in ("4", "50"))
    if option == "--repeats":
        given = int(value or 0)
        rounds = {name: options[0].repeats for name, options in asked.items()}
        assert rounds == {**dict.fromkeys(every, given), "rerun": min(3, given)}


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["all", "--weights", "as-shipped,Q9"], "unknown weight format 'Q9'"),
        (["all", "--model", "no-such-model"], "no-such-model"),
        (["all", "--draft", "no-such-model"], "no-such-model"),
        (["all", "--cost-factor", "1,1000"], "cost factor"),
        (["decode", "--cost-factor", "1,1000"], "cost factor"),
        (["all", "--threads", "-1"], "n_threads"),
        (["rerun", "--repeats", "4"], "texts for 3 rounds, not for 4"),
        (["acceptance", "--draft", "none"], "has no draft to measure"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is(
    argv: list[str], why: str, asked: dict[str, list[Options]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(write_model(tmp_path / "tiny.gguf", "llama"))
    usual = ["--model", model] * ("--model" not in argv) + ["--draft", "none"] * ("--draft" not in argv)
    assert main([*argv, *usual]) == 2
    assert why in capsys.readouterr().err
    assert asked == {}


@pytest.mark.parametrize("option", ["--json", "--text"])
@pytest.mark.parametrize("name", ["no-such-folder/out", "."])
def test_a_file_that_cannot_be_written_is_refused_at_once(
    option: str, name: str, asked: dict[str, list[Options]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["all", option, str(tmp_path / name)])
    assert "cannot be written" in capsys.readouterr().err
    assert asked == {}


def test_what_is_missing_leaves_out_only_what_needs_it(
    asked: dict[str, list[Options]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("llguidance", "uvicorn"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("exsa_lab.bench.cli.subjects", lambda options: [])
    assert main(["all"]) == 0
    assert BENCHMARKS.keys() - asked.keys() == {"structured", "serve"}
    assert capsys.readouterr().out.count("Left out: ") == 2


def test_one_that_fails_takes_nothing_from_the_others(
    asked: dict[str, list[Options]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(options: Options) -> Report:
        raise OutOfMemory("no room.")

    monkeypatch.setattr("exsa_lab.bench.cli.subjects", lambda options: [])
    monkeypatch.setattr("exsa_lab.bench.prefix.run", run)
    assert main(["all", "--json", str(tmp_path / "out.json")]) == 2
    assert capsys.readouterr().err == "prefix: no room.\n"
    assert asked.keys() == BENCHMARKS.keys() - {"prefix"}
    assert len(json.loads((tmp_path / "out.json").read_text())) == len(BENCHMARKS) - 1


def test_every_benchmark_has_a_module_that_runs() -> None:
    for name in BENCHMARKS:
        assert callable(importlib.import_module(f"exsa_lab.bench.{name}").run)


def test_options_reach_the_benchmark(fake: list[Options], capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["prefix", "--model", "x.gguf", "--weights", "Q8_0,F16", "--threads", "3", "--prefix-tokens", "70"]) == 0
    )
    (options,) = fake
    assert (options.model, options.weights, options.n_threads, options.repeats) == ("x.gguf", ("Q8_0", "F16"), 3, 5)
    assert options.given.prefix_tokens == 70
    assert "ok   sooner: 9 (promised >= 8)" in capsys.readouterr().out


def test_a_broken_promise_is_the_exit_status_but_not_of_a_quick_run(
    fake: list[Options], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["prefix", "--repeats", "3"]) == 1
    assert "MISS" in capsys.readouterr().out
    assert main(["prefix", "--repeats", "3", "--quick"]) == 0
    assert "MISS" not in capsys.readouterr().out


def test_json_is_written(fake: list[Options], tmp_path: Path) -> None:
    main(["prefix", "--json", str(tmp_path / "out.json")])
    assert json.loads((tmp_path / "out.json").read_text())[0]["benchmark"] == "prefix"


def test_our_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run(options: Options) -> Any:
        raise ConfigError("no such thing.", hint="Ask for another.")

    monkeypatch.setattr("exsa_lab.bench.prefix.run", run)
    assert main(["prefix"]) == 2
    assert capsys.readouterr().err == "no such thing. Ask for another.\n"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["nonsense"],
        ["prefix", "--repeats", "0"],
        ["batching", "--requests", "0"],
        ["speculation", "--temperatures", "0,-1"],
        ["speculation", "--temperatures", "warm"],
    ],
)
def test_bad_arguments_are_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_an_unknown_weight_format_or_workload_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'q8_0'"):
        subjects(Options(weights=("as-shipped", "q8_00")))
    with pytest.raises(ConfigError, match="Did you mean 'repeat'"):
        chosen_workloads(Options(given=argparse.Namespace(workloads="chat,repaet")))
