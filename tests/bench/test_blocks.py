"""Settings in blocks: who is measured when, on what, and what is told of it."""

from __future__ import annotations

import subprocess
import sys
from argparse import Namespace
from typing import Any

import pytest

from exsa_lab.bench import blocks, main
from exsa_lab.bench.blocks import LOOKUP_LENGTHS, MODEL_LENGTHS
from exsa_lab.bench.cli import _parser
from exsa_lab.bench.report import Report
from exsa_lab.bench.setting import Options
from exsa_lab.bench.step_times import step_times
from exsa_lab.bench.unseen import UNSEEN, many_chats
from exsa_lab.bench.workloads import WORKLOADS
from exsa_lab.config import EngineConfig
from exsa_lab.errors import ConfigError
from exsa_lab.testing import ScriptedModel, markov, scripted_engine

VOCABULARY = ["a", "b", "c", "d", "e"]


class Speeds:
    """Stands for an engine with one setting: plain makes 100 tokens per second, the others what is said here."""

    told: dict[str, float]
    asked: list[tuple[str, str, int]]

    def __init__(self, engine: object, **params: Any) -> None:
        self.name = {(): "auto", (("draft_length", 0),): "plain"}.get(
            tuple(params.items()), f"{params.get('drafter')} {params.get('draft_length')}"
        )

    def in_turn(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> float:
        (prompt,) = prompts
        self.asked.append((self.name, prompt, max_tokens))
        return self.told.get(self.name, 100.0)

    def together(self, prompts: tuple[str, ...], max_tokens: int, temperature: float, seed: int) -> float:
        self.asked.append((self.name, f"{len(set(prompts))} at once", max_tokens))
        return self.told.get(self.name, 100.0)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> type[Speeds]:
    Speeds.told, Speeds.asked = {}, []
    monkeypatch.setattr(blocks, "EngineSetting", Speeds)

    class Subject:
        name, n_threads = "model, cost x10, same text", 1

        def open_engine(self) -> Any:
            target = ScriptedModel(VOCABULARY, markov(5, 1))
            return scripted_engine(target, ScriptedModel(VOCABULARY, markov(5, 1)))

    monkeypatch.setattr(blocks, "subjects", lambda options, **room: [Subject()])
    return Speeds


def run(**given: Any) -> Report:
    defaults = {"workloads": None, "tokens": None, "prompts": None, "at_once": None, "no_grid": False}
    device, factor = given.pop("device", "gpu"), given.pop("cost_factor", 10)
    return blocks.run(Options(device=device, cost_factor=factor, given=Namespace(**{**defaults, **given})))


def test_blocks_warm_up_and_auto_comes_before_every_fixed_length(told: type[Speeds]) -> None:
    run(workloads="chat,code", prompts=2, tokens=128, at_once="4")
    names = list(dict.fromkeys(name for name, _, _ in told.asked))
    assert names[:2] == ["auto", "plain"]
    assert set(names[2:]) == {f"model {k}" for k in MODEL_LENGTHS} | {f"ngram {k}" for k in LOOKUP_LENGTHS}
    fixed = next(index for index, (name, _, _) in enumerate(told.asked) if name not in ("auto", "plain"))
    assert "auto" not in [name for name, _, _ in told.asked[fixed:]]
    chat = [(prompt, tokens) for name, prompt, tokens in told.asked[:3] if name == "auto"]
    assert chat == [(UNSEEN["chat"][-1], 40), (UNSEEN["chat"][0], 128), (UNSEEN["chat"][1], 128)]
    batches = [entry for entry in told.asked if entry[1] == "4 at once"]
    assert batches == [(name, "4 at once", tokens) for name in ("auto", "plain") for tokens in (40, 128, 128)]


def test_what_is_told(told: type[Speeds]) -> None:
    told.told |= {"auto": 180.0, "model 7": 200.0, "model 3": 150.0}
    report = run(prompts=4, at_once="4,16", workloads="chat")
    times, batches, single = report.tables
    assert [row[0] for row in times.rows] == ["ms", "x single"]
    assert times.columns == ("n", *map(str, range(1, 17)))
    assert [row[0] for row in batches.rows] == [4, 16]
    assert batches.rows[0][2] == pytest.approx(1.8)
    cells = dict(single.rows)
    assert cells["plain"] == "100 (100..100) tok/s"
    assert cells["model, k=7"] == "2.00 (2.00..2.00) *"
    assert cells["model, k=3"] == "1.50 (1.50..1.50)"
    assert cells["auto / best fixed length"] == "0.90"
    assert report.settings["target"] == "cost x10, same text"
    met = {check.name.split(", ")[-1]: check.is_met for check in report.checks}
    assert met == {
        "4 at once: auto / plain": True,
        "16 at once: auto / plain": True,
        "chat: auto / plain": True,
        "chat: auto / best fixed length": False,
    }
    assert "a step of" in report.notes[0]


def test_a_fixed_length_without_hope_is_given_up_and_says_so(told: type[Speeds]) -> None:
    told.told |= {"model 10": 60.0, "auto": 60.0}
    report = run(prompts=8, at_once="0", workloads="repeat")
    cells = dict(report.tables[-1].rows)
    assert cells["model, k=10"] == "0.60 (0.60..0.60), 3 prompts"
    assert cells["auto"] == "0.60 (0.60..0.60)"
    assert [name for name, _, _ in told.asked].count("model 10") == 1 + 3
    assert [name for name, _, _ in told.asked].count("auto") == 1 + 8


def test_the_promises_depend_on_device_and_factor(told: type[Speeds]) -> None:
    def wanted(**given: Any) -> dict[str, float]:
        report = run(prompts=1, at_once="4", no_grid=True, **given)
        return {check.name.removeprefix("model, cost x10, same text, "): check.wanted for check in report.checks}

    assert wanted(cost_factor=1)["repeat: auto / plain"] == 3.0
    assert wanted(cost_factor=10)["4 at once: auto / plain"] == 1.3
    assert set(wanted(cost_factor=10, device="cpu").values()) == {0.97}


def test_mistakes_get_a_sentence(told: type[Speeds]) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'chat'"):
        run(workloads="chatt")
    for wrong in ("four", "-1", "", "81", "4,,16", "1.5"):
        with pytest.raises(ConfigError, match=f"--at-once is '{wrong}'"):
            run(at_once=wrong)


def test_unseen_prompts_are_unseen() -> None:
    tuned = {prompt for prompts in WORKLOADS.values() for prompt in prompts}
    for kind, prompts in UNSEEN.items():
        assert len(prompts) == len(set(prompts)) > 8, kind
        assert not tuned & set(prompts)
    assert len(set(many_chats(64))) == 64


def test_step_times_are_of_the_sizes_asked_for() -> None:
    model = ScriptedModel(VOCABULARY, markov(5, 1))
    assert list(step_times(model, EngineConfig(n_ctx=1024), 1, [1, 3])) == [1, 3]


def test_factors_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    parse = _parser(["speculation"]).parse_args
    assert parse(["speculation", "--cost-factor", "1,4,10"]).cost_factor == (1, 4, 10)
    assert parse(["speculation"]).cost_factor is None
    for wrong in ("0", "x", "1,,2"):
        with pytest.raises(SystemExit):
            parse(["speculation", "--cost-factor", wrong])
    assert "--cost-factor" in capsys.readouterr().err


def test_each_factor_is_a_report_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def keep(options: Options) -> Report:
        asked.append(options.cost_factor)
        return Report("prefix", machine="here")

    monkeypatch.setattr("exsa_lab.bench.prefix.run", keep)
    assert main(["prefix", "--cost-factor", "1,4"]) == 0
    assert asked == [1, 4]
    assert capsys.readouterr().out.count("cost x4, same text") == 1


HEAVY = ("plotly", "pandas", "IPython", "ipywidgets", "anywidget", "traitlets", "ipykernel", "torch", "gguf", "tqdm")


def test_it_needs_nothing_of_the_notebook() -> None:
    """Run where only the engine's own needs are installed."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r})); from exsa_lab.bench import main; sys.exit(main())"
    )
    argv = ["speculation", "--device", "cpu", "--model", "no-such-model", "--cost-factor", "1,4"]
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=120, check=False)
    assert "there is no model 'no-such-model' in the catalog" in done.stderr
    assert done.returncode == 2


@pytest.mark.real
def test_on_the_real_pair_without_the_notebook() -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r})); from exsa_lab.bench import main; sys.exit(main())"
    )
    argv = ["speculation", "--quick", "--tokens", "4", "--at-once", "0", "--no-grid", "--cost-factor", "2"]
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    assert "smollm2-135m as-shipped, cost x2, same text: one request" in done.stdout
