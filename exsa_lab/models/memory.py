"""How much memory a model takes while it runs, estimated from its facts.

KV cache and buffers were compared with the sizes llama.cpp logs (0.3.36, CPU): the default pair with 512 and 8192
cells, f16 and q8_0, micro-batches of 63 and 512, 8 to 64 sequences, and the shapes in `tests/test_planner.py`. Caches,
states and output buffer were right to the byte, compute buffers within 5 % (of recurrent models mostly, see
`exsa_lab.models.recurrent`). A process that has the default pair loaded takes some 45 MiB more
than that and the weights: 27 of them are the two vocabularies (about 300 bytes a token), the rest is Python's; the
planner's margin is there for these. The engine still loads, sees whether it fits, and steps down if it does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from exsa_lab.config import MAX_DRAFT_LENGTH, EngineConfig
from exsa_lab.hardware import Hardware
from exsa_lab.models.gguf_facts import GGUFFacts
from exsa_lab.models.recurrent import FLOAT

GIB = 1 << 30
GPU_MARGIN = GIB
"""Left free on each GPU for the driver's context and other programs (llama.cpp's own fit leaves as much)."""
SLOTS_PER_SEQUENCE = 4
"""Slots for each sequence that can run at once. As long as there are empty ones, nothing in the cache has to be cleared
in the midst of others' work; each takes one row of logits."""
MAX_SLOTS = 255
"""llama.cpp knows 256 sequences, and one is kept apart."""
STATE_SIZES = ((32, 8), (16, 8), (8, 8), (4, 8), (4, 4), (2, 4), (1, 4), (1, 2), (1, 1), (1, 0))
"""Sequences that run at once and snapshots of the recurrent state of each, from the best down."""
REPACKED = frozenset({"Q4_0", "Q4_K", "Q2_K", "IQ4_NL", "MXFP4", "Q5_K", "Q6_K"})
"""Types llama.cpp rearranges for its CPU kernels: these are copied, where others stay mapped from the file."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Estimated bytes of one plan at full context, of target and draft together."""

    host_weights: int
    host_cache: int
    """KV cache and compute buffers in main memory: unlike mapped weights they cannot be dropped and read again."""
    device_weights: int
    device_cache: int
    host_available: int
    device_available: int | None
    """Free memory of the GPUs together, None where it is unknown or there is none."""

    @property
    def host(self) -> int:
        return self.host_weights + self.host_cache

    @property
    def device(self) -> int:
        return self.device_weights + self.device_cache


def kv_bytes(facts: GGUFFacts, n_ctx: int, kv_type: str = "f16", layers: int | None = None) -> int:
    """Bytes of the KV cache: ``n_ctx * kv_bytes_per_token``, or the share of the last ``layers`` layers."""
    numbers = facts.kv_numbers
    share = 1.0 if layers is None or not any(numbers) else sum(numbers[facts.layers - layers :]) / sum(numbers)
    return round(n_ctx * facts.kv_bytes_per_token(kv_type) * share)


def num_slots(config: EngineConfig, *, is_recurrent: bool) -> int:
    """Slots of the target's cache: beside those that run, some that keep what prompts may begin with."""
    if config.n_seq_max == 1 and not config.prefix_cache_tokens:
        return 1  # one text at a time, and nothing of another beside it
    wanted = config.n_seq_max + config.cached_states if is_recurrent else SLOTS_PER_SEQUENCE * config.n_seq_max
    return min(wanted, MAX_SLOTS)


def target_slots(config: EngineConfig, n_slots: int) -> int:
    """Slots of the target's context: one more where a lone token may need a companion, see `exsa_lab.engine.loop`."""
    return n_slots + config.reproducible


def draft_slots(config: EngineConfig, n_slots: int, *, is_recurrent: bool) -> int:
    """Slots of the draft's context: those of the target, and spare ones in which a recurrent draft drafts."""
    return n_slots + config.n_seq_max * is_recurrent


def state_bytes(facts: GGUFFacts, slots: int, n_rs_seq: int, layers: int | None = None) -> int:
    """Bytes of the recurrent states of all slots, with their snapshots; of the last ``layers`` layers, where given."""
    return 0 if facts.recurrent is None else slots * facts.recurrent.bytes_per_sequence(n_rs_seq, layers)


def fitting_states(facts: GGUFFacts, config: EngineConfig, budget: float, *, may_shrink: bool) -> EngineConfig:
    """Return the settings with the first of `STATE_SIZES` whose states take ``budget`` bytes at most, or with the last.

    Without ``may_shrink`` the sequences stay as many as they are.
    """
    for sequences, snapshots in STATE_SIZES:
        sequences = min(sequences, config.n_seq_max) if may_shrink else config.n_seq_max
        snapshots = 0 if facts.has_window else snapshots
        changed = replace(config, n_seq_max=sequences, n_rs_seq=snapshots, cached_states=min(4, sequences))
        slots = target_slots(changed, num_slots(changed, is_recurrent=True))
        if state_bytes(facts, slots, snapshots) <= budget:
            break
    return changed


