"""Copies of blocks cost time and change nothing; where they would, the model is refused."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.errors import ConfigError, InvalidModel, ModelError
from exsa_lab.models import cost_scaling
from exsa_lab.models.cost_scaling import ZERO_BYTES_ARE_ZERO, check_repeatable, scale_cost
from exsa_lab.models.gguf_facts import read_facts
from exsa_lab.models.gguf_reader import TENSOR_TYPES, Header, Tensor, read_header
from exsa_lab.models.resolve import resolve
from exsa_lab.models.vocabulary import check_vocabulary
from exsa_lab.runtime.model import LlamaModel
from tests.models.gguf_files import F32, LOADABLE, TOKENS, header, size_of, write

WIDTH, INNER, EXPERTS = 32, 64, 4
DENSE = {
    "attn_norm.weight": (WIDTH,),
    "ffn_norm.weight": (WIDTH,),
    "attn_q.weight": (WIDTH, WIDTH),
    "attn_k.weight": (WIDTH, WIDTH // 2),
    "attn_v.weight": (WIDTH, WIDTH // 2),
    "attn_output.weight": (WIDTH, WIDTH),
    "ffn_gate.weight": (WIDTH, INNER),
    "ffn_up.weight": (WIDTH, INNER),
    "ffn_down.weight": (INNER, WIDTH),
}
ATTENTION = {name: shape for name, shape in DENSE.items() if "attn" in name or name == "ffn_norm.weight"}
MIXTURE: dict[str, tuple[int, ...]] = {
    **ATTENTION,
    "ffn_gate_inp.weight": (WIDTH, EXPERTS),
    "ffn_gate_exps.weight": (WIDTH, INNER, EXPERTS),
    "ffn_up_exps.weight": (WIDTH, INNER, EXPERTS),
    "ffn_down_exps.weight": (INNER, WIDTH, EXPERTS),
}
SHARED = {
    "ffn_gate_inp_shexp.weight": (WIDTH,),
    "ffn_gate_shexp.weight": (WIDTH, INNER),
    "ffn_up_shexp.weight": (WIDTH, INNER),
    "ffn_down_shexp.weight": (INNER, WIDTH),
}
QKV_BIAS = {"attn_q.bias": (WIDTH,), "attn_k.bias": (WIDTH // 2,), "attn_v.bias": (WIDTH // 2,)}
Blocks = list[dict[str, tuple[int, ...]]]


def model(path: Path, architecture: str, blocks: Blocks, *, has_output: bool = False, **changes: Any) -> Path:
    """Write a model of random weights that llama.cpp computes with; ``changes`` are the architecture's own metadata."""
    metadata = {key.replace("llama.", f"{architecture}."): value for key, value in LOADABLE.items()}
    metadata["general.architecture"] = architecture
    metadata[f"{architecture}.block_count"] = len(blocks)
    metadata |= {f"{architecture}.{key.replace('__', '.')}": value for key, value in changes.items()}
    tensors = [("token_embd.weight", (WIDTH, len(TOKENS)), F32), ("output_norm.weight", (WIDTH,), F32)]
    if has_output:
        tensors.append(("output.weight", (WIDTH, len(TOKENS)), F32))
    for layer, shapes in enumerate(blocks):
        tensors += [(f"blk.{layer}.{name}", shape, F32) for name, shape in shapes.items()]
    random = np.random.default_rng(1)
    raw = header(metadata, tensors)
    for _, shape, kind in tensors:
        data = random.normal(scale=0.4, size=size_of(shape, kind) // 4).astype(np.float32).tobytes()
        raw += data + bytes(-len(data) % 32)
    path.write_bytes(raw)
    return path


def llama(path: Path) -> Path:
    return model(path, "llama", [DENSE] * 2)


def heads_by_layer(path: Path) -> Path:
    blocks: Blocks = [
        {
            "attn_norm.weight": (WIDTH,),
            "attn_qkv.weight": (WIDTH, 8 * (heads + 2 * kv_heads)),
            "attn_q_norm.weight": (8,),
            "attn_k_norm.weight": (8,),
            "attn_output.weight": (8 * heads, WIDTH),
            "ffn_norm.weight": (WIDTH,),
            "ffn_gate.weight": (WIDTH, inner),
            "ffn_up.weight": (WIDTH, inner),
            "ffn_down.weight": (inner, WIDTH),
        }
        for heads, kv_heads, inner in [(4, 2, 64), (2, 1, 32), (4, 4, 96)]
    ]
    lists = {"attention__head_count": [4, 2, 4], "attention__head_count_kv": [2, 1, 4]}
    sizes = {"attention__key_length": 8, "attention__value_length": 8}
    return model(path, "openelm", blocks, feed_forward_length=[64, 32, 96], **lists, **sizes)


def biases(path: Path) -> Path:
    every = {**QKV_BIAS, "attn_output.bias": (WIDTH,), "ffn_gate.bias": (INNER,), "ffn_up.bias": (INNER,)}
    return model(path, "llama", [{**DENSE, **every, "ffn_down.bias": (WIDTH,)}] * 2)


def sliding_window(path: Path) -> Path:
    """Every sixth block of seven attends to all, the others to four tokens: seven is no multiple of six."""
    norms = {"attn_q_norm": (8,), "attn_k_norm": (8,), "post_attention_norm": (WIDTH,), "post_ffw_norm": (WIDTH,)}
    block = {**DENSE, **{f"{name}.weight": shape for name, shape in norms.items()}}
    sizes = {"attention__key_length": 8, "attention__value_length": 8, "attention__sliding_window": 4}
    return model(path, "gemma3", [block] * 7, **sizes)


def experts(path: Path) -> Path:
    return model(path, "llama", [MIXTURE] * 2, expert_count=EXPERTS, expert_used_count=2)


def shared_experts(path: Path) -> Path:
    sizes = {"expert_feed_forward_length": INNER, "expert_shared_feed_forward_length": INNER}
    block = {**MIXTURE, **SHARED, **QKV_BIAS}
    return model(path, "qwen2moe", [block] * 2, has_output=True, expert_count=EXPERTS, expert_used_count=2, **sizes)


def logits(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Of a text of twelve tokens, all positions."""
    config = EngineConfig(n_ctx=64, n_seq_max=1, n_batch=32, n_ubatch=32)
    with closing(LlamaModel(path, config)) as opened, closing(opened.open_context(config, 1)) as context:
        batch = context.new_batch()
        batch.add([3, 4, 5, 6, 7, 3, 3, 5, 4, 7, 6, 3], 0, 0, 12)
        return np.array(context.decode(batch), copy=True)


@pytest.mark.parametrize("make", [llama, heads_by_layer, biases, sliding_window, experts, shared_experts])
def test_the_output_is_the_same_bit_for_bit(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    source = make(tmp_path / "m.gguf")
    scaled = scale_cost(source, 3, folder=tmp_path)
    before, after = read_facts(source), read_facts(scaled)
    assert after.layers == 3 * before.layers
    assert after.kv_heads == 3 * before.kv_heads
    assert after.layer_bytes == 3 * before.layer_bytes
    assert after.other_bytes == before.other_bytes
    expected = logits(source)
    assert np.ptp(expected) > 0.1  # a model that says nothing would prove nothing
    assert np.array_equal(logits(scaled), expected)


def test_only_the_last_matrices_of_copies_are_zero(tmp_path: Path) -> None:
    source = biases(tmp_path / "m.gguf")
    scaled = scale_cost(source, 2, folder=tmp_path)
    raw, zeros = scaled.read_bytes(), set()
    for tensor in read_header(scaled).tensors:
        if not any(raw[tensor.offset : tensor.offset + tensor.size_bytes]):
            zeros.add(tensor.name)
    ends = [f"{stem}.{kind}" for stem in ("attn_output", "ffn_down") for kind in ("weight", "bias")]
    assert zeros == {f"blk.{layer}.{end}" for layer in (2, 3) for end in ends}


def test_it_says_what_it_is_and_keeps_the_rest(tmp_path: Path) -> None:
    source = llama(tmp_path / "m.gguf")
    scaled = scale_cost(source, 10, folder=tmp_path)
    facts = read_facts(scaled)
    assert (facts.cost_factor, facts.cost_note, facts.name) == (
        10,
        "cost x10, same text",
        "tiny (cost x10, same text)",
    )
    assert (read_facts(source).cost_factor, read_facts(source).cost_note) == (1, "")
    config = EngineConfig(n_ctx=64, n_seq_max=1)
    with closing(LlamaModel(scaled, config)) as opened:
        assert opened.name == "m (cost x10, same text)"
    check_vocabulary(read_facts(source), facts)
    kept = {key: value for key, value in read_header(source).metadata.items() if key != "llama.block_count"}
    assert kept.items() - {("general.name", "tiny")} <= read_header(scaled).metadata.items()


def test_it_is_made_once_for_each_state_of_the_source(tmp_path: Path) -> None:
    source, seen = llama(tmp_path / "m.gguf"), list[float]()
    scaled = scale_cost(source, 2, folder=tmp_path, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    made = scaled.stat().st_mtime_ns
    assert scale_cost(source, 2, folder=tmp_path) == scaled
    assert scaled.stat().st_mtime_ns == made
    assert scale_cost(source, 3, folder=tmp_path) != scaled
    heads_by_layer(source)
    assert scale_cost(source, 2, folder=tmp_path) != scaled
    assert scale_cost(source, 1, folder=tmp_path) == source


def test_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    scaled = scale_cost(llama(tmp_path / "m.gguf"), 2, folder=tmp_path)
    whole = scaled.read_bytes()
    scaled.write_bytes(whole[:-200])
    assert scale_cost(tmp_path / "m.gguf", 2, folder=tmp_path).read_bytes() == whole


def test_what_fails_or_is_interrupted_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = llama(tmp_path / "m.gguf")

    def interrupt(_fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scale_cost(source, 2, folder=tmp_path, progress=interrupt)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=1_000))
    with pytest.raises(ModelError, match="0 MB free"):
        scale_cost(source, 2, folder=tmp_path)
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["m.gguf"]


@pytest.mark.parametrize("times", [0, -1, 65, 2.0, True, "3", None])
def test_impossible_factors(tmp_path: Path, times: Any) -> None:
    with pytest.raises(ConfigError, match="whole number from 1 to 64"):
        scale_cost(llama(tmp_path / "m.gguf"), times, folder=tmp_path)


def test_too_many_blocks_say_how_many_would_do(tmp_path: Path) -> None:
    source = model(tmp_path / "m.gguf", "llama", [DENSE] * 9)
    with pytest.raises(ConfigError, match=r"9 blocks times 57 are 513 .* at most 512\. Use at most 56"):
        scale_cost(source, 57, folder=tmp_path)


def test_a_scaled_model_is_not_scaled_again(tmp_path: Path) -> None:
    scaled = scale_cost(llama(tmp_path / "m.gguf"), 2, folder=tmp_path)
    with pytest.raises(ConfigError, match="scaled already"):
        scale_cost(scaled, 2, folder=tmp_path)


WITHOUT_OUTPUT = {name: shape for name, shape in DENSE.items() if name != "attn_output.weight"}
WITHOUT_DOWN = {name: shape for name, shape in DENSE.items() if name != "ffn_down.weight"}


@pytest.mark.parametrize(
    ("architecture", "blocks", "changes", "reason"),
    [
        ("mamba", [{"attn_norm.weight": (WIDTH,), "ssm_out.weight": (WIDTH, WIDTH)}], {}, "ssm_out.weight may change"),
        ("lfm2", [DENSE, {**WITHOUT_OUTPUT, "shortconv.out_proj.weight": (WIDTH, WIDTH)}], {}, "shortconv.out_proj"),
        ("llama", [DENSE, WITHOUT_OUTPUT], {}, "block 1 has no attn_output"),
        ("llama", [DENSE, WITHOUT_DOWN], {}, "block 1 has no ffn_down"),
        ("llama", [{**DENSE, "layer_output_scale.weight": (1,)}], {}, "layer_output_scale.weight may change"),
        ("gemma3n", [{**DENSE, "laurel_l.weight": (WIDTH, 4)}], {}, "laurel_l.weight may change"),
        ("starcoder", [{**DENSE, "post_ffw_norm.bias": (WIDTH,)}], {}, "post_ffw_norm.bias may change"),
        ("glm4moe", [DENSE, MIXTURE], {"leading_dense_block_count": 1}, "first blocks are of another kind"),
        ("glm4", [DENSE, DENSE], {"nextn_predict_layers": 1}, "last blocks predict further"),
        ("llama4", [DENSE, MIXTURE, DENSE], {"interleave_moe_layer_step": 2}, "every 2th of its blocks"),
        ("baichuan", [DENSE], {}, "how it tells positions apart"),
        ("minicpm", [DENSE], {}, "scales what each of them adds"),
        ("exaone4", [DENSE] * 32, {}, "with 64 blocks its attention is of another kind"),
        ("command-r", [DENSE] * 40, {}, "from 64 blocks on it needs other tensors"),
    ],
)
def test_what_would_change_the_text_is_refused(
    tmp_path: Path, architecture: str, blocks: Blocks, changes: dict[str, Any], reason: str
) -> None:
    source = model(tmp_path / "m.gguf", architecture, blocks, **changes)
    with pytest.raises(ModelError, match=rf"m\.gguf \({architecture}\) cannot be scaled: .*{reason}"):
        scale_cost(source, 2, folder=tmp_path)
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["m.gguf"]


def test_types_that_are_not_known_are_refused(tmp_path: Path) -> None:
    source = llama(tmp_path / "m.gguf")
    facts, found = read_facts(source), read_header(source)
    odd = tuple(Tensor(t.name, t.shape, "Q8_K", 0, 1) if "ffn_down" in t.name else t for t in found.tensors)
    changed = Header(found.version, found.metadata, found.arrays, odd, found.size_bytes)
    with pytest.raises(ModelError, match=r"blk\.0\.ffn_down\.weight is stored as Q8_K"):
        check_repeatable(facts, changed, 2)


def test_a_split_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = llama(tmp_path / "m.gguf")
    facts = read_facts(source)
    monkeypatch.setattr(cost_scaling, "read_facts", lambda path: SimpleNamespace(
        path=path, layers=2, cost_factor=1, split_count=3, architecture=facts.architecture
    ))  # fmt: skip
    with pytest.raises(ModelError, match="one of 3 files"):
        scale_cost(source, 2, folder=tmp_path)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel):
        scale_cost(write(tmp_path / "m.gguf", llama__block_count=None), 2, folder=tmp_path)


class _Traits(ctypes.Structure):
    """ggml_type_traits of ggml.h."""

    _fields_ = (
        ("type_name", ctypes.c_char_p),
        ("block", ctypes.c_int64),
        ("block_interleave", ctypes.c_int64),
        ("block_bytes", ctypes.c_size_t),
        ("is_quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.POINTER(ctypes.c_float), ctypes.c_int64)),
    )


@pytest.mark.parametrize(
    ("number", "name"), [(n, kind.name) for n, kind in TENSOR_TYPES.items() if ZERO_BYTES_ARE_ZERO.fullmatch(kind.name)]
)
def test_zero_bytes_are_zero_for_ggml(number: int, name: str) -> None:
    from llama_cpp.llama_cpp import _lib

    if name == "F32":
        return  # ggml has nothing to convert
    kind = TENSOR_TYPES[number]
    _lib.ggml_get_type_traits.restype = ctypes.POINTER(_Traits)
    traits = _lib.ggml_get_type_traits(number).contents
    assert (traits.block, traits.block_bytes) == (kind.block, kind.block_bytes)
    out = (ctypes.c_float * kind.block)(*[1.0] * kind.block)
    traits.to_float(bytes(kind.block_bytes), out, kind.block)
    assert list(out) == [0.0] * kind.block


@pytest.mark.real
def test_the_real_pair_writes_the_same_text() -> None:
    import exsa_lab as xl

    prompts = ("Why is the sky blue?", "Write a Python function that adds two numbers.")
    written: dict[int, list[list[int]]] = {}
    for factor in (1, 3):
        with xl.load(n_ctx=1024, cost_factor=factor) as engine:
            written[factor] = [
                engine.generate(prompt, max_tokens=32, draft_length=length).tokens
                for prompt in prompts
                for length in (0, 3)
            ]
            assert engine.draft is not None
            if factor > 1:
                assert "cost x3, same text" in repr(engine)
                assert any("cost x3, same text" in note for note in engine.notes)
                assert engine.target.path.parent.name == "converted"  # type: ignore[attr-defined]
    assert written[1] == written[3]
    assert scale_cost(resolve("smollm2-135m").path, 1) == resolve("smollm2-135m").path
