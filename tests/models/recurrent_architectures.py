"""Builders of more models with recurrent layers, whose memory alone is looked at: see `tests.models.architectures`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from tests.models.architectures import EMBEDDING, FEED_FORWARD, HEAD, HEADS, MAMBA2, Weights, qwen35

RANK, PLAIN, ROTARY = 32, 16, 8
"""Latent attention: width of what is kept, length of a key without and with positions."""
INNER = HEADS * HEAD
EXPERTS = {"expert_count": 4, "expert_used_count": 2}


def _block(weights: Weights, layer: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in shapes.items():
        weights.matrix(f"blk.{layer}.{name}", *shape)


def _weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape for name, shape in shapes.items()}


def mamba2(weights: Weights) -> dict[str, Any]:
    weights.ends()
    for layer in range(2):
        weights.ones(f"blk.{layer}.attn_norm.weight", EMBEDDING)
        weights.mamba2(f"blk.{layer}.")
    return {
        "block_count": 2,
        "attention.head_count": 0,
        "attention.head_count_kv": 0,
        "feed_forward_length": 0,
        **MAMBA2,
    }


def qwen35_marked(weights: Weights) -> dict[str, Any]:
    """The file says itself which layers are recurrent: all, where an interval of four would leave out the last."""
    own = qwen35(weights)
    for name in [name for name in weights.tensors if name.startswith("blk.3.")]:
        del weights.tensors[name]
    for name in [name for name in weights.tensors if name.startswith("blk.2.")]:
        weights.tensors[name.replace("blk.2.", "blk.3.")] = weights.tensors[name]
    return own | {"attention.recurrent_layers": (9, struct.pack("<IQ4?", 7, 4, *[True] * 4))}


def minimax_01(weights: Weights) -> dict[str, Any]:
    """Seven layers of linear attention before one of full attention, a mixture of experts in each."""
    weights.ends()
    for layer in range(8):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.experts(block, 4, FEED_FORWARD)
        if layer == 7:
            weights.attention(block)
            continue
        weights.ones(block + "attn_norm_2.weight", INNER)
        shapes = {"attn_qkv": (3 * INNER, EMBEDDING), "attn_gate": (INNER, EMBEDDING)}
        _block(weights, layer, _weights(shapes | {"attn_output": (EMBEDDING, INNER)}))
    return {"block_count": 8, **EXPERTS, "residual_scale": 1.0}


def kimi_linear(weights: Weights) -> dict[str, Any]:
    """Gated delta nets with a decay for each channel (KDA), and latent attention in every other layer."""
    inputs = {f"attn_{name}": (INNER, EMBEDDING) for name in "qkv"}
    convolutions = {f"ssm_conv1d_{name}": (INNER, 1, 4) for name in "qkv"}
    ranks = {f"ssm_{name}_a": (HEAD, EMBEDDING) for name in "fg"} | {f"ssm_{name}_b": (INNER, HEAD) for name in "fg"}
    delta = _weights(inputs | convolutions | ranks | {"ssm_beta": (HEADS, EMBEDDING), "ssm_norm": (HEAD,)})
    delta |= {"ssm_a": (HEADS, 1), "ssm_dt.bias": (INNER,)}
    latent = {
        "attn_q": (HEADS * (PLAIN + ROTARY), EMBEDDING),
        "attn_kv_a_mqa": (RANK + ROTARY, EMBEDDING),
        "attn_kv_a_norm": (RANK,),
        "attn_k_b": (HEADS, RANK, PLAIN),
        "attn_v_b": (HEADS, HEAD, RANK),
    }
    weights.ends()
    for layer in range(4):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.matrix(block + "attn_output.weight", EMBEDDING, INNER)
        weights.feed_forward(block)
        _block(weights, layer, _weights(latent) if layer % 2 else delta)
    return {
        "block_count": 4,
        "attention.head_count_kv": [0, 1, 0, 1],
        "attention.kv_lora_rank": RANK,
        "attention.key_length": RANK + ROTARY,
        "attention.value_length": RANK,
        "attention.key_length_mla": PLAIN + ROTARY,
        "attention.value_length_mla": HEAD,
        "rope.dimension_count": ROTARY,
        "ssm.conv_kernel": 4,
        "kda.head_dim": HEAD,
        "leading_dense_block_count": 4,
        **EXPERTS,
        "expert_feed_forward_length": 32,
        "expert_shared_count": 1,
        "expert_gating_func": 2,
    }


def arwkv7(weights: Weights) -> dict[str, Any]:
    """RWKV with the feed-forward of a transformer."""
    rank, square = 8, (EMBEDDING, EMBEDDING)
    shapes = {f"time_mix_{name}0": (EMBEDDING,) for name in "wav"}
    shapes |= {f"time_mix_{name}1": (rank, EMBEDDING) for name in "wav"}
    shapes |= {f"time_mix_{name}2": (EMBEDDING, rank) for name in "wav"}
    shapes |= {f"time_mix_{name}": (EMBEDDING,) for name in ("k_k", "k_a", "r_k")}
    shapes |= {f"time_mix_{name}": square for name in ("key", "value", "receptance", "output")}
    weights.ends()
    for layer in range(2):
        block = f"blk.{layer}."
        weights.ones(block + "attn_norm.weight", EMBEDDING)
        weights.feed_forward(block)
        _block(weights, layer, _weights({**shapes, "time_mix_lerp_fused": (5, 1, 1, EMBEDDING)}))
    ranks = {f"attention.{name}_lora_rank": rank for name in ("decay", "iclr", "value_residual_mix", "gate")}
    return {"block_count": 2, "attention.head_count": 0, "wkv.head_size": 64, "token_shift_count": 1, **ranks}


BUILDERS: dict[str, Callable[[Weights], dict[str, Any]]] = {
    "mamba2": mamba2,
    "qwen35": qwen35_marked,
    "minimax-01": minimax_01,
    "kimi-linear": kimi_linear,
    "arwkv7": arwkv7,
}
"""By what llama.cpp calls them."""