def output_rows(n_ubatch: int, n_seq_max: int) -> int:
    """Rows of logits one micro-batch may ask for: one per sequence and draft token, as the runtime reserves them."""
    return min(n_ubatch, max(64, n_seq_max * (1 + MAX_DRAFT_LENGTH)))


def compute_bytes(
    facts: GGUFFacts,
    n_ctx: int,
    n_ubatch: int,
    n_seq_max: int,
    *,
    flash_attention: bool = True,
    slots: int = 0,
    n_rs_seq: int = 0,
) -> int:
    """Bytes of llama.cpp's compute buffer: the larger of two moments of one micro-batch of u tokens.

    Inside a layer: ``u * (3 * feed_forward + 4 * embedding) * 4`` for activations (or what a recurrent layer needs),
    ``n_ctx * u * 2`` for the attention mask, two of them where some layers have a sliding window, and without flash
    attention ``heads * n_ctx * u * 4`` for the scores. A recurrent layer has its new states there too, of
    ``slots`` sequences with ``n_rs_seq`` snapshots each.
    At the output, for r rows: ``r * vocabulary * 4 + (r + u) * embedding * 4``.
    """
    rows = output_rows(n_ubatch, n_seq_max)
    inside = n_ubatch * (3 * facts.feed_forward + 4 * facts.embedding)
    masks = (1 + facts.has_window) * any(facts.kv_heads)
    if facts.recurrent is not None:
        inside = max(inside, facts.recurrent.numbers_computed(slots, n_rs_seq, n_ubatch))
    inside = inside * FLOAT + masks * n_ctx * n_ubatch * 2
    if not flash_attention:
        inside += facts.heads * n_ctx * n_ubatch * FLOAT
    outside = rows * facts.vocabulary.size * FLOAT + (rows + n_ubatch) * facts.embedding * FLOAT
    return max(inside, outside)


def output_bytes(facts: GGUFFacts, slots: int) -> int:
    """Bytes of llama.cpp's output buffer, always in main memory: a row of logits for each slot.

    It grows where a step asks for more rows, as when all sequences verify long drafts at once.
    """
    return slots * facts.vocabulary.size * FLOAT


def memory_usage(facts: GGUFFacts, gpu_layers: int, config: EngineConfig, slots: int) -> list[int]:
    """Bytes of one model: weights and cache in main memory, weights and cache on the GPU.

    ``slots`` is the number of sequences that its context can keep.
    """
    offloaded = facts.layers if gpu_layers < 0 else min(gpu_layers, facts.layers)
    has_output = gpu_layers < 0 or gpu_layers > facts.layers
    # llama.cpp fills the GPU from the last layer backwards; the output matrix counts as one more.
    device = sum(facts.layer_bytes[facts.layers - offloaded :]) + (facts.output_bytes if has_output else 0)
    device_kv = kv_bytes(facts, config.n_ctx, config.kv_type, offloaded)
    device_kv += state_bytes(facts, slots, config.n_rs_seq, offloaded)
    compute = compute_bytes(
        facts,
        config.n_ctx,
        config.n_ubatch,
        config.n_seq_max,
        flash_attention=config.flash_attention,
        slots=slots,
        n_rs_seq=config.n_rs_seq,
    )
    host_weights = sum(facts.layer_bytes[: facts.layers - offloaded]) + (
        facts.other_bytes - (facts.output_bytes if has_output and facts.has_own_output else 0)
    )
    host_cache = kv_bytes(facts, config.n_ctx, config.kv_type) - device_kv
    host_cache += state_bytes(facts, slots, config.n_rs_seq) + output_bytes(facts, slots)
    host_cache += compute if not offloaded else compute // 8
    return [host_weights, host_cache, device, device_kv + (compute if offloaded else 0)]


def copied_weight_bytes(facts: GGUFFacts) -> int:
    """Bytes of the weights that are copied into memory on CPU because their type is repacked."""
    return sum(size for name, size in facts.tensor_types.items() if name in REPACKED)


def estimate(hardware: Hardware, target: GGUFFacts, draft: GGUFFacts | None, config: EngineConfig) -> Memory:
    """Estimate the memory of target and draft under these settings."""
    n_slots = num_slots(config, is_recurrent=target.recurrent is not None)
    used = memory_usage(target, config.n_gpu_layers, config, target_slots(config, n_slots))
    if draft is not None:
        slots = draft_slots(config, n_slots, is_recurrent=draft.recurrent is not None)
        also = memory_usage(draft, config.draft_gpu_layers, replace(config, n_rs_seq=0), slots)
        used = [a + b for a, b in zip(used, also, strict=True)]
    return Memory(used[0], used[1], used[2], used[3], hardware.available_memory, device_memory(hardware))


def device_memory(hardware: Hardware) -> int | None:
    """Free bytes of all GPUs, None without GPUs, without a build that uses them, or where it is not known."""
    free = [gpu.free_memory for gpu in hardware.gpus if gpu.free_memory is not None]
    if not hardware.can_offload or not hardware.gpus or len(free) < len(hardware.gpus):
        return None
    return sum(free)
