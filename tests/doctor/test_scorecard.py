"""What is active and what to change, feature by feature."""

from __future__ import annotations

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.doctor import report
from exsa_lab.doctor.scorecard import Patient, Score, scores
from exsa_lab.doctor.scorecard import _gpu_offload as gpu_offload
from exsa_lab.doctor.units import count
from exsa_lab.engine.engine import Engine
from exsa_lab.hardware import GPU, Hardware
from exsa_lab.testing import scripted_engine
from tests.doctor.parts import FEATURES, hardware, model, section
from tests.gate import held


def score_of(engine: Engine | None, feature: str) -> Score:
    return next(score for score in scores(engine) if score.feature == feature)


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
    with scripted_engine(model(max_rollback=0), model()) as engine:
        assert not score_of(engine, "speculation").is_active
        assert any("cannot roll" in line for line in section(report(engine), "Notes").lines)


def test_the_score_of_batching(engine: Engine) -> None:
    with held(engine):
        generations = [engine.submit("abc", max_tokens=20) for _ in range(4)]
    assert all(generation.wait(60) for generation in generations)
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
