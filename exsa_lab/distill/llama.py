"""A Llama in torch: enough of it to write text with a target and to train a draft.

Weights are plain dictionaries under llama.cpp's names; rotary positions pair neighbouring values, as llama.cpp does
for this architecture. On CUDA the blocks are compiled.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)

from exsa_lab.errors import InvalidModel

Weights = dict[str, torch.Tensor]
Turn = tuple[torch.Tensor, torch.Tensor]
"""Cosines and sines of the rotary positions, (length, head_size / 2) each."""
_PARTS = (
    "attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down",
)  # fmt: skip
_SPAN = 64
"""Past positions are read in multiples of this: products of odd sizes are several times slower on a GPU."""
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Llama."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int
    rope_base: float = 10000.0
    norm_epsilon: float = 1e-5

    @property
    def head_size(self) -> int:
        return self.width // self.heads


@dataclass(slots=True)
class KVCache:
    """Keys and values of past positions, one pair of tensors (rows, kv_heads, length, head_size) per layer."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    used: int = 0


def read_llama(path: Path, device: str, dtype: torch.dtype) -> tuple[Shape, Weights]:
    """Read a GGUF's weights, dequantized; raises InvalidModel where it is no plain Llama."""
    import gguf
    from gguf.quants import dequantize

    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer.")}
    if fields.get("general.architecture") != "llama":
        raise InvalidModel(
            f"{path.name} is of the architecture {fields.get('general.architecture')!r}; only llama can be distilled."
        )
    weights = {
        tensor.name: torch.from_numpy(
            dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1].tolist()).copy()
        ).to(device, dtype)
        for tensor in reader.tensors
    }
    if any(name.endswith(".bias") or "rope_freqs" in name or "_exps" in name for name in weights):
        raise InvalidModel(
            f"{path.name} has biases, experts or scaled rotary positions, which distilling does not know."
        )
    return _shape(fields, weights), weights


def _shape(fields: dict[str, Any], weights: Weights) -> Shape:
    heads = int(fields["llama.attention.head_count"])
    return Shape(
        width=int(fields["llama.embedding_length"]),
        layers=int(fields["llama.block_count"]),
        heads=heads,
        kv_heads=int(fields.get("llama.attention.head_count_kv", heads)),
        feed_forward=int(fields["llama.feed_forward_length"]),
        vocabulary=weights["token_embd.weight"].shape[0],
        rope_base=float(fields.get("llama.rope.freq_base", 10000.0)),
        norm_epsilon=float(fields.get("llama.attention.layer_norm_rms_epsilon", 1e-5)),
    )


