"""What recurrent layers keep, read from metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.recurrent import attention_heads, recurrent_facts
from tests.models.architectures import CONV, EMBEDDING, GROUPS, HEAD, HEADS, STATE, write_model
from tests.models.recurrent_architectures import BUILDERS

INNER = 2 * EMBEDDING


@pytest.mark.parametrize(
    ("architecture", "layers", "state", "keeps_snapshots"),
    [
        ("mamba", (True, True), (CONV - 1) * INNER + STATE * INNER, False),
        ("lfm2", (True, False, True, False), 2 * EMBEDDING, True),
        ("qwen35", (True, True, True, False), (CONV - 1) * 8 * STATE + 4 * STATE * STATE, True),
        ("qwen35_nextn", (True, True, True, False, False), (CONV - 1) * 8 * STATE + 4 * STATE * STATE, True),
        ("granitehybrid", (True, False, True), (CONV - 1) * (INNER + 2 * GROUPS * STATE) + STATE * INNER, False),
        ("nemotron_h", (True, False, False, True), (CONV - 1) * (INNER + 2 * GROUPS * STATE) + STATE * INNER, True),
        ("rwkv7", (True, True), 2 * EMBEDDING + EMBEDDING * 64, False),
    ],
)
def test_of_each_architecture(
    architecture: str, layers: tuple[bool, ...], state: int, keeps_snapshots: bool, tmp_path: Path
) -> None:
    facts = read_facts(write_model(tmp_path / "tiny.gguf", architecture))
    assert facts.recurrent is not None
    assert facts.recurrent.layers == layers
    assert facts.recurrent.state == state
    assert facts.recurrent.bytes_per_sequence(8) == 4 * state * sum(layers) * (9 if keeps_snapshots else 1)
    assert facts.recurrent.bytes_per_sequence(0, layers=1) == 4 * state * layers[-1]
    assert all(not heads for heads, recurrent in zip(facts.kv_heads, layers, strict=True) if recurrent)


DELTA_NET = {"ssm.inner_size": 4096, "ssm.state_size": 128, "ssm.group_count": 16, "ssm.conv_kernel": 4}
MAMBA2 = {"ssm.inner_size": 5120, "ssm.state_size": 128, "ssm.group_count": 1, "ssm.conv_kernel": 4}


@pytest.mark.parametrize(
    ("architecture", "numbers", "embedding", "snapshots", "wide", "many"),
    [
        ("kimi-linear", {"kda.head_dim": 128, "attention.head_count": 32, "ssm.conv_kernel": 4}, 2304, 0, 105.5, 94.3),
        ("mamba2", MAMBA2, 2560, 0, 87.6, 61.7),
        ("qwen35", DELTA_NET, 2560, 8, 216.5, 412.6),
        ("rwkv7", {"wkv.head_size": 64}, 2048, 0, 76.3, 31.0),
        ("minimax-01", {"attention.head_count": 64, "attention.key_length": 128}, 6144, 0, 312.3, 178.5),
    ],
)
def test_layers_as_wide_as_those_of_real_models_compute_within_ten_percent(
    architecture: str, numbers: dict[str, int], embedding: int, snapshots: int, wide: float, many: float
) -> None:
    """MiB of the buffer that llama.cpp reported, without the mask of attention."""
    facts = recurrent_facts(architecture, lambda key: numbers.get(key, 0), embedding, [0, 2], [0, 0])
    assert facts is not None
    for slots, n_ubatch, measured in ((8, 512, wide), (20, 63, many)):
        assert 4 * facts.numbers_computed(slots, snapshots, n_ubatch) / (1 << 20) == pytest.approx(measured, rel=0.1)


def test_the_file_may_mark_its_recurrent_layers(tmp_path: Path) -> None:
    path = write_model(tmp_path / "tiny.gguf", "qwen35", build=BUILDERS["qwen35"])
    facts = read_facts(path)
    assert facts.recurrent is not None
    assert facts.recurrent.layers == (True,) * 4
    assert not any(facts.kv_heads)


def test_linear_attention_keeps_keys_by_values_of_each_head(tmp_path: Path) -> None:
    facts = read_facts(write_model(tmp_path / "tiny.gguf", "minimax-01", build=BUILDERS["minimax-01"]))
    assert facts.recurrent is not None
    assert facts.recurrent.layers == (True,) * 7 + (False,)
    assert facts.recurrent.state == HEADS * HEAD * HEAD
    assert [bool(heads) for heads in facts.kv_heads] == [False] * 7 + [True]


def test_attention_alone_has_no_states(tmp_path: Path) -> None:
    for architecture in ("llama", "gemma3", "deepseek2"):
        assert read_facts(write_model(tmp_path / "tiny.gguf", architecture)).recurrent is None


def test_layers_that_are_both_keep_their_cache() -> None:
    numbers = {"ssm.inner_size": 64, "ssm.state_size": 8, "ssm.conv_kernel": 4, "ssm.group_count": 1}
    facts = recurrent_facts("falcon-h1", lambda key: numbers.get(key, 0), 32, [2, 2], [64, 64])
    assert facts is not None
    assert facts.layers == (True, True)
    assert attention_heads([2, 2], "falcon-h1", facts) == (2, 2)


def test_latent_attention_keeps_one_vector_a_token(tmp_path: Path) -> None:
    facts = read_facts(write_model(tmp_path / "tiny.gguf", "deepseek2"))
    assert facts.kv_bytes_per_token() == 2 * (32 + 8) * 2
    assert facts.value_length == 0
    assert read_facts(write_model(tmp_path / "other.gguf", "llama")).value_length == HEAD
