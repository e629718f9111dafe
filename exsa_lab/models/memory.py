"""How much memory a model takes while it runs, estimated from its facts.

KV cache and buffers were compared with the sizes llama.cpp logs (0.3.36, CPU): the default pair with 512 and 8192
cells, f16 and q8_0, micro-batches of 63 and 512, 8 to 64 sequences, and the shapes in `tests/test_planner.py`. The KV
cache was right to the byte, the buffers within 5 %. A process that has the default pair loaded takes some 45 MiB more
than that and the weights: 27 of them are the two vocabularies (about 300 bytes a token), the rest is Python's; the
planner's margin is there for these. The engine still loads, sees whether it fits, and steps down if it does not.
"""

from __future__ import annotations

from exsa_lab.config import MAX_DRAFT_LENGTH
from exsa_lab.models.gguf_facts import GGUFFacts

GIB = 1 << 30
GPU_MARGIN = GIB
"""Left free on each GPU for the driver's context and other programs (llama.cpp's own fit leaves as much)."""
REPACKED = frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4", "Q5_K", "Q6_K"})
"""Types llama.cpp rearranges for its CPU kernels: these are copied, where others stay mapped from the file."""

_FLOAT = 4


def kv_bytes(facts: GGUFFacts, n_ctx: int, kv_type: str = "f16", layers: int | None = None) -> int:
    """Bytes of the KV cache: ``n_ctx * kv_bytes_per_token``, or the share of the last ``layers`` layers."""
    heads = sum(facts.kv_heads)
    share = 1.0 if layers is None or not heads else sum(facts.kv_heads[facts.layers - layers :]) / heads
    return round(n_ctx * facts.kv_bytes_per_token(kv_type) * share)


def output_rows(n_ubatch: int, n_seq_max: int) -> int:
    """Rows of logits one micro-batch may ask for: one per sequence and draft token, as the runtime reserves them."""
    return min(n_ubatch, max(64, n_seq_max * (1 + MAX_DRAFT_LENGTH)))


def compute_bytes(facts: GGUFFacts, n_ctx: int, n_ubatch: int, n_seq_max: int, *, flash_attention: bool = True) -> int:
    """Bytes of llama.cpp's compute buffer: the larger of two moments of one micro-batch of u tokens.

    Inside a layer: ``u * (3 * feed_forward + 4 * embedding) * 4`` for activations, ``n_ctx * u * 2`` for the
    attention mask, and without flash attention ``heads * n_ctx * u * 4`` for the scores.
    At the output, for r rows: ``r * vocabulary * 4 + (r + u) * embedding * 4``.
    """
    rows = output_rows(n_ubatch, n_seq_max)
    inside = n_ubatch * (3 * facts.feed_forward + 4 * facts.embedding) * _FLOAT + n_ctx * n_ubatch * 2
    if not flash_attention:
        inside += facts.heads * n_ctx * n_ubatch * _FLOAT
    outside = rows * facts.vocabulary.size * _FLOAT + (rows + n_ubatch) * facts.embedding * _FLOAT
    return max(inside, outside) + n_seq_max * facts.vocabulary.size * _FLOAT


def copied_weight_bytes(facts: GGUFFacts) -> int:
    """Bytes of the weights that are copied into memory on CPU because their type is repacked."""
    return sum(size for name, size in facts.tensor_types.items() if name in REPACKED)