def logits(shape: Shape, weights: Weights, tokens: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
    """Return the logits (rows, length, vocabulary) of tokens (rows, length), continuing a cache where one is given."""
    return hidden(shape, weights, tokens, cache) @ output_matrix(weights).T


def output_matrix(weights: Weights) -> torch.Tensor:
    """Return what turns the last layer into logits, (vocabulary, width): the embedding where the two are tied."""
    return weights.get("output.weight", weights["token_embd.weight"])


def hidden(shape: Shape, weights: Weights, tokens: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
    """Return the normalised last layer (rows, length, width)."""
    start = cache.used if cache else 0
    x = F.embedding(tokens, weights["token_embd.weight"])
    turn = _rotation(shape, start, tokens.shape[1], x.device)
    sizes = shape.heads, shape.kv_heads, shape.norm_epsilon
    whole, enter, leave = (compiled(part, x.device) for part in (_block, _enter, _leave))
    for layer in range(shape.layers):
        own = {part: weights[f"blk.{layer}.{part}.weight"] for part in _PARTS}
        if cache:  # Its length changes with every step, so attention stays outside of what is compiled.
            query, key, value = enter(*sizes, own, x, turn)
            x = leave(*sizes, own, x, _attend_past(query, key, value, cache, layer))
        else:
            x = whole(*sizes, own, x, turn)
    if cache:
        cache.used += tokens.shape[1]
    return _norm(x, weights["output_norm.weight"], shape.norm_epsilon)


def empty_cache(shape: Shape, rows: int, length: int, like: torch.Tensor) -> KVCache:
    """Return a cache for ``rows`` texts of at most ``length`` tokens."""
    size = (rows, shape.kv_heads, length, shape.head_size)
    keys, values = ([like.new_zeros(size) for _ in range(shape.layers)] for _ in range(2))
    return KVCache(keys, values)


def compiled(function: _Function, device: torch.device, dynamic: bool | None = False) -> _Function:
    """Return the function compiled where that pays, on CUDA; ``dynamic`` as in torch.compile.

    TORCH_COMPILE_DISABLE=1 turns compiling off.
    """
    return _compile(function, dynamic) if device.type == "cuda" else function


@functools.cache
def _compile(function: _Function, dynamic: bool | None) -> _Function:
    fast: _Function = torch.compile(function, dynamic=dynamic)
    return fast


def _block(heads: int, kv_heads: int, epsilon: float, weights: Weights, x: torch.Tensor, turn: Turn) -> torch.Tensor:
    attended = _attend(*_enter(heads, kv_heads, epsilon, weights, x, turn), None)
    return _leave(heads, kv_heads, epsilon, weights, x, attended)


def _enter(
    heads: int, kv_heads: int, epsilon: float, weights: Weights, x: torch.Tensor, turn: Turn
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return queries, keys and values, (rows, heads or kv_heads, length, head_size) each."""
    rows, length, _ = x.shape
    h = _norm(x, weights["attn_norm"], epsilon)
    query = (h @ weights["attn_q"].T).view(rows, length, heads, -1).transpose(1, 2)
    key = (h @ weights["attn_k"].T).view(rows, length, kv_heads, -1).transpose(1, 2)
    value = (h @ weights["attn_v"].T).view(rows, length, kv_heads, -1).transpose(1, 2)
    return _rotate(query, turn), _rotate(key, turn), value


def _leave(
    heads: int, kv_heads: int, epsilon: float, weights: Weights, x: torch.Tensor, attended: torch.Tensor
) -> torch.Tensor:
    x = x + attended.transpose(1, 2).flatten(2) @ weights["attn_output"].T
    h = _norm(x, weights["ffn_norm"], epsilon)
    return x + (F.silu(h @ weights["ffn_gate"].T) * (h @ weights["ffn_up"].T)) @ weights["ffn_down"].T


def _attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    group = query.shape[1] // key.shape[1]
    return F.scaled_dot_product_attention(
        query, key.repeat_interleave(group, 1), value.repeat_interleave(group, 1), mask, is_causal=mask is None
    )


def _attend_past(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, cache: KVCache, layer: int
) -> torch.Tensor:
    rows, heads, length, size = query.shape
    start, end = cache.used, cache.used + length
    keys, values = cache.keys[layer], cache.values[layer]
    keys[:, :, start:end], values[:, :, start:end] = key, value
    seen = min(-(-end // _SPAN) * _SPAN, keys.shape[2])
    visible = torch.ones(length, seen, dtype=torch.bool, device=query.device).tril(start)
    if length > 1:
        return _attend(query, keys[:, :, :seen], values[:, :, :seen], visible)
    # Heads are grouped by the keys they share, which are then read once.
    grouped = query.reshape(rows, keys.shape[1], -1, size)
    scores = (grouped @ keys[:, :, :seen].transpose(-1, -2)).float() / math.sqrt(size)
    shares = scores.masked_fill(~visible, float("-inf")).softmax(-1).to(values.dtype)
    return (shares @ values[:, :, :seen]).view(rows, heads, 1, size)


def _norm(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), epsilon)


def _rotation(shape: Shape, start: int, length: int, device: torch.device) -> Turn:
    size = shape.head_size
    frequencies = shape.rope_base ** (-torch.arange(0, size, 2, device=device).float() / size)
    angles = torch.arange(start, start + length, device=device).float()[:, None] * frequencies
    return angles.cos(), angles.sin()


def _rotate(x: torch.Tensor, turn: Turn) -> torch.Tensor:
    cos, sin = turn
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)
