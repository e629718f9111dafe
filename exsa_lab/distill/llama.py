"""A Llama in torch: enough of it to write text with a target and to train a draft.

Weights are plain dictionaries under llama.cpp's names; rotary positions pair neighbouring values, as llama.cpp does
for this architecture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)

from exsa_lab.errors import InvalidModel

Weights = dict[str, torch.Tensor]


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
    head = weights.get("output.weight", weights["token_embd.weight"])
    return hidden(shape, weights, tokens, cache) @ head.T


def hidden(shape: Shape, weights: Weights, tokens: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
    """Return the normalised last layer (rows, length, width)."""
    start = cache.used if cache else 0
    x = F.embedding(tokens, weights["token_embd.weight"])
    turn = _rotation(shape, start, tokens.shape[1], x.device)
    for layer in range(shape.layers):
        x = _block(shape, weights, layer, x, turn, cache)
    if cache:
        cache.used += tokens.shape[1]
    return _norm(shape, x, weights["output_norm.weight"])


def empty_cache(shape: Shape, rows: int, length: int, like: torch.Tensor) -> KVCache:
    """Return a cache for ``rows`` texts of at most ``length`` tokens."""
    size = (rows, shape.kv_heads, length, shape.head_size)
    keys, values = ([like.new_zeros(size) for _ in range(shape.layers)] for _ in range(2))
    return KVCache(keys, values)


def _block(
    shape: Shape,
    weights: Weights,
    layer: int,
    x: torch.Tensor,
    turn: tuple[torch.Tensor, torch.Tensor],
    cache: KVCache | None,
) -> torch.Tensor:
    def part(name: str) -> torch.Tensor:
        return weights[f"blk.{layer}.{name}.weight"]

    rows, length, _ = x.shape
    h = _norm(shape, x, part("attn_norm"))
    query = (h @ part("attn_q").T).view(rows, length, shape.heads, -1).transpose(1, 2)
    key = (h @ part("attn_k").T).view(rows, length, shape.kv_heads, -1).transpose(1, 2)
    value = (h @ part("attn_v").T).view(rows, length, shape.kv_heads, -1).transpose(1, 2)
    query, key = _rotate(query, turn), _rotate(key, turn)
    mask = None
    if cache:
        end = cache.used + length
        cache.keys[layer][:, :, cache.used : end] = key
        cache.values[layer][:, :, cache.used : end] = value
        key, value = cache.keys[layer][:, :, :end], cache.values[layer][:, :, :end]
        mask = torch.ones(length, end, dtype=torch.bool, device=x.device).tril(end - length)
    group = shape.heads // shape.kv_heads
    attended = F.scaled_dot_product_attention(
        query, key.repeat_interleave(group, 1), value.repeat_interleave(group, 1), mask, is_causal=mask is None
    )
    x = x + attended.transpose(1, 2).reshape(rows, length, -1) @ part("attn_output").T
    h = _norm(shape, x, part("ffn_norm"))
    return x + (F.silu(h @ part("ffn_gate").T) * (h @ part("ffn_up").T)) @ part("ffn_down").T


def _norm(shape: Shape, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight.to(x.dtype), shape.norm_epsilon)


def _rotation(shape: Shape, start: int, length: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    size = shape.head_size
    frequencies = shape.rope_base ** (-torch.arange(0, size, 2, device=device).float() / size)
    angles = torch.arange(start, start + length, device=device).float()[:, None] * frequencies
    return angles.cos(), angles.sin()


def _rotate(x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    cos, sin = turn
    even, odd = x[..., 0::2].float(), x[..., 1::2].float()
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)


def new_draft(shape: Shape, target_embedding: torch.Tensor, seed: int) -> Weights:
    """Return a draft's first weights: the target's embedding reduced to its main directions, the rest random."""
    chance = torch.Generator("cpu").manual_seed(seed)

    def random(rows: int, columns: int, scale: float = 1.0) -> torch.Tensor:
        return torch.randn(rows, columns, generator=chance) * scale * 0.5 / math.sqrt(columns)

    width, kv_width = shape.width, shape.kv_heads * shape.head_size
    quiet = 1 / math.sqrt(2 * shape.layers)  # What is added to the residual stream starts small.
    weights = {"token_embd.weight": reduce_embedding(target_embedding, width), "output_norm.weight": torch.ones(width)}
    for layer in range(shape.layers):
        own = {
            "attn_norm": torch.ones(width),
            "attn_q": random(width, width),
            "attn_k": random(kv_width, width),
            "attn_v": random(kv_width, width),
            "attn_output": random(width, width, quiet),
            "ffn_norm": torch.ones(width),
            "ffn_gate": random(shape.feed_forward, width),
            "ffn_up": random(shape.feed_forward, width),
            "ffn_down": random(width, shape.feed_forward, quiet),
        }
        weights |= {f"blk.{layer}.{name}.weight": value for name, value in own.items()}
    return weights


def reduce_embedding(embedding: torch.Tensor, width: int) -> torch.Tensor:
    """Project an embedding (vocabulary, target width) on its ``width`` strongest directions (SVD), evenly scaled.

    Where the draft is as wide as the target or wider, the further columns are zero.
    """
    centred = embedding.float().cpu()
    centred = centred - centred.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    reduced = centred @ directions.flip(1)[:, :width]
    padded = F.pad(reduced, (0, width - reduced.shape[1]))
    return padded / padded.std() * 0.04
