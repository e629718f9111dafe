"""From a machine and a model to settings, each with its reason.

`plan` is a pure function: the same machine, models and wishes give the same plan. What the user set is kept and
checked, never changed. `step_down` gives the next smaller plan when loading shows that an estimate was too small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from exsa_lab.config import EngineConfig, did_you_mean
from exsa_lab.errors import ConfigError, OutOfMemory
from exsa_lab.hardware import Hardware
from exsa_lab.models.gguf_facts import GGUFFacts
from exsa_lab.models.memory import GIB, GPU_MARGIN, Memory, copied_weight_bytes, device_memory, estimate, fitting_states

__all__ = [
    "Memory",
    "Plan",
    "PlannedSetting",
    "estimate",
    "plan",
    "step_down",
]

HOST_MARGIN = GIB // 4
CONTEXTS = (8192, 4096, 2048, 1024, 512)
GPU_THREADS = 2
"""CPU threads where all layers are on a GPU: waking more for one lookup makes a step longer (16 instead of 2 threads:
1.19 instead of 1.08 ms for the default target on an H100)."""
STATES_SHARE = 1 / 8
"""Most of the memory that the states of recurrent layers may take."""
SMALL_STEP = 63
"""From 64 tokens on llama.cpp's flash attention on the CPU takes another kernel, whose rounding differs: a prompt
computed beside others then gives other logits than alone. Below, they are equal bit for bit."""
SINGLE_TEXT = {"n_seq_max": 1, "prefix_cache_tokens": 0, "reproducible": False}
"""Settings of models of which one text at a time may lie in a cache."""
WHY_SINGLE_TEXT = "llama.cpp mixes texts of this architecture up where they share a cache"
PREFERRED_CONTEXT = 4096
"""A GPU that holds all layers is worth a context cut to this, but no further."""


@dataclass(frozen=True, slots=True)
class PlannedSetting:
    """One setting and why it has its value."""

    name: str
    value: Any
    reason: str
    by_user: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings for one engine, the reason for each, and what they will take."""

    config: EngineConfig
    choices: tuple[PlannedSetting, ...]
    memory: Memory
    warnings: tuple[str, ...] = ()

    def reason(self, name: str) -> str:
        """Return why a setting has its value."""
        return next(choice.reason for choice in self.choices if choice.name == name)


def plan(
    hardware: Hardware,
    target: GGUFFacts,
    draft: GGUFFacts | None = None,
    wishes: Mapping[str, Any] | None = None,
) -> Plan:
    """Choose an `EngineConfig` for these models on this machine.

    ``wishes`` are `EngineConfig` fields the user has set. Raises ConfigError for an unknown or impossible wish,
    OutOfMemory when the wishes cannot fit, or when not even the smallest context does.

    Example: ``plan(detect(), read_facts("model.gguf")).config``.
    """
    return _Planner(hardware, target, draft, dict(wishes or {})).plan()


