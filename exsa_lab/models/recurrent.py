"""What the recurrent layers of a model keep and need, from its metadata.

The formulas are those of llama.cpp's `llama-hparams.cpp` (0.3.36); what a layer needs while it computes was fitted to
the buffers that llama.cpp reports for the models of `tests/models/architectures.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

PURE = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""Architectures without attention."""
INTERVALS = frozenset({"qwen3next", "qwen35", "qwen35moe"})
"""Architectures of which every fourth layer, or as the file says, is attention."""
PARALLEL = frozenset({"falcon-h1"})
"""Architectures of which each layer is both."""
WITH_SNAPSHOTS = frozenset(
    {"kimi-k3", "qwen35", "qwen35moe", "qwen4exp", "deepseek4", "glm5-next", "nemotron_h", "nemotron_h_moe"}
    | {"lfm2", "lfm2moe", "bailingmoe3"}
)
"""Architectures whose state llama.cpp can roll back (`llm_arch_supports_rs_rollback`)."""
_RWKV_ACTIVATIONS = 19
"""Activations of a token in a layer of RWKV, in widths of the model."""
FLOAT = 4


@dataclass(frozen=True, slots=True)
class RecurrentFacts:
    """The recurrent layers of a model."""

    layers: tuple[bool, ...]
    """Which layers are recurrent."""
    state: int
    """Numbers one layer keeps for one sequence, whatever its length."""
    activations: int
    """Numbers one layer needs for one token while it computes."""
    keeps_snapshots: bool
    """Whether llama.cpp can roll the state back."""

    def bytes_per_sequence(self, n_rs_seq: int, layers: int | None = None) -> int:
        """Bytes of one sequence's state with its snapshots; of the last ``layers`` layers only, where given."""
        chosen = self.layers if layers is None else self.layers[len(self.layers) - layers :]
        return sum(chosen) * self.state * FLOAT * self.copies(n_rs_seq)

    def copies(self, n_rs_seq: int) -> int:
        """The state itself and its snapshots."""
        return 1 + n_rs_seq * self.keeps_snapshots


def recurrent_facts(
    architecture: str, number: Callable[[str], int], embedding: int, kv_heads: Sequence[int], widths: Sequence[int]
) -> RecurrentFacts | None:
    """Return what recurrent layers there are; None for a model that has none.

    ``number`` gives one of the architecture's own metadata values, 0 where there is none; ``kv_heads`` and ``widths``
    are the attention heads and the feed-forward widths of each layer.
    """
    state, activations = _sizes(number, embedding)
    layers = _layers(architecture, number, kv_heads, widths)
    if not state or not any(layers):
        return None
    return RecurrentFacts(layers, state, activations, architecture in WITH_SNAPSHOTS)


def attention_heads(kv_heads: Sequence[int], architecture: str, recurrent: RecurrentFacts | None) -> tuple[int, ...]:
    """Key and value heads of each layer, 0 for those that have no attention whatever the file says."""
    if recurrent is None or architecture in PARALLEL:
        return tuple(kv_heads)
    pairs = zip(kv_heads, recurrent.layers, strict=True)
    return tuple(0 if is_recurrent else heads for heads, is_recurrent in pairs)


def _sizes(number: Callable[[str], int], embedding: int) -> tuple[int, int]:
    if head := number("wkv.head_size"):
        shifts = number("token_shift_count") or 2
        return shifts * embedding + embedding * head, _RWKV_ACTIVATIONS * embedding
    if conv := number("shortconv.l_cache"):
        return embedding * (conv - 1), 6 * embedding
    if head := number("kda.head_dim"):
        inner = number("attention.head_count") * head
        return 3 * (max(1, number("ssm.conv_kernel")) - 1) * inner + head * inner, 16 * inner
    inner, states = number("ssm.inner_size"), number("ssm.state_size")
    channels = inner + 2 * number("ssm.group_count") * states
    conv = max(0, number("ssm.conv_kernel") - 1)
    return conv * channels + states * inner, 3 * inner + 4 * channels


def _layers(
    architecture: str, number: Callable[[str], int], kv_heads: Sequence[int], widths: Sequence[int]
) -> tuple[bool, ...]:
    count = len(kv_heads)
    if architecture in PURE | PARALLEL:
        return (True,) * count
    if architecture in INTERVALS:
        interval = number("full_attention_interval") or 4
        blocks = count - number("nextn_predict_layers")
        return tuple(layer < blocks and (layer + 1) % interval != 0 for layer in range(count))
    # Nemotron-H has layers that are feed-forward and nothing else.
    alone = architecture.startswith("nemotron_h")
    pairs = zip(kv_heads, widths, strict=True)
    return tuple(not heads and not (alone and width) for heads, width in pairs)
