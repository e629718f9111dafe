"""A draft's first weights: from the target's embedding, or from a draft there is."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F  # noqa: N812  (its usual name)

from exsa_lab.distill.llama import Shape, Weights
from exsa_lab.errors import ConfigError


def new_draft(shape: Shape, target_embedding: torch.Tensor, seed: int) -> Weights:
    """Return a draft's first weights: the target's embedding reduced to its main directions, the rest random."""
    chance = torch.Generator("cpu").manual_seed(seed)
    width, kv_width = shape.width, shape.kv_heads * shape.head_size
    quiet = 1 / math.sqrt(2 * shape.layers)  # What is added to the residual stream starts small.
    weights = {"token_embd.weight": reduce_embedding(target_embedding, width), "output_norm.weight": torch.ones(width)}
    for layer in range(shape.layers):
        own = {
            "attn_norm": torch.ones(width),
            "attn_q": _random(width, width, chance),
            "attn_k": _random(kv_width, width, chance),
            "attn_v": _random(kv_width, width, chance),
            "attn_output": _random(width, width, chance, quiet),
            "ffn_norm": torch.ones(width),
            "ffn_gate": _random(shape.feed_forward, width, chance),
            "ffn_up": _random(shape.feed_forward, width, chance),
            "ffn_down": _random(width, shape.feed_forward, chance, quiet),
        }
        weights |= {f"blk.{layer}.{name}.weight": value for name, value in own.items()}
    return weights


def widened(shape: Shape, weights: Weights, feed_forward: int, seed: int) -> tuple[Shape, Weights]:
    """Return the draft with a wider feed-forward that computes the same: new neurons are random and add nothing yet.

    Net2Net's idea (Chen et al. 2015, arXiv 1511.05641). Raises ConfigError where the draft's is wider already.
    """
    more = feed_forward - shape.feed_forward
    if more < 0:
        raise ConfigError(f"the draft to start from has a feed-forward of {shape.feed_forward}.", hint="Ask for that.")
    chance, grown = torch.Generator("cpu").manual_seed(seed), dict(weights)
    for name, weight in weights.items():
        if "ffn_gate" in name or "ffn_up" in name:
            grown[name] = torch.cat([weight, _random(more, shape.width, chance)])
        elif "ffn_down" in name:
            grown[name] = F.pad(weight, (0, more))
    return replace(shape, feed_forward=feed_forward), grown


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


def _random(rows: int, columns: int, chance: torch.Generator, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=chance) * scale * 0.5 / math.sqrt(columns)