def step_down(
    failed: Plan, hardware: Hardware, target: GGUFFacts, draft: GGUFFacts | None, wishes: Mapping[str, Any]
) -> Plan | None:
    """Return the next smaller plan after ``failed`` did not fit, None when only the user's own settings are left.

    First a quarter of the layers leaves the GPU, then the context is halved. The reason says so.
    """
    config, layers = failed.config, target.layers
    if config.n_gpu_layers and "n_gpu_layers" not in wishes:
        now = layers + 1 if config.n_gpu_layers < 0 else config.n_gpu_layers
        fewer = max(0, now - max(1, layers // 4))
        why = f"{now} layers did not fit on the GPU when loaded"
        return _adjusted(failed, hardware, target, draft, n_gpu_layers=(fewer, why))
    if config.n_ctx > CONTEXTS[-1] and "n_ctx" not in wishes:
        why = f"a context of {config.n_ctx:,} did not fit when loaded"
        return _adjusted(failed, hardware, target, draft, n_ctx=(max(CONTEXTS[-1], config.n_ctx // 2), why))
    return None


def _adjusted(
    failed: Plan, hardware: Hardware, target: GGUFFacts, draft: GGUFFacts | None, **changes: tuple[Any, str]
) -> Plan:
    config = replace(failed.config, **{name: value for name, (value, _) in changes.items()})
    choices = tuple(
        replace(choice, value=changes[choice.name][0], reason=changes[choice.name][1])
        if choice.name in changes
        else choice
        for choice in failed.choices
    )
    warnings = tuple(f"{name} is {value}: {why}." for name, (value, why) in changes.items())
    return Plan(config, choices, estimate(hardware, target, draft, config), failed.warnings + warnings)


class _Planner:
    """Collects choices; wishes come first, then each method fills what is left."""

    def __init__(self, hardware: Hardware, target: GGUFFacts, draft: GGUFFacts | None, wishes: dict[str, Any]) -> None:
        self.hardware, self.target, self.draft, self.wishes = hardware, target, draft, wishes
        _check_names(wishes)
        self.config = EngineConfig(**wishes)  # Refuses impossible values before anything is decided.
        self.choices = {
            name: PlannedSetting(name, getattr(self.config, name), "set by you", by_user=True) for name in wishes
        }
        self.warnings: list[str] = []
        self.can_use_gpu = hardware.can_offload and bool(hardware.gpus)
        self.is_single_text = any(facts.takes_one_text for facts in (target, draft) if facts is not None)

    def plan(self) -> Plan:
        self._check_wishes()
        self._choose_threads()
        self._choose(
            "flash_attention", self.config.flash_attention, "faster, and batched logits stay close to single ones"
        )
        self._choose_sequences()
        self._choose_states()
        self._choose_batches()
        self._choose_memory()
        memory = self._estimate()
        self._check_fit(memory)
        return Plan(self.config, tuple(self.choices.values()), memory, tuple(self.warnings))

    def _choose(self, name: str, value: Any, reason: str) -> None:
        if name not in self.wishes:
            self.config = replace(self.config, **{name: value})
            self.choices[name] = PlannedSetting(name, value, reason)

    def _estimate(self, **changes: Any) -> Memory:
        """Estimate with other settings, except those the user has set."""
        changes = {name: value for name, value in changes.items() if name not in self.wishes}
        return estimate(self.hardware, self.target, self.draft, replace(self.config, **changes))

    def _check_wishes(self) -> None:
        layers = self.wishes.get("n_gpu_layers") or self.wishes.get("draft_gpu_layers")
        if layers and not self.hardware.can_offload:
            raise ConfigError(
                f"{layers} GPU layers are asked for, but this build of llama.cpp cannot use a GPU.",
                hint="Leave it out, or see %exsa_doctor for how to get a build that can.",
            )
        if "n_ctx" in self.wishes and self.config.n_ctx > self.target.context_limit:
            self.warnings.append(
                f"n_ctx is {self.config.n_ctx:,} and {self.target.name} was trained for {self.target.context_limit:,}"
                " tokens: keep each single text below that."
            )
        for name, only in SINGLE_TEXT.items() if self.is_single_text else ():
            if self.wishes.get(name, only) != only:
                raise ConfigError(f"{name} can only be {only} here: {WHY_SINGLE_TEXT}.", hint="Leave it out.")
        if self.config.kv_type in ("q8_0", "q4_0") and not self.config.flash_attention:
            raise ConfigError(f"kv_type {self.config.kv_type!r} needs flash_attention=True.", hint="Use kv_type='f16'.")

    # Speed

    def _choose_threads(self) -> None:
        threads, machine = self.hardware.usable_threads, self.hardware
        reason = f"one per core this process may use ({threads} of {machine.logical_cores} logical)"
        if machine.cpu_quota is not None and threads < machine.affinity_cores:
            reason = f"the container may use {machine.cpu_quota:g} cores"
        if machine.measured_threads is not None:
            threads = machine.measured_threads
            others = [str(count) for count in sorted(machine.thread_counts) if count != threads]
            were = "thread was" if others == ["1"] else "threads were"
            reason = f"measured here: {' and '.join(others)} {were} not faster"
        self._choose("n_threads", threads, reason)

    def _choose_sequences(self) -> None:
        free = device_memory(self.hardware) or 0
        most = min(self.config.n_batch, self.config.step_tokens)  # Every sequence needs a token in each step.
        if self.is_single_text:
            self._choose("n_seq_max", 1, WHY_SINGLE_TEXT)
        elif self.can_use_gpu and free >= 16 * GIB:
            self._choose("n_seq_max", min(32, most), "a GPU of this size decodes 32 sequences for little more than one")
        else:
            self._choose("n_seq_max", min(16, most), "beyond 16 sequences throughput grows little on such a machine")

    def _choose_states(self) -> None:
        """Keep the states of recurrent layers within a share of memory: fewer sequences first, then shorter drafts."""
        recurrent = self.target.recurrent
        if recurrent is None:
            return
        available = device_memory(self.hardware) if self.can_use_gpu else self.hardware.available_memory
        budget = (available or 8 * GIB) * STATES_SHARE
        may_shrink = "n_seq_max" not in self.wishes
        fitting = fitting_states(self.target, self.config, budget, may_shrink=may_shrink)
        each = recurrent.bytes_per_sequence(fitting.n_rs_seq)
        reason = f"each sequence keeps a state of {_size(recurrent.bytes_per_sequence(0))}"
        if fitting.n_seq_max < self.config.n_seq_max:
            self._choose("n_seq_max", fitting.n_seq_max, f"{reason}, {_size(each)} with its snapshots")
        why = "the longest draft: a snapshot of the state for each of its tokens"
        if not recurrent.keeps_snapshots:
            why = "llama.cpp grants none to this model"
        elif self.target.has_window:
            why = "nothing tells whether a sliding window can go back"
        self._choose("n_rs_seq", fitting.n_rs_seq, why)
        self._choose("cached_states", fitting.cached_states, f"kept for prompts that begin alike: {reason}")

    def _choose_batches(self) -> None:
        free = device_memory(self.hardware) or 0
        is_large = self.can_use_gpu and free >= 12 * GIB
        small_step, why = SMALL_STEP, "above, a CPU computes a token otherwise than alone"
        ubatch, reason = 512, "larger ones are no faster here"
        if self.can_use_gpu:
            small_step, why = 0, "on a GPU every size of a step rounds otherwise"
        if is_large:
            ubatch, reason = 1024, "more tokens at once keep a large GPU busy"
        elif self.config.reproducible and not self.can_use_gpu:
            ubatch, reason = SMALL_STEP, "reproducible: the same kernel for every token"
        self._choose("small_step", small_step, why)
        self._choose(
            "n_batch",
            max(2048, self.config.n_ubatch if "n_ubatch" in self.wishes else 0),
            "several micro-batches per call",
        )
        self._choose("n_ubatch", min(ubatch, self.config.n_batch), reason)
        if is_large:
            self._choose("step_tokens", max(self.config.n_ubatch, self.config.n_seq_max), "one micro-batch per step")

    # Memory

    def _choose_memory(self) -> None:
        """Place both models: the largest context whose layers all fit on the GPU, else the largest that fits at all."""
        if self.can_use_gpu:
            for n_ctx, kv_type in self._contexts(PREFERRED_CONTEXT):
                if self._fits_device(n_ctx, kv_type, -1, -1):
                    self._settle_context(n_ctx, kv_type, "the GPU's memory")
                    return self._settle_layers(-1, -1, "all layers fit on the GPU")
        for n_ctx, kv_type in self._contexts(0):
            layers, draft_layers, reason = self._partial_layers(n_ctx, kv_type)
            if self._fits_host(n_ctx, kv_type, layers, draft_layers):
                self._settle_context(n_ctx, kv_type, "main memory")
                return self._settle_layers(layers, draft_layers, reason)
        raise self._out_of_memory()

    def _contexts(self, least: int) -> Iterator[tuple[int, str]]:
        """Contexts and KV types from the best down; the user's own are the only ones where given."""
        limit = self.target.context_limit
        sizes = (
            (self.config.n_ctx,)
            if "n_ctx" in self.wishes
            else tuple(dict.fromkeys(min(size, limit) for size in CONTEXTS))
        )
        sizes = tuple(size for size in sizes if size >= min(least, sizes[0]))
        models = [facts for facts in (self.target, self.draft) if facts is not None]
        whole_blocks = all(facts.key_length % 32 == facts.value_length % 32 == 0 for facts in models)
        can_quantise = self.config.flash_attention and whole_blocks
        for size in sizes:
            if "kv_type" in self.wishes:
                yield size, self.config.kv_type
                continue
            if size >= PREFERRED_CONTEXT or size == sizes[0] or not can_quantise:
                yield size, "f16"
            if can_quantise and size <= PREFERRED_CONTEXT:
                yield size, "q8_0"

    def _fits_device(self, n_ctx: int, kv_type: str, layers: int, draft_layers: int) -> bool:
        """Whether this many layers fit; where free memory is unknown they are tried."""
        free = device_memory(self.hardware)
        memory = self._estimate(n_ctx=n_ctx, kv_type=kv_type, n_gpu_layers=layers, draft_gpu_layers=draft_layers)
        margin = GPU_MARGIN * len(self.hardware.gpus)
        return (free is None or memory.device <= free - margin) and self._fits_host(
            n_ctx, kv_type, layers, draft_layers
        )

    def _partial_layers(self, n_ctx: int, kv_type: str) -> tuple[int, int, str]:
        if not self.can_use_gpu:
            return 0, 0, self._why_no_gpu()
        if "n_gpu_layers" in self.wishes:
            return self.config.n_gpu_layers, -1 if self.config.n_gpu_layers else 0, ""
        draft_layers = -1 if self.draft is not None and self._fits_device(n_ctx, kv_type, 0, -1) else 0
        for layers in range(self.target.layers, 0, -1):
            if self._fits_device(n_ctx, kv_type, layers, draft_layers):
                return layers, draft_layers, f"as many of {self.target.layers} layers as fit beside the cache"
        return 0, draft_layers, "not one layer fits on the GPU beside the cache"

    def _why_no_gpu(self) -> str:
        if not self.hardware.gpus:
            return "this machine has no GPU that llama.cpp could use"
        return "this build of llama.cpp cannot use the GPU (see %exsa_doctor for one that can)"

    def _fits_host(self, n_ctx: int, kv_type: str, layers: int, draft_layers: int) -> bool:
        available = self.hardware.available_memory
        if not available:
            return True  # Unknown: loading will tell.
        memory = self._estimate(n_ctx=n_ctx, kv_type=kv_type, n_gpu_layers=layers, draft_gpu_layers=draft_layers)
        return memory.host_cache + self._copied_weights(layers) <= available - HOST_MARGIN

    def _copied_weights(self, layers: int) -> int:
        """Weights that llama.cpp copies for its CPU kernels; mapped ones are not counted, the system can drop them."""
        share = 0.0 if layers < 0 else max(0, self.target.layers - layers) / self.target.layers
        return round(copied_weight_bytes(self.target) * share)

    def _settle_context(self, n_ctx: int, kv_type: str, short_of: str) -> None:
        limit = self.target.context_limit
        reason = (
            f"the model was trained for {limit:,} tokens"
            if n_ctx == limit <= CONTEXTS[0]
            else "room for several conversations"
        )
        if n_ctx < min(CONTEXTS[0], limit):
            reason = f"lowered from {min(CONTEXTS[0], limit):,}: {short_of} holds no more"
        self._choose("n_ctx", n_ctx, reason)
        self._choose("kv_type", kv_type, "exact" if kv_type == "f16" else f"half the memory: {short_of} is short")
        if self.config.n_ctx < 64 * self.config.n_seq_max:
            self._choose(
                "n_seq_max", max(1, self.config.n_ctx // 64), f"a context of {self.config.n_ctx:,} has no room for more"
            )
        if self.is_single_text:
            self._choose("prefix_cache_tokens", 0, WHY_SINGLE_TEXT)
        elif self.config.reproducible:
            self._choose("prefix_cache_tokens", self.config.n_ctx, "reproducible: cells are kept until nobody decodes")
            self._choose("fast_cells", 0, "reproducible: cells are kept until nobody decodes")
        elif self.can_use_gpu:
            self._choose("prefix_cache_tokens", min(2048, self.config.n_ctx // 4), "kept for prompts that begin alike")
            self._choose("fast_cells", 0, "cells in use cost a GPU next to nothing")
        else:
            self._choose(
                "prefix_cache_tokens",
                min(512, self.config.n_ctx // 4),
                "kept for prompts that begin alike, beside the newest; more would slow every step",
            )

    def _settle_layers(self, layers: int, draft_layers: int, reason: str) -> None:
        if layers and device_memory(self.hardware) is None and "n_gpu_layers" not in self.wishes:
            reason = "free GPU memory is unknown: all layers are tried"
        self._choose("n_gpu_layers", layers, reason)
        if self.config.n_gpu_layers < 0:
            self._choose("n_threads", min(GPU_THREADS, self.config.n_threads), "all layers are on the GPU")
        why = "the draft is small and runs most often" if draft_layers else "drafts where the target runs"
        self._choose(
            "draft_gpu_layers",
            draft_layers if self.draft is not None else 0,
            why if self.draft is not None else "no draft",
        )

    def _check_fit(self, memory: Memory) -> None:
        free = device_memory(self.hardware)
        if free is not None and memory.device > free:
            raise OutOfMemory(
                f"the layers on the GPU take about {_size(memory.device)} and it has {_size(free)} free.",
                hint="Leave n_gpu_layers out, and as many as fit are used.",
            )
        available = self.hardware.available_memory
        if available and memory.host > available:
            self.warnings.append(
                f"weights and cache take about {_size(memory.host)} and {_size(available)} are free: parts are read"
                " from disk again and again; a smaller model will be much faster."
            )

    def _out_of_memory(self) -> OutOfMemory:
        n_ctx = self.config.n_ctx if "n_ctx" in self.wishes else CONTEXTS[-1]
        memory = self._estimate(n_ctx=n_ctx)
        needed = _size(memory.host_cache + self._copied_weights(self.config.n_gpu_layers))
        return OutOfMemory(
            f"a context of {n_ctx:,} tokens takes about {needed} and {_size(self.hardware.available_memory)} are free.",
            hint="Ask for a smaller n_ctx or n_seq_max, or choose a smaller model.",
        )


def _check_names(wishes: Mapping[str, Any]) -> None:
    names = [field.name for field in fields(EngineConfig)]
    for name in wishes:
        if name not in names:
            raise ConfigError(
                f"unknown engine setting {name!r}.",
                hint=did_you_mean(name, names).strip() or f"Known: {', '.join(names)}.",
            )


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / (1 << 20):.0f} MiB"
