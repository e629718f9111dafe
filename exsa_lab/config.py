"""What can be set: one engine, and one request. Frozen, validated, every field with its unit."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from exsa_lab.errors import ConfigError

DrafterName = Literal["auto", "model", "ngram", "none"]
DRAFTER_NAMES: tuple[str, ...] = get_args(DrafterName)

KVType = Literal["f16", "q8_0", "q4_0"]
KV_TYPES: tuple[str, ...] = get_args(KVType)

MAX_DRAFT_LENGTH = 16
"""Longest draft in tokens. Beyond it the batch of one sequence outgrows every measured gain."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one request is generated.

    Example: ``SamplingParams(max_tokens=64, temperature=0.8, seed=1)``.
    """

    max_tokens: int = 256
    """Most tokens to generate."""
    temperature: float = 0.0
    """0 is greedy; 1 is the model's own distribution."""
    top_k: int = 0
    """Keep the k most probable tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens whose probabilities sum to at least this (nucleus)."""
    min_p: float = 0.0
    """Drop tokens less probable than this fraction of the most probable one."""
    seed: int | None = None
    """Seed of the request's own random stream; None draws one (it is kept in the trace)."""
    stop: tuple[str, ...] = ()
    """Texts that end the generation; they are not part of the result."""
    chat: bool = True
    """Render the prompt with the model's chat template; False is raw completion."""
    system: str | None = None
    """System message, with ``chat=True`` only."""
    drafter: DrafterName = "auto"
    """Who proposes draft tokens."""
    draft_length: int | Literal["auto"] = "auto"
    """Draft tokens per round: "auto" measures what pays, 0 is plain decoding."""
    timeout: float | None = None
    """Seconds after which the generation is cancelled, its partial text kept; None waits forever."""

    def __post_init__(self) -> None:
        _check_int("max_tokens", self.max_tokens, 1, 1 << 24)
        _check_float("temperature", self.temperature, 0.0, 100.0)
        _check_int("top_k", self.top_k, 0, 1 << 24)
        _check_float("top_p", self.top_p, 0.0, 1.0)
        if self.top_p == 0.0:
            raise ConfigError("top_p is 0, which keeps no token.", hint="Use top_k=1 or temperature=0.")
        _check_float("min_p", self.min_p, 0.0, 1.0)
        if self.seed is not None:
            _check_int("seed", self.seed, 0, 2**64 - 1)
        if self.drafter not in DRAFTER_NAMES:
            raise ConfigError(
                f"drafter is {self.drafter!r}.",
                hint=f"It must be one of {', '.join(DRAFTER_NAMES)}.{did_you_mean(str(self.drafter), DRAFTER_NAMES)}",
            )
        if self.draft_length != "auto":
            _check_int("draft_length", self.draft_length, 0, MAX_DRAFT_LENGTH, extra=' or "auto"')
        if self.timeout is not None:
            _check_float("timeout", self.timeout, 0.0, math.inf)
        object.__setattr__(self, "stop", _as_stops(self.stop))
        if self.system is not None and not self.chat:
            raise ConfigError("system needs chat=True.", hint="Raw completion has no system message.")

    @classmethod
    def from_kwargs(cls, **params: Any) -> SamplingParams:
        """Build from keywords; an unknown one is an error with a suggestion."""
        names = [f.name for f in fields(cls)]
        for name in params:
            if name not in names:
                raise ConfigError(
                    f"unknown parameter {name!r}.",
                    hint=did_you_mean(name, names).strip() or f"Known: {', '.join(names)}.",
                )
        return cls(**params)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How one engine runs. The planner fills it; anything given by the user wins."""

    n_ctx: int = 8192
    """KV cells shared by all sequences, in tokens."""
    n_seq_max: int = 16
    """Sequences that run at once; the others wait."""
    n_batch: int = 2048
    """Most tokens handed to one llama_decode call."""
    n_ubatch: int = 512
    """Most tokens computed at once inside it."""
    step_tokens: int = 512
    """Token budget of one engine step (decode first, then prefill chunks)."""
    prefill_beside_decode: int = 0
    """Prefill tokens that may share a step with decoding sequences, up to ``small_step`` with them; 0 takes as many as
    steps that really ran allow."""
    small_step: int = 63
    """Most tokens of a step that several sequences share, while prompts are read; 0 sets no limit. llama.cpp's CPU
    attention takes another kernel from 64 tokens on, whose rounding differs: while nobody decodes, a prompt that has
    more than this left is read in larger steps of its own, as it would be without company."""
    n_threads: int = 0
    """CPU threads; 0 means one per usable core."""
    n_gpu_layers: int = 0
    """Layers of the target offloaded to the GPU; -1 means all."""
    draft_gpu_layers: int = 0
    """Layers of the draft offloaded to the GPU; -1 means all."""
    kv_type: KVType = "f16"
    """How the KV cache is stored: q8_0 takes half the memory of f16, q4_0 a quarter, both a little less exact."""
    flash_attention: bool = True
    """Keeps batched and single-token logits close to each other as well as being faster."""
    prefix_cache_tokens: int = 512
    """Cells of finished generations kept for prompts that begin alike once nobody runs, beyond the newest one's."""
    fast_cells: int = 256
    """Cells in use up to which a step is fastest: cached ones are given up for a short prompt that comes alone.
    llama.cpp's CPU attention takes another kernel from 257 cells on, which costs the default target 1.4 of 7.4 ms; 0 on
    a GPU, where it does not matter."""
    probabilities: bool | Literal["auto"] = "auto"
    """Record each token's probability under greedy decoding too, the target's and the draft's, which costs one pass
    over the logits per token; "auto" does it where somebody looks: while a view or a stream listens, and on a CPU,
    where it is little beside a step, in rounds that verify a draft."""
    reproducible: bool = False
    """Texts under temperature 0 do not depend, not even in near ties, on which other requests share their steps.
    The price on a CPU: drafts only for a request that is alone, finished requests keep their cells until nobody
    decodes, and a lone long text decodes slower; on a GPU: small batches are computed as eight tokens. A request that
    fails is the exception: its cells are given up at once."""
    max_waiting: int = 1024
    """Most generations that may wait for a slot before new ones are refused."""
    default_draft_length: int = 3
    """Draft length used by "auto" while nothing has been measured."""
    recalibrate: bool = False
    """Measure the cost of a step anew instead of taking it from the cache on disk."""

    def __post_init__(self) -> None:
        _check_int("n_ctx", self.n_ctx, 32, 1 << 24)
        _check_int("n_seq_max", self.n_seq_max, 1, 255)
        _check_int("n_batch", self.n_batch, 1, 1 << 20)
        _check_int("n_ubatch", self.n_ubatch, 1, 1 << 20)
        _check_int("step_tokens", self.step_tokens, 1, 1 << 20)
        _check_int("prefill_beside_decode", self.prefill_beside_decode, 0, 1 << 20)
        _check_int("small_step", self.small_step, 0, 1 << 20)
        _check_int("n_threads", self.n_threads, 0, 4096)
        _check_int("n_gpu_layers", self.n_gpu_layers, -1, 100_000)
        _check_int("draft_gpu_layers", self.draft_gpu_layers, -1, 100_000)
        if self.kv_type not in KV_TYPES:
            raise ConfigError(f"kv_type is {self.kv_type!r}.", hint=f"It must be one of {', '.join(KV_TYPES)}.")
        if not isinstance(self.reproducible, bool):
            raise ConfigError(f"reproducible is {self.reproducible!r}.", hint="It must be True or False.")
        if self.probabilities not in (True, False, "auto"):
            raise ConfigError(f"probabilities is {self.probabilities!r}.", hint='It must be True, False or "auto".')
        _check_int("fast_cells", self.fast_cells, 0, 1 << 24)
        _check_int("prefix_cache_tokens", self.prefix_cache_tokens, 0, 1 << 24)
        if min(self.n_batch, self.step_tokens) < self.n_seq_max:
            raise ConfigError(
                f"n_seq_max is {self.n_seq_max} but a step takes only {min(self.n_batch, self.step_tokens)} tokens.",
                hint="Every sequence needs one token per step: raise n_batch and step_tokens, or lower n_seq_max.",
            )
        _check_int("max_waiting", self.max_waiting, 1, 1 << 24)
        _check_int("default_draft_length", self.default_draft_length, 0, MAX_DRAFT_LENGTH)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def _check_int(name: str, value: object, low: int, high: int, *, extra: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}.", hint=f"It must be a whole number from {low} to {high}{extra}.")


def _check_float(name: str, value: object, low: float, high: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= float(value) <= high:  # type: ignore[arg-type]  # NaN fails the comparison
        raise ConfigError(f"{name} is {value!r}.", hint=f"It must be a number from {low:g} to {high:g}.")


def _as_stops(stop: object) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else stop
    if not isinstance(stops, Iterable):
        raise ConfigError(f"stop is {stop!r}.", hint="It must be a text or a list of texts.")
    stops = tuple(stops)
    if not all(isinstance(text, str) and text for text in stops):
        raise ConfigError(f"stop is {stop!r}.", hint="Every stop text must be a non-empty string.")
    return stops
