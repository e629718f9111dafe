"""Advice follows from what was measured, and is measured once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from exsa_lab.models import advice
from exsa_lab.models.advice import Advice, FormatResult, advice_on, advise, known_advice, may_gain
from exsa_lab.models.conversion import converted_path
from exsa_lab.models.gguf_facts import GGUFFacts, read_facts
from exsa_lab.models.quality import Quality
from tests.models.gguf_files import write

GOOD, BAD = Quality(0.005, 0.95, 16.5, 16.6, 600), Quality(0.21, 0.74, 16.5, 20.1, 600)
SHIPPED = FormatResult("Q4_1", 100, 200, 300, None)


@pytest.mark.parametrize(
    ("results", "best"),
    [
        ([FormatResult("q8_0", 100, 350, 650, GOOD)], "q8_0"),
        ([FormatResult("iq4_nl", 180, 500, 900, BAD)], None),
        ([FormatResult("q8_0", 100, 350, 650, GOOD), FormatResult("iq4_nl", 180, 500, 900, BAD)], "q8_0"),
        ([FormatResult("q8_0", 101, 205, 305, GOOD)], None),
        ([FormatResult("q8_0", 60, 350, 650, GOOD)], None),  # One request alone would be slower.
        ([FormatResult("q8_0", 100, 350, 650, GOOD), FormatResult("f16", 120, 350, 650, GOOD)], "f16"),
        ([], None),
    ],
)
def test_the_best_format(results: list[FormatResult], best: str | None) -> None:
    assert advice._best([SHIPPED, *results]) == best


def test_it_reads_as_sentences() -> None:
    made = Advice("m", (SHIPPED, FormatResult("q8_0", 100, 350, 660, GOOD)), "q8_0")
    assert made.lines() == [
        "q8_0: one request x1.00, 16 requests x1.75, prompts x2.20; "
        "KL 0.005, same top token 95%, perplexity 16.50 -> 16.60 (600 tokens)"
    ]
    assert "--weights q8_0" in made.verdict
    assert replace(made, best=None).verdict == "Q4_1 is the best format measured here."


def test_repacked_formats_need_no_advice(tmp_path: Path) -> None:
    facts = read_facts(write(tmp_path / "m.gguf"))
    assert may_gain(facts)
    assert not may_gain(replace(facts, quantisation="Q4_K"))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Measure what the test says, of a file in a folder of its own; returns the file."""

    def measure(*results: FormatResult, scatter: float = 0.0) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        source = write(tmp_path / "m.gguf")
        speeds = {source: (100.0, 200.0, 300.0)}
        paths = {result.format: converted_path(source, result.format) for result in results}
        speeds |= {paths[r.format]: (r.single, r.batch, r.prompt) for r in results}
        monkeypatch.setattr(advice, "read_facts", lambda path: replace(read_facts(path), quantisation="Q4_1"))
        monkeypatch.setattr(advice, "convert", lambda model, to: paths[to])
        monkeypatch.setattr(advice, "_measure_speeds", lambda wanted: (speeds, scatter))
        monkeypatch.setattr(advice, "measure_quality", lambda a, b: GOOD)
        advise(source, list(paths))
        return source

    return measure


def _loaded(path: Path, quantisation: str) -> GGUFFacts:
    return replace(read_facts(write(path)), quantisation=quantisation, path=path)


def test_what_is_said_of_a_conversion_is_what_was_measured_for_its_original(measured: Callable[..., Path]) -> None:
    source = measured(FormatResult("q8_0", 100, 350, 650, GOOD), FormatResult("iq4_nl", 50, 250, 350, GOOD))
    as_it_is = replace(read_facts(source), quantisation="Q4_1")
    said, known = advice_on(as_it_is)
    assert "weights='q8_0'" in said
    assert known is not None
    for loaded, wanted in (("Q8_0", "Q8_0 is the best format measured here."), ("Q5_0", "Load with weights='q8_0'")):
        said, again = advice_on(_loaded(converted_path(source, loaded.lower()), loaded))
        assert said.startswith(wanted)
        assert again == known


def test_a_conversion_that_did_not_help_is_told_from_the_model_as_it_was(measured: Callable[..., Path]) -> None:
    source = measured(FormatResult("q8_0", 101, 205, 305, GOOD), FormatResult("iq4_nl", 50, 250, 350, GOOD))
    said, _ = advice_on(_loaded(converted_path(source, "q8_0"), "Q8_0"))
    assert "load it without weights" in said


def test_of_a_file_that_was_never_measured_nothing_is_claimed(tmp_path: Path) -> None:
    said, known = advice_on(read_facts(write(tmp_path / "m.gguf")))
    assert known is None
    assert said.startswith("Not measured here yet")


def test_what_a_busy_machine_shows_is_said_and_not_kept(measured: Callable[..., Path]) -> None:
    source = measured(
        FormatResult("q8_0", 100, 350, 650, GOOD), FormatResult("iq4_nl", 50, 250, 350, GOOD), scatter=0.4
    )
    assert known_advice(source) is None
    made = advise(source)
    assert "Machine busy: repeats differ by 40 %." in made.verdict


@pytest.mark.real
def test_advice_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advice, "_ROUNDS", 1)
    assert known_advice("smollm2-135m-draft", ["q4_1"]) is None
    seen: list[float] = []
    made = advise("smollm2-135m-draft", ["q4_1"], progress=seen.append)
    assert [result.format for result in made.results] == ["Q8_0", "q4_1"]
    assert all(result.single > 0 and result.batch > 0 and result.prompt > 0 for result in made.results)
    assert seen[-1] == 1.0
    assert known_advice("smollm2-135m-draft", ["q4_1"]) == made
    monkeypatch.setattr(advice, "_measure_speeds", None)  # Measuring again would fail.
    assert advise("smollm2-135m-draft", ["q4_1"]) == made
