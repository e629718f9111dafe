"""What the recurrent layers of a model keep and need, from its metadata.

The formulas are those of llama.cpp's `llama-hparams.cpp` (0.3.36); what a layer needs while it computes was fitted to
the buffers that llama.cpp reports for the models of `tests/models` and for two to eight layers as wide as those of real
models (Mamba-2 2.7B, Codestral Mamba, RWKV-7 1.5B, ARWKV 7B, Kimi Linear, Ling 3, Qwen3.5 4B, Qwen3-Next, Granite 4,
Nemotron-H, Falcon-H1, Jamba, MiniMax-01; micro-batches of 63 and 512 tokens).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

PURE = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""Architectures without attention."""
INTERVALS = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4, "qwen4exp": 4, "minimax-01": 8}
"""Architectures of which every so many layers one is attention, where the file does not say which."""
PARALLEL = frozenset({"falcon-h1"})
"""Architectures of which each layer is both."""
LINEAR = frozenset({"minimax-01"})
"""Architectures whose recurrent layers are attention without softmax: a state of key by value for each head."""
WITH_SNAPSHOTS = frozenset(
    {"kimi-k3", "qwen35", "qwen35moe", "qwen4exp", "deepseek4", "glm5-next", "nemotron_h", "nemotron_h_moe"}
    | {"lfm2", "lfm2moe", "bailingmoe3"}
)
"""Architectures whose state llama.cpp can roll back (`llm_arch_supports_rs_rollback`)."""
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
    gathers: bool
    """Whether it computes from copies of the states; a scan (Mamba) reads them where they are."""
    pairs: int
    """Numbers it needs for each pair of tokens of a micro-batch."""
    keeps_snapshots: bool
    """Whether llama.cpp can roll the state back."""

    def bytes_per_sequence(self, n_rs_seq: int, layers: int | None = None) -> int:
        """Bytes of one sequence's state with its snapshots; of the last ``layers`` layers only, where given."""
        chosen = self.layers if layers is None else self.layers[len(self.layers) - layers :]
        return sum(chosen) * self.state * FLOAT * self.copies(n_rs_seq)

    def numbers_computed(self, slots: int, n_rs_seq: int, n_ubatch: int) -> int:
        """Numbers one layer needs while it computes a micro-batch.

        Of all slots it writes the new states with their snapshots, and may have gathered the old ones. What it needs
        for pairs of tokens is largest where all are of one sequence, whose state is then the only one.
        """
        states = slots * self.state * (self.copies(n_rs_seq) + self.gathers)
        return n_ubatch * self.activations + max(states, n_ubatch**2 * self.pairs)

    def copies(self, n_rs_seq: int) -> int:
        """The state itself and its snapshots."""
        return 1 + n_rs_seq * self.keeps_snapshots


def recurrent_facts(
    architecture: str,
    number: Callable[[str], int],
    embedding: int,
    kv_heads: Sequence[int],
    widths: Sequence[int],
    marked: Sequence[bool] = (),
) -> RecurrentFacts | None:
    """Return what recurrent layers there are; None for a model that has none.

    ``number`` gives one of the architecture's own metadata values, 0 where there is none; ``kv_heads`` and ``widths``
    are the attention heads and the feed-forward widths of each layer; ``marked`` says which layers are recurrent, ()
    where the file does not.
    """
    state, activations, gathers = _sizes(architecture, number, embedding)
    layers = _layers(architecture, number, kv_heads, widths, marked)
    if not state or not any(layers):
        return None
    # How much a token has decayed for each later one: as an input, scaled, and times their product.
    pairs = 3 * number("attention.head_count") if architecture in LINEAR else 0
    return RecurrentFacts(layers, state, activations, gathers, pairs, architecture in WITH_SNAPSHOTS)


def attention_heads(kv_heads: Sequence[int], architecture: str, recurrent: RecurrentFacts | None) -> tuple[int, ...]:
    """Key and value heads of each layer, 0 for those that have no attention whatever the file says."""
    if recurrent is None or architecture in PARALLEL:
        return tuple(kv_heads)
    pairs = zip(kv_heads, recurrent.layers, strict=True)
    return tuple(0 if is_recurrent else heads for heads, is_recurrent in pairs)


def _sizes(architecture: str, number: Callable[[str], int], embedding: int) -> tuple[int, int, bool]:
    """Numbers of one layer's state and of its activations for a token, and whether it gathers the states."""
    if head := number("wkv.head_size"):
        shifts = number("token_shift_count") or 2
        return shifts * embedding + embedding * head, (12 + 2 * shifts) * embedding, True
    if conv := number("shortconv.l_cache"):
        return embedding * (conv - 1), 6 * embedding, False
    if head := number("kda.head_dim"):
        inner = number("attention.head_count") * head
        return 3 * (max(1, number("ssm.conv_kernel")) - 1) * inner + head * inner, 9 * inner, True
    if architecture in LINEAR:
        heads = number("attention.head_count")
        head = number("attention.key_length") or embedding // max(heads, 1)
        return heads * head * head, 7 * heads * head, True
    inner, states = number("ssm.inner_size"), number("ssm.state_size")
    channels = inner + 2 * number("ssm.group_count") * states
    state = max(0, number("ssm.conv_kernel") - 1) * channels + states * inner
    is_delta_net = architecture in INTERVALS
    return state, inner + 3 * channels if is_delta_net else 7 * inner // 2 + 3 * channels, is_delta_net


def _layers(
    architecture: str,
    number: Callable[[str], int],
    kv_heads: Sequence[int],
    widths: Sequence[int],
    marked: Sequence[bool],
) -> tuple[bool, ...]:
    count = len(kv_heads)
    if architecture in PURE | PARALLEL:
        return (True,) * count
    if architecture in INTERVALS:
        interval = number("full_attention_interval") or INTERVALS[architecture]
        marked = marked or [(layer + 1) % interval != 0 for layer in range(count)]
        blocks = count - number("nextn_predict_layers")
        return tuple(layer < blocks and marked[layer] for layer in range(count))
    # Nemotron-H has layers that are feed-forward and nothing else.
    alone = architecture.startswith("nemotron_h")
    pairs = zip(kv_heads, widths, strict=True)
    return tuple(not heads and not (alone and width) for heads, width in pairs)
