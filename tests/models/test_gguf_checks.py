"""Headers that llama.cpp would end the process over are refused, one by one; a sound one passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from exsa_lab.errors import InvalidModel
from exsa_lab.models.gguf_checks import check_assertions, check_rotary
from exsa_lab.models.gguf_reader import read_header
from tests.models.gguf_files import F32, TENSORS, write


def check(path: Path, **changes: Any) -> None:
    check_assertions(path, read_header(write(path, **changes)))


def test_a_sound_file_passes(tmp_path: Path) -> None:
    check(tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"llama__rope__freq_base": float("nan")}, "not a number"),
        ({"llama__attention__layer_norm_rms_epsilon": -1.0}, "impossible"),
        ({"llama__rope__scaling__type": "sideways"}, "unknown rope scaling 'sideways'"),
        ({"llama__expert_count": 5000}, "impossible"),
        ({"llama__expert_count": 4}, "uses 0 of 4 experts"),
        ({"llama__expert_count": 2, "llama__expert_used_count": 3}, "uses 3 of 2 experts"),
        ({"tokenizer__ggml__model": "bert"}, "does not generate"),
        ({"tokenizer__ggml__tokens": [b"a", b"b", b"a"]}, "'a' twice"),
        ({"tokenizer__ggml__model": "llama"}, "no token for the byte"),
        (
            {
                "tokenizer__ggml__model": "rwkv",
                "tokenizer__ggml__add_bos_token": True,
                "tokenizer__ggml__bos_token_id": None,
            },
            "adds a BOS token",
        ),
    ],
)
def test_an_unsound_file_is_refused_with_what_is_wrong(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidModel, match=words) as caught:
        check(tmp_path / "m.gguf", **changes)
    assert "m.gguf" in str(caught.value)


def test_a_vector_is_stored_as_f32(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", [*TENSORS, ("blk.1.attn_norm.weight", (32,), 8)])
    with pytest.raises(InvalidModel, match=r"vector 'blk\.1\.attn_norm\.weight' as Q8_0"):
        check_assertions(path, read_header(path))
    path = write(tmp_path / "n.gguf", [*TENSORS, ("blk.1.attn_norm.weight", (32,), F32)])
    check_assertions(path, read_header(path))


def test_rotations_fit_the_heads() -> None:
    check_rotary(Path("m.gguf"), "llama", 32, 64)
    check_rotary(Path("m.gguf"), "qwen2", 64, 64)
    for architecture, rotary in (("llama", 65), ("qwen2", 32)):
        with pytest.raises(InvalidModel, match="rotates"):
            check_rotary(Path("m.gguf"), architecture, rotary, 64)


@pytest.mark.parametrize(
    ("architecture", "has", "needed"),
    [
        ("qwen35", ["ssm_a"], ["attn_qkv.weight", "attn_gate.weight"]),
        ("nemotron_h", ["ssm_conv1d.weight"], ["ssm_conv1d.bias"]),
        ("granitehybrid", ["ssm_conv1d.weight"], ["ssm_conv1d.bias"]),
    ],
)
def test_tensors_that_are_used_unasked_must_be_there(
    architecture: str, has: list[str], needed: list[str], tmp_path: Path
) -> None:
    whole = [*TENSORS, *((f"blk.1.{name}", (32,), F32) for name in has + needed)]
    path = tmp_path / "m.gguf"
    check_assertions(path, read_header(write(path, whole, general__architecture=architecture)))
    for name in needed:
        lacking = [tensor for tensor in whole if tensor[0] != f"blk.1.{name}"]
        with pytest.raises(InvalidModel, match=f"has no tensor 'blk.1.{name}'"):
            check_assertions(path, read_header(write(path, lacking, general__architecture=architecture)))
