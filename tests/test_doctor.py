"""The doctor: right about the machine and the engine, readable, escaped, and never ill itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import exsa_lab as xl
from exsa_lab import loading
from exsa_lab.cli import main
from exsa_lab.config import EngineConfig
from exsa_lab.costs.model import CostModel
from exsa_lab.doctor import machine, models, report, status
from exsa_lab.doctor.report import SECTIONS, DoctorReport
from exsa_lab.doctor.scorecard import Patient, Score, scores
from exsa_lab.doctor.scorecard import _gpu_offload as gpu_offload
from exsa_lab.doctor.speculation import _from_costs as from_costs
from exsa_lab.doctor.units import count, size
from exsa_lab.engine.engine import Engine
from exsa_lab.hardware import GPU, Hardware
from exsa_lab.runtime import library
from exsa_lab.testing import ScriptedModel, scripted_engine
from exsa_lab.widgets.panel import TEXT_WIDTH, Section, to_html, to_text

FEATURES = [
    "GPU offload",
    "draft model",
    "speculation",
    "continuous batching",
    "batch and context size",
    "KV reuse",
    "streaming",
    "async",
]


def model(name: str = "letters", *, can_roll_back: bool = True) -> ScriptedModel:
    return ScriptedModel("abc", lambda tokens: [0.2, 0.5, 0.3], name=name, partial_removal=can_roll_back)


@pytest.fixture
def engine() -> Iterator[Engine]:
    with scripted_engine(model(), model("small letters")) as engine:
        yield engine


def hardware(*gpus: GPU, can_offload: bool = False) -> Hardware:
    return Hardware("a CPU", 4, 8, 8, None, 16 << 30, 8 << 30, gpus, can_offload)


def section(found: DoctorReport, title: str) -> Section:
    return next(section for section in found.sections if section.title.startswith(title))


def score_of(engine: Engine | None, feature: str) -> Score:
    return next(score for score in scores(engine) if score.feature == feature)


# The whole report


def test_the_package_is_called_for_the_report() -> None:
    loading.unload()
    found = xl.doctor()
    assert isinstance(found, DoctorReport)
    assert [section.title for section in found.sections] == [section.title for section in report().sections]


def test_it_works_without_an_engine() -> None:
    loading.unload()
    text = report().text
    for title in ("Machine", "Build", "Models", "Plan", "Memory", "Speculation", "What is active"):
        assert re.search(f"^{title}", text, re.MULTILINE), title
    assert "Not available" not in text
    assert "SmolLM2-135M-Instruct" in text
    assert "nothing is loaded" in text


def test_it_is_about_the_kernels_engine_unless_told_otherwise(engine: Engine) -> None:
    with scripted_engine(model("another"), n_ctx=128) as other:
        loading.use(other)
        assert dict(section(report(), "Settings").rows)["n_ctx"] == "128"
        assert dict(section(report(engine), "Settings").rows)["n_ctx"] == "2,048"
    loading.unload()


def test_every_line_of_text_fits(engine: Engine) -> None:
    for line in report(engine).text.splitlines():
        if "CMAKE_ARGS" not in line and not line.startswith(
            "  llama_"
        ):  # commands are for copying, logs are as they are
            assert len(line) <= TEXT_WIDTH, line


def test_html_needs_no_script_and_no_style_sheet(engine: Engine) -> None:
    html = report(engine)._repr_html_()
    assert not re.search(r"<(script|style|link|iframe)|class=\"(?!mathjax)|https?://", html)


def test_a_section_that_fails_says_so_and_the_rest_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> library.Build:
        raise OSError("the library is gone")

    monkeypatch.setattr(machine, "build", fail)
    found = report()
    assert section(found, "Build").summary == "Not available: OSError: the library is gone"
    assert dict(section(found, "Machine").rows)["CPU"]
    assert len(found.sections) >= len(SECTIONS) - 2


def test_the_command_line_prints_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("exsa_lab doctor\n\nMachine\n")
    assert all(feature in printed for feature in FEATURES)


def test_names_are_escaped() -> None:
    with scripted_engine(model("<img src=x onerror=alert(1)>\x1b[2J")) as engine:
        found = report(engine)
        assert "<img" not in found.html
        assert "&lt;img" in found.html
        assert "\x1b" not in found.html + found.text + status(engine).html


def test_the_plan_gives_a_reason_for_each_setting() -> None:
    loading.unload()
    made = section(report(), "Plan")
    assert {"n_ctx", "n_threads", "n_gpu_layers", "flash_attention"} <= {row[0] for row in made.rows}
    assert all(reason for _, _, reason in made.rows)
    assert dict(section(report(), "Memory").rows)["at full context"]


# Scorecard


def test_every_feature_is_scored(engine: Engine) -> None:
    assert [score.feature for score in scores(engine)] == FEATURES
    assert [score.feature for score in scores(None)] == FEATURES
    assert all(score.now for score in [*scores(engine), *scores(None)])
    assert all(score.change for score in [*scores(engine), *scores(None)] if not score.is_active)


def test_the_score_of_the_draft(engine: Engine) -> None:
    assert score_of(engine, "draft model").now == "small letters"
    with scripted_engine(model()) as alone:
        assert not score_of(alone, "draft model").is_active


def test_the_score_of_speculation_counts_what_happened(engine: Engine) -> None:
    assert "nothing was generated yet" in score_of(engine, "speculation").now
    stats = engine.generate("abc", max_tokens=12, draft_length=2).stats
    assert stats.drafted_tokens
    now = score_of(engine, "speculation").now
    assert now.startswith(f"{stats.accepted_tokens} of {count(stats.drafted_tokens, 'draft token')} accepted")


def test_a_model_that_cannot_roll_back() -> None:
    with scripted_engine(model(can_roll_back=False), model()) as engine:
        assert not score_of(engine, "speculation").is_active
        assert not score_of(engine, "KV reuse").is_active
        assert any("cannot roll" in line for line in section(report(engine), "Notes").lines)


def test_the_score_of_batching(engine: Engine) -> None:
    generations = [engine.submit("abc", max_tokens=20) for _ in range(4)]
    assert all(generation.wait(10) for generation in generations)
    assert "up to 4 used at once" in score_of(engine, "continuous batching").now
    with scripted_engine(model(), n_seq_max=1) as single:
        assert not score_of(single, "continuous batching").is_active


def test_the_score_of_reuse_counts_tokens(engine: Engine) -> None:
    engine.generate("abcabcabc", max_tokens=2)
    reused = engine.generate("abcabcabc", max_tokens=2).stats.cached_prompt_tokens
    assert reused > 0
    assert f"{count(reused, 'prompt token')} reused" in score_of(engine, "KV reuse").now


@pytest.mark.parametrize(
    ("found", "layers", "is_active", "words"),
    [
        (hardware(), 0, False, "CPU only"),
        (hardware(GPU("NVIDIA H100", 80 << 30, 70 << 30, "NVIDIA")), 0, False, "see Build"),
        (hardware(can_offload=True), 0, False, "sees no GPU"),
        (hardware(GPU("NVIDIA H100", 80 << 30, 70 << 30, "CUDA"), can_offload=True), 0, False, "--n-gpu-layers -1"),
        (hardware(GPU("NVIDIA H100", 80 << 30, 70 << 30, "CUDA"), can_offload=True), -1, True, "all layers"),
        (hardware(GPU("NVIDIA H100", 80 << 30, 70 << 30, "CUDA"), can_offload=True), 1, True, "1 layer on"),
    ],
)
def test_the_score_of_offload(found: Hardware, layers: int, is_active: bool, words: str) -> None:
    score = gpu_offload(Patient(None, EngineConfig(n_gpu_layers=layers), found))
    assert score.is_active is is_active
    assert words in f"{score.now} {score.change}"


# Sections


@pytest.mark.parametrize(
    ("gpus", "backend"),
    [
        ((), None),
        ((GPU("Tesla T4", 1, 1, "NVIDIA"),), "CUDA"),
        ((GPU("AMD Radeon RX 7900", None, None, ""),), "ROCm"),
        ((GPU("Intel Arc A770", None, None, "Vulkan"),), "Vulkan"),
    ],
)
def test_the_likely_backend(gpus: tuple[GPU, ...], backend: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.sys, "platform", "linux")
    assert machine.likely_backend(hardware(*gpus)) == backend


def test_the_build_command_asks_for_the_tested_versions() -> None:
    command = machine.build_command("CUDA")
    assert "-DGGML_CUDA=on" in command
    assert "--no-binary llama-cpp-python" in command
    low, high = (".".join(map(str, version)) for version in library.TESTED)
    assert f'"llama-cpp-python>={low},<{high}"' in command


def test_speculation_tells_what_the_costs_say() -> None:
    costs = CostModel.from_measurements({1: 0.010, 2: 0.022, 3: 0.024, 4: 0.025, 17: 0.060}, {1: 0.001})
    made = from_costs(costs)
    by_length = {row[0]: row for row in made.rows}
    assert by_length["1"][2] == "cannot win"
    assert by_length["3"][1] == "2.8"
    assert made.summary.startswith("On this machine")
    assert "10.0 ms" in made.summary


def test_speculation_without_measurements(engine: Engine) -> None:
    assert section(report(engine), "Speculation").summary == "Nothing was measured for this engine."


def test_status_of_an_engine_at_work(engine: Engine) -> None:
    engine.generate("abc", max_tokens=5)
    rows = dict(status(engine).sections[0].rows)
    assert rows["target"] == "letters"
    assert rows["so far"].startswith("5 tokens")


def test_the_catalog_says_what_is_here() -> None:
    rows = {row[0]: row for row in models().sections[0].rows}
    assert rows["smollm2-135m-draft"][-1] == "comes with exsa_lab"
    assert len(rows) == len(models().sections[0].rows)
    assert rows["llama-3.3-70b"][-1] == "not here"


# Rendering


def test_text_wraps_the_last_column_under_itself() -> None:
    lines = to_text("", [Section("T", (("name", "word " * 60),))]).splitlines()
    assert lines[0] == "T"
    assert lines[1].startswith("  name  word")
    assert all(line.startswith("        word") for line in lines[2:])
    assert all(len(line) <= TEXT_WIDTH for line in lines)


def test_html_escapes_every_part() -> None:
    bad = "<b>&\x1b"
    html = to_html(bad, [Section(bad, ((bad, bad),), (bad, bad), bad, (bad,))])
    assert "<b>" not in html
    assert "\x1b" not in html
    assert html.count("&lt;b&gt;&amp;␛") == 8


def test_a_folded_section_opens_without_a_script() -> None:
    html = to_html("", [Section("log", lines=("line",), is_folded=True)])
    assert re.search(r"<details><summary[^>]*>log</summary>.*line.*</details>", html)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (90 << 20, "90.0 MiB"), (1 << 42, "4.0 TiB")]
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text
    assert size(None) == "unknown"
