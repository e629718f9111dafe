"""Writes small models of many architectures with random weights: what llama.cpp loads and computes in milliseconds.

Tokens are bytes (a BPE vocabulary without merges) and three control tokens, so nothing has to be downloaded. Names and
shapes are those of llama.cpp's `src/models` (llama-cpp-python 0.3.36).

Example: ``write_model(tmp_path / "tiny.gguf", "lfm2")``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.models.gguf_files import F32, header

Array = NDArray[np.float32]
Parts = tuple[dict[str, Any], dict[str, Array]]
"""Metadata (the architecture's own keys without its name) and tensors of one model."""

EMBEDDING, HEADS, KV_HEADS, HEAD, FEED_FORWARD, CONTEXT = 64, 4, 2, 16, 96, 4096
STATE, CONV, GROUPS = 16, 4, 2
"""Recurrent layers: states per channel, width of the convolution, groups."""
SAID = b"abcdefghijkl"
"""What the models say: so few tokens that pairs of them come again, and never an end."""
CONTROL = ("<|end|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_tokens() -> list[str]:
    """The 256 bytes in GPT-2's printable alphabet, in order of the bytes."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


TOKENS = [*byte_tokens(), *CONTROL]


class Weights:
    """Random weights, each tensor from its own seed, so that a model with ``noise`` is like the one without."""

    def __init__(self, seed: int, noise: float, context: int) -> None:
        self.tensors: dict[str, Array] = {}
        self.context = context
        self._seed, self._noise = seed, noise

    def matrix(self, name: str, *shape: int, scale: float = 0.25) -> None:
        key = zlib.crc32(f"{self._seed} {name}".encode())
        values = np.random.default_rng(key).standard_normal(shape)
        if self._noise:
            values += self._noise * np.random.default_rng(key + 1).standard_normal(shape)
        self.tensors[name] = (values * scale).astype(np.float32)

    def ones(self, name: str, *shape: int) -> None:
        self.tensors[name] = np.ones(shape, np.float32)

    def constant(self, name: str, values: Any) -> None:
        self.tensors[name] = np.asarray(values, np.float32)

    # Blocks that several architectures share

    def ends(self, *, norm: str = "output_norm.weight") -> None:
        self.matrix("token_embd.weight", len(TOKENS), EMBEDDING)
        self.matrix("output.weight", len(TOKENS), EMBEDDING)
        said = np.zeros((len(TOKENS), 1), np.float32)
        said[list(SAID)] = 1
        self.tensors["output.weight"] *= said
        self.ones(norm, EMBEDDING)

    def attention(self, block: str, *, norms: bool = False, bias: bool = False, gated: bool = False) -> None:
        self.matrix(block + "attn_q.weight", HEADS * HEAD * (1 + gated), EMBEDDING)
        self.matrix(block + "attn_k.weight", KV_HEADS * HEAD, EMBEDDING)
        self.matrix(block + "attn_v.weight", KV_HEADS * HEAD, EMBEDDING)
        self.matrix(block + "attn_output.weight", EMBEDDING, HEADS * HEAD)
        if norms:
            self.ones(block + "attn_q_norm.weight", HEAD)
            self.ones(block + "attn_k_norm.weight", HEAD)
        if bias:
            for name, heads in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
                self.matrix(block + f"attn_{name}.bias", heads * HEAD)

    def feed_forward(self, block: str, *, norm: str = "ffn_norm", gate: bool = True) -> None:
        if norm:
            self.ones(block + norm + ".weight", EMBEDDING)
        if gate:
            self.matrix(block + "ffn_gate.weight", FEED_FORWARD, EMBEDDING)
        self.matrix(block + "ffn_up.weight", FEED_FORWARD, EMBEDDING)
        self.matrix(block + "ffn_down.weight", EMBEDDING, FEED_FORWARD)

    def experts(self, block: str, count: int, width: int, *, shared: bool = False) -> None:
        self.ones(block + "ffn_norm.weight", EMBEDDING)
        self.matrix(block + "ffn_gate_inp.weight", count, EMBEDDING)
        self.matrix(block + "ffn_gate_exps.weight", count, width, EMBEDDING)
        self.matrix(block + "ffn_up_exps.weight", count, width, EMBEDDING)
        self.matrix(block + "ffn_down_exps.weight", count, EMBEDDING, width)
        if shared:
            self.matrix(block + "ffn_gate_shexp.weight", width, EMBEDDING)
            self.matrix(block + "ffn_up_shexp.weight", width, EMBEDDING)
            self.matrix(block + "ffn_down_shexp.weight", EMBEDDING, width)

    def mamba2(self, block: str) -> None:
        inner, heads = 2 * EMBEDDING, 8
        channels = inner + 2 * GROUPS * STATE
        self.matrix(block + "ssm_in.weight", inner + channels + heads, EMBEDDING)
        self.matrix(block + "ssm_conv1d.weight", channels, CONV)
        self.matrix(block + "ssm_conv1d.bias", channels)
        self.matrix(block + "ssm_dt.bias", heads)
        self.constant(block + "ssm_a", -np.linspace(0.2, 1.0, heads).reshape(heads, 1))
        self.ones(block + "ssm_d", heads, 1)
        self.ones(block + "ssm_norm.weight", GROUPS, inner // GROUPS)
        self.matrix(block + "ssm_out.weight", EMBEDDING, inner)


MAMBA2: dict[str, Any] = {
    "ssm.conv_kernel": CONV,
    "ssm.inner_size": 2 * EMBEDDING,
    "ssm.state_size": STATE,
    "ssm.time_step_rank": 8,
    "ssm.group_count": GROUPS,
}


def _decoder(weights: Weights, layers: int = 2, **attention: bool) -> None:
    weights.ends()
    for layer in range(layers):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.attention(block, **attention)
        weights.feed_forward(block)


def llama(weights: Weights) -> dict[str, Any]:
    _decoder(weights)
    return {"block_count": 2}


def qwen2(weights: Weights) -> dict[str, Any]:
    _decoder(weights, bias=True)
    return {"block_count": 2}


def qwen3(weights: Weights) -> dict[str, Any]:
    _decoder(weights, norms=True)
    return {"block_count": 2}


def gemma3(weights: Weights) -> dict[str, Any]:
    """Sliding-window attention in five of six layers."""
    _decoder(weights, 6, norms=True)
    for layer in range(6):
        weights.ones(f"blk.{layer}.post_attention_norm.weight", EMBEDDING)
        weights.ones(f"blk.{layer}.post_ffw_norm.weight", EMBEDDING)
    return {"block_count": 6, "attention.sliding_window": 32}


def gemma4(weights: Weights) -> dict[str, Any]:
    """Short heads in the layers with a window; the last three layers use the caches of those before."""
    has_window, own, inputs = [True, True, False] * 2, 3, 8
    weights.ends()
    weights.matrix("per_layer_token_embd.weight", len(TOKENS), inputs * len(has_window))
    weights.matrix("per_layer_model_proj.weight", inputs * len(has_window), EMBEDDING)
    weights.ones("per_layer_proj_norm.weight", inputs)
    weights.ones("rope_freqs.weight", HEAD // 2)
    for layer, is_short in enumerate(has_window):
        block, head = f"blk.{layer}.", HEAD // 2 if is_short else HEAD
        for name in ("attn_norm", "post_attention_norm", "post_ffw_norm", "post_norm"):
            weights.ones(f"{block}{name}.weight", EMBEDDING)
        weights.matrix(block + "attn_q.weight", HEADS * head, EMBEDDING)
        weights.ones(block + "attn_q_norm.weight", head)
        if layer < own:  # keys are values, too
            weights.matrix(block + "attn_k.weight", KV_HEADS * head, EMBEDDING)
            weights.ones(block + "attn_k_norm.weight", head)
        weights.matrix(block + "attn_output.weight", EMBEDDING, HEADS * head)
        weights.feed_forward(block)
        weights.matrix(block + "inp_gate.weight", inputs, EMBEDDING)
        weights.matrix(block + "proj.weight", EMBEDDING, inputs)
    return {
        "block_count": len(has_window),
        "attention.sliding_window": 32,
        "attention.sliding_window_pattern": (9, struct.pack("<IQ6?", 7, len(has_window), *has_window)),
        "attention.shared_kv_layers": len(has_window) - own,
        "attention.key_length_swa": HEAD // 2,
        "attention.value_length_swa": HEAD // 2,
        "rope.dimension_count_swa": HEAD // 2,
        "embedding_length_per_layer_input": inputs,
        "final_logit_softcapping": 30.0,
    }


def phi3(weights: Weights) -> dict[str, Any]:
    weights.ends()
    for layer in range(2):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.matrix(block + "attn_qkv.weight", (HEADS + 2 * KV_HEADS) * HEAD, EMBEDDING)
        weights.matrix(block + "attn_output.weight", EMBEDDING, HEADS * HEAD)
        weights.ones(block + "ffn_norm.weight", EMBEDDING)
        weights.matrix(block + "ffn_up.weight", 2 * FEED_FORWARD, EMBEDDING)
        weights.matrix(block + "ffn_down.weight", EMBEDDING, FEED_FORWARD)
    return {"block_count": 2}


def gpt2(weights: Weights) -> dict[str, Any]:
    """Learned positions."""
    weights.ends()
    weights.matrix("position_embd.weight", weights.context, EMBEDDING)
    norms = ["output_norm"]
    for layer in range(2):
        block = f"blk.{layer}."
        weights.matrix(block + "attn_qkv.weight", 3 * EMBEDDING, EMBEDDING)
        weights.matrix(block + "attn_output.weight", EMBEDDING, EMBEDDING)
        weights.feed_forward(block, norm="", gate=False)
        for name, size in (("attn_qkv", 3 * EMBEDDING), ("attn_output", EMBEDDING), ("ffn_down", EMBEDDING)):
            weights.matrix(block + name + ".bias", size)
        weights.matrix(block + "ffn_up.bias", FEED_FORWARD)
        norms += [block + "attn_norm", block + "ffn_norm"]
    for norm in norms:
        weights.ones(norm + ".weight", EMBEDDING)
        weights.constant(norm + ".bias", np.zeros(EMBEDDING))
    return {"block_count": 2, "attention.head_count_kv": HEADS, "attention.layer_norm_epsilon": 1e-5}


def qwen3moe(weights: Weights) -> dict[str, Any]:
    """A mixture of experts."""
    weights.ends()
    for layer in range(2):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.attention(block, norms=True)
        weights.experts(block, 4, 32)
    return {"block_count": 2, "expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 32}


def deepseek2(weights: Weights) -> dict[str, Any]:
    """Multi-head latent attention, with a dense first layer and shared experts after it."""
    rank, plain, rotary = 32, 16, 8
    weights.ends()
    for layer in range(2):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.matrix(block + "attn_q_a.weight", 24, EMBEDDING)
        weights.ones(block + "attn_q_a_norm.weight", 24)
        weights.matrix(block + "attn_q_b.weight", HEADS * (plain + rotary), 24)
        weights.matrix(block + "attn_kv_a_mqa.weight", rank + rotary, EMBEDDING)
        weights.ones(block + "attn_kv_a_norm.weight", rank)
        weights.matrix(block + "attn_k_b.weight", HEADS, rank, plain)
        weights.matrix(block + "attn_v_b.weight", HEADS, HEAD, rank)
        weights.matrix(block + "attn_output.weight", EMBEDDING, HEADS * HEAD)
        if layer:
            weights.experts(block, 4, 32, shared=True)
        else:
            weights.feed_forward(block)
    return {
        "block_count": 2,
        "attention.head_count_kv": 1,
        "attention.q_lora_rank": 24,
        "attention.kv_lora_rank": rank,
        "attention.key_length": rank + rotary,
        "attention.value_length": rank,
        "attention.key_length_mla": plain + rotary,
        "attention.value_length_mla": HEAD,
        "rope.dimension_count": rotary,
        "leading_dense_block_count": 1,
        "expert_count": 4,
        "expert_used_count": 2,
        "expert_feed_forward_length": 32,
        "expert_shared_count": 1,
        "expert_weights_scale": 1.0,
    }


def mamba(weights: Weights) -> dict[str, Any]:
    inner, rank = 2 * EMBEDDING, 4
    weights.ends()
    for layer in range(2):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.matrix(block + "ssm_in.weight", 2 * inner, EMBEDDING)
        weights.matrix(block + "ssm_conv1d.weight", inner, CONV)
        weights.matrix(block + "ssm_conv1d.bias", inner)
        weights.matrix(block + "ssm_x.weight", rank + 2 * STATE, inner)
        weights.matrix(block + "ssm_dt.weight", inner, rank)
        weights.matrix(block + "ssm_dt.bias", inner)
        weights.constant(block + "ssm_a", -np.tile(np.linspace(0.2, 1.0, STATE), (inner, 1)))
        weights.ones(block + "ssm_d", inner)
        weights.matrix(block + "ssm_out.weight", EMBEDDING, inner)
    return {
        "block_count": 2,
        "attention.head_count": 0,
        "attention.head_count_kv": 0,
        "feed_forward_length": 0,
        "ssm.conv_kernel": CONV,
        "ssm.inner_size": inner,
        "ssm.state_size": STATE,
        "ssm.time_step_rank": rank,
    }


def lfm2(weights: Weights) -> dict[str, Any]:
    kv_heads, conv = [0, KV_HEADS, 0, KV_HEADS], 3
    weights.ends(norm="token_embd_norm.weight")
    for layer, heads in enumerate(kv_heads):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.feed_forward(block)
        if heads:
            weights.attention(block, norms=True)
        else:
            weights.matrix(block + "shortconv.conv.weight", EMBEDDING, conv)
            weights.matrix(block + "shortconv.in_proj.weight", 3 * EMBEDDING, EMBEDDING)
            weights.matrix(block + "shortconv.out_proj.weight", EMBEDDING, EMBEDDING)
    return {"block_count": 4, "attention.head_count_kv": kv_heads, "shortconv.l_cache": conv}


def lfm2_window(weights: Weights) -> dict[str, Any]:
    """Recurrent layers beside a sliding window."""
    return lfm2(weights) | {"attention.sliding_window": 32}


def qwen35(weights: Weights, *, nextn: bool = False) -> dict[str, Any]:
    """Gated delta nets and one layer of attention in four; with ``nextn`` a layer that predicts a further token."""
    keys, values = 2, 4
    weights.ends()
    for layer in range(4 + nextn):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.feed_forward(block, norm="post_attention_norm")
        if layer >= 3:
            weights.attention(block, norms=True, gated=True)
            continue
        channels = (2 * keys + values) * STATE
        weights.matrix(block + "attn_qkv.weight", channels, EMBEDDING)
        weights.matrix(block + "attn_gate.weight", values * STATE, EMBEDDING)
        weights.matrix(block + "ssm_conv1d.weight", channels, CONV)
        weights.matrix(block + "ssm_dt.bias", values)
        weights.constant(block + "ssm_a", -np.linspace(0.2, 1.0, values))
        weights.matrix(block + "ssm_beta.weight", values, EMBEDDING)
        weights.matrix(block + "ssm_alpha.weight", values, EMBEDDING)
        weights.ones(block + "ssm_norm.weight", STATE)
        weights.matrix(block + "ssm_out.weight", EMBEDDING, values * STATE)
    if nextn:
        weights.matrix("blk.4.nextn.eh_proj.weight", EMBEDDING, 2 * EMBEDDING)
        for name in ("enorm", "hnorm", "shared_head_norm"):
            weights.ones(f"blk.4.nextn.{name}.weight", EMBEDDING)
    return {
        "block_count": 4 + nextn,
        **({"nextn_predict_layers": 1} if nextn else {}),
        "full_attention_interval": 4,
        "rope.dimension_sections": [4, 2, 2, 0],
        "ssm.conv_kernel": CONV,
        "ssm.inner_size": values * STATE,
        "ssm.state_size": STATE,
        "ssm.time_step_rank": values,
        "ssm.group_count": keys,
    }


def qwen35_nextn(weights: Weights) -> dict[str, Any]:
    return qwen35(weights, nextn=True)


def falcon_h1(weights: Weights) -> dict[str, Any]:
    """Every layer is both recurrent and attention."""
    weights.ends()
    for layer in range(2):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.attention(block)
        weights.mamba2(block)
        weights.ones(block + "ffn_norm", EMBEDDING)  # so named in these files
        weights.feed_forward(block, norm="")
    return {"block_count": 2, **MAMBA2}


def granitehybrid(weights: Weights) -> dict[str, Any]:
    kv_heads = [0, KV_HEADS, 0]
    weights.ends()
    for layer, heads in enumerate(kv_heads):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.feed_forward(block)
        if heads:
            weights.attention(block)
        else:
            weights.mamba2(block)
    return {"block_count": 3, "attention.head_count_kv": kv_heads, **MAMBA2}


def nemotron_h(weights: Weights) -> dict[str, Any]:
    """Each layer is one of: recurrent, attention, feed-forward."""
    kv_heads, widths = [0, KV_HEADS, 0, 0], [0, 0, FEED_FORWARD, 0]
    weights.ends()
    for layer, (heads, width) in enumerate(zip(kv_heads, widths, strict=True)):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        if heads:
            weights.attention(block)
        elif width:
            weights.feed_forward(block, norm="", gate=False)
        else:
            weights.mamba2(block)
    return {
        "block_count": 4,
        "attention.head_count_kv": kv_heads,
        "feed_forward_length": widths,
        "attention.layer_norm_epsilon": 1e-5,
        **MAMBA2,
    }


def rwkv7(weights: Weights) -> dict[str, Any]:
    rank = 8
    weights.ends()
    weights.constant("output_norm.bias", np.zeros(EMBEDDING))
    weights.ones("token_embd_norm.weight", EMBEDDING)
    weights.constant("token_embd_norm.bias", np.zeros(EMBEDDING))
    for layer in range(2):
        block = f"blk.{layer}."
        for norm in ("attn_norm", "attn_norm_2", "time_mix_ln"):
            weights.ones(block + norm + ".weight", EMBEDDING)
            weights.constant(block + norm + ".bias", np.zeros(EMBEDDING))
        for name in "wav":
            weights.matrix(block + f"time_mix_{name}0.weight", EMBEDDING)
        for name in "wavg":
            weights.matrix(block + f"time_mix_{name}1.weight", rank, EMBEDDING)
            weights.matrix(block + f"time_mix_{name}2.weight", EMBEDDING, rank)
        weights.matrix(block + "time_mix_lerp_fused.weight", 6, 1, 1, EMBEDDING)
        for name in ("k_k", "k_a", "r_k"):
            weights.matrix(block + f"time_mix_{name}.weight", EMBEDDING)
        for name in ("key", "value", "receptance", "output"):
            weights.matrix(block + f"time_mix_{name}.weight", EMBEDDING, EMBEDDING)
        weights.matrix(block + "channel_mix_lerp_k.weight", 1, 1, EMBEDDING)
        weights.matrix(block + "channel_mix_key.weight", FEED_FORWARD, EMBEDDING)
        weights.matrix(block + "channel_mix_value.weight", EMBEDDING, FEED_FORWARD)
    return {
        "block_count": 2,
        "attention.head_count": 0,
        "attention.layer_norm_epsilon": 1e-5,
        "wkv.head_size": 64,  # the stride of llama.cpp's vectorised kernel: smaller heads are computed wrongly
        "attention.decay_lora_rank": rank,
        "attention.iclr_lora_rank": rank,
        "attention.value_residual_mix_lora_rank": rank,
        "attention.gate_lora_rank": rank,
    }


def t5(weights: Weights) -> dict[str, Any]:
    """An encoder with a decoder."""
    weights.matrix("token_embd.weight", len(TOKENS), EMBEDDING)
    for part in ("enc", "dec"):
        weights.ones(f"{part}.output_norm.weight", EMBEDDING)
        for layer in range(2):
            block = f"{part}.blk.{layer}."
            for attention in ("attn", "cross_attn") if part == "dec" else ("attn",):
                weights.ones(block + attention + "_norm.weight", EMBEDDING)
                for name in "qkv":
                    weights.matrix(block + f"{attention}_{name}.weight", HEADS * HEAD, EMBEDDING)
                weights.matrix(block + f"{attention}_o.weight", EMBEDDING, HEADS * HEAD)
            weights.feed_forward(block)
        weights.matrix(f"{part}.blk.0.attn_rel_b.weight", 32, HEADS)
    return {"block_count": 2, "attention.head_count_kv": HEADS, "attention.relative_buckets_count": 32}


def bert(weights: Weights) -> dict[str, Any]:
    """An embedding model."""
    weights.matrix("token_embd.weight", len(TOKENS), EMBEDDING)
    weights.matrix("token_types.weight", 2, EMBEDDING)
    weights.matrix("position_embd.weight", weights.context, EMBEDDING)
    norms = ["token_embd_norm"]
    for layer in range(2):
        block = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            weights.matrix(block + name + ".weight", EMBEDDING, EMBEDDING)
        weights.feed_forward(block, norm="", gate=False)
        norms += [block + "attn_output_norm", block + "layer_output_norm"]
    for norm in norms:
        weights.ones(norm + ".weight", EMBEDDING)
        weights.constant(norm + ".bias", np.zeros(EMBEDDING))
    return {
        "block_count": 2,
        "attention.head_count_kv": HEADS,
        "attention.layer_norm_epsilon": 1e-5,
        "attention.causal": False,
        "pooling_type": 1,
    }


_BUILDERS: dict[str, Callable[[Weights], dict[str, Any]]] = {
    builder.__name__: builder
    for builder in (
        *(llama, qwen2, qwen3, gemma3, gemma4, phi3, gpt2, qwen3moe, deepseek2),
        *(mamba, lfm2, lfm2_window, qwen35, qwen35_nextn, granitehybrid, falcon_h1, nemotron_h, rwkv7),
        *(t5, bert),
    )
}
_NAMES = {"falcon_h1": "falcon-h1", "lfm2_window": "lfm2", "qwen35_nextn": "qwen35"}
"""What llama.cpp calls those that have another name here."""
DECODERS = tuple(name for name in _BUILDERS if name not in ("t5", "bert", "qwen35_nextn", "lfm2_window"))
"""Architectures that generate."""
ROLL_BACK = ("lfm2", "qwen35", "nemotron_h")
"""Recurrent ones that llama.cpp keeps snapshots for."""
RECURRENT = (*ROLL_BACK, "lfm2_window", "mamba", "granitehybrid", "falcon_h1", "rwkv7")


def _metadata(architecture: str, own: dict[str, Any], context: int) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "context_length": context,
        "embedding_length": EMBEDDING,
        "feed_forward_length": FEED_FORWARD,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": HEAD,
        "rope.freq_base": 10_000.0,
        "vocab_size": len(TOKENS),
        **own,
    }
    kinds = [1] * 256 + [3] * len(CONTROL)
    return {
        "general.architecture": architecture,
        "general.name": "tiny",  # llama.cpp looks for certain tokens where this contains "phi-3"
        **{f"{architecture}.{key}": value for key, value in settings.items()},
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": (9, struct.pack(f"<IQ{len(kinds)}i", 5, len(kinds), *kinds)),
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.ggml.eos_token_id": 258,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }


def write_model(
    path: Path,
    architecture: str,
    *,
    seed: int = 0,
    noise: float = 0.0,
    context: int = CONTEXT,
    build: Callable[[Weights], dict[str, Any]] | None = None,
) -> Path:
    """Write a model trained for ``context`` tokens.

    ``noise`` disturbs the weights of the same seed, so that the model agrees with the other now and then. ``build``
    builds an architecture that is not among those here.
    """
    weights = Weights(seed, noise, context)
    own = (build or _BUILDERS[architecture])(weights)
    metadata = _metadata(_NAMES.get(architecture, architecture), own, context)
    infos = [(name, tuple(reversed(array.shape)), F32) for name, array in weights.tensors.items()]
    with path.open("wb") as file:
        file.write(header(metadata, infos))
        for array in weights.tensors.values():
            raw = array.tobytes()
            file.write(raw + bytes(-len(raw) % 32))
    return path
