"""What the engine needs of a model runtime. llama.cpp implements it, and so does the scripted fake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import EngineConfig

ProgressCallback = Callable[[float], bool]
"""Called with the fraction loaded, 0..1; return False to stop loading."""

NAME_KEY = "exsa_lab.name"
"""Metadata of a model file that exsa_lab made: the name to show in place of the file's."""

Logits = NDArray[np.float32]

State = NDArray[np.uint8]
"""What `Context.save` keeps of a slot."""

MIN_OUTPUTS = 64
"""Rows of logits any context can give in one decode, unless its batch is smaller."""

UNLIMITED = 1 << 30
"""`Context.max_rollback` of attention: any number of tokens can be taken back."""


@dataclass(frozen=True, slots=True)
class Window:
    """The tokens before it that a token attends to in some layers: the last ones, or those of its chunk."""

    size: int
    is_chunked: bool = False

    def start(self, position: int) -> int:
        """Return the first position that the token at ``position`` looks back at."""
        return position // self.size * self.size if self.is_chunked else max(0, position - self.size + 1)

    def is_whole(self, first_whole: int, position: int) -> bool:
        """Whether all that the token at ``position`` looks back at is there, by what `Context.first_whole` says."""
        return 0 <= first_whole <= self.start(position)


class Batch(Protocol):
    """Tokens of several sequences for one decode, filled in order."""

    num_tokens: int
    num_outputs: int

    def clear(self) -> None: ...

    def add(self, tokens: list[int], position: int, slot: int, outputs: int) -> int:
        """Append consecutive tokens of one sequence; the last ``outputs`` of them get logits.

        Returns the first output row of this entry: rows are numbered in the order they were added.
        """


class Context(Protocol):
    """A KV cache and the means to decode into it."""

    n_ctx: int
    n_seq_max: int
    n_batch: int
    max_position: int
    """Tokens a slot can hold: fewer than ``n_ctx`` where the model learned an embedding for each position."""
    max_rollback: int
    """Most tokens that `remove` can take off the end of a slot. Attention keeps a cell for each token: `UNLIMITED`.
    Recurrent and hybrid memory keeps one state for all tokens of a slot, and in some architectures snapshots of it: so
    many tokens of the slot's last decode but the first, once until its next decode; 0 where there are none. Where it is
    limited, a copy or a saved state is that of the whole slot."""
    saves_whole_slots: bool
    """Whether a saved state needs nothing beside it; False where the cells of attention layers must be there too."""
    window: Window | None
    """What layers with a sliding window look back at; None where there are none."""
    is_asynchronous: bool
    """Whether `submit` returns while the device still computes, so that other work fits in before `collect`."""

    steps_until_usual: int
    """Batches of a new shape that pass until one takes its usual time; 0 where shapes do not matter."""

    def new_batch(self) -> Batch: ...

    def submit(self, batch: Batch) -> None:
        """Begin to compute the batch; where the context is not asynchronous, it is computed when this returns.

        The batch may be filled anew afterwards, and cells may be removed or copied. Raises OutOfMemory when no KV cells
        are free (nothing has changed then), DecodeAborted after `abort`, DecodeError otherwise. After the latter two
        the cells of the batch are stale; where `max_rollback` is limited, every slot is.
        """

    def collect(self) -> Logits:
        """Wait for the batch submitted last; returns a view (num_outputs, vocab_size), valid until the next `submit`.

        Raises DecodeAborted and DecodeError where only now it turns out.
        """

    def decode(self, batch: Batch) -> Logits:
        """`submit` and `collect`: compute the batch and wait for it."""

    def abort(self) -> None:
        """Ask the running decode, or the next one, to stop soon; safe from any thread."""

    def clear_abort(self) -> None:
        """Forget an `abort` that came too late to stop anything."""

    def remove(self, slot: int, start: int, end: int = -1) -> bool:
        """Drop positions [start, end) of a slot (-1: to the end); False where the memory cannot, see `max_rollback`."""

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        """Share positions [start, end) of one slot with another.

        Where `max_rollback` is limited, the target's state is then the source's, at the source's end: unless that is
        ``end``, a state must be restored next; so it must where a roll-back of the source is pending.
        """

    def first_whole(self, slot: int) -> int:
        """The first position from which every layer still has all cells of a slot; negative where one has none.

        Where there is a `window`, cells outside that of the slot's last token may have been given to others.
        """

    def save(self, slot: int) -> State:
        """Copy the state of a slot out of the memory, where `max_rollback` is limited; raises DecodeError."""

    def restore(self, slot: int, state: State, length: int) -> None:
        """Put a saved state of ``length`` tokens back, and drop the cells beyond; raises DecodeError where it fails.

        Unless `saves_whole_slots`, the slot must hold the cells of these tokens.
        """

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """A token that is found in a text by its spelling, before the rest is tokenized."""

    id: int
    text: str
    is_control: bool
    """False: user-defined, which is found in any text."""
    strips_left: bool = False
    """Blanks before it are dropped."""
    strips_right: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TokenRules:
    """What a vocabulary says about prompts and ends. Compared by identity: each model has one."""

    bos: int | None = None
    eos: int | None = None
    adds_bos: bool = False
    """Whether a prompt is to begin with ``bos``."""
    specials: tuple[SpecialToken, ...] = ()
    ends: tuple[int, ...] = ()
    """Tokens that end a generation."""
    suppressed: tuple[int, ...] = ()
    """Tokens that are never to be generated."""


class Model(Protocol):
    """Weights and vocabulary."""

    name: str
    vocab_size: int
    n_ctx_train: int

    @property
    def chat_template(self) -> str | None:
        """The source of the model's own chat template."""

    @property
    def token_rules(self) -> TokenRules: ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]: ...

    def token_bytes(self, token: int) -> bytes:
        """The token's text as raw bytes; empty for control tokens."""

    def token_label(self, token: int) -> str:
        """The token's text for display, control tokens by their name."""

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation."""

    def open_context(self, config: EngineConfig, n_threads: int, *, slots: int = 0) -> Context:
        """Create a KV cache of this model; raises OutOfMemory when it does not fit.

        ``slots`` is the number of sequences it can keep, where that is more than the ``n_seq_max`` that run at once.
        """

    @property
    def is_recurrent(self) -> bool:
        """Whether each slot takes memory for a state of its own (recurrent and hybrid models)."""

    def close(self) -> None: ...


class DecodeAborted(Exception):
    """A decode stopped because `Context.abort` was called; the cells of its tokens are stale."""
