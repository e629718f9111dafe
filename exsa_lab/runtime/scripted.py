"""A runtime with no weights: next-token distributions are given by a function. Same interface as llama.cpp's."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Tokens

import numpy as np
from numpy.typing import ArrayLike

from exsa_lab.config import EngineConfig
from exsa_lab.errors import ConfigError, OutOfMemory
from exsa_lab.plain import legible
from exsa_lab.runtime.protocol import UNLIMITED, Batch, DecodeAborted, Logits, SpecialToken, State, TokenRules, Window

NextProbs = Callable[[tuple[int, ...]], ArrayLike]
"""From the tokens so far to the probabilities of every next token, shape (vocab_size,)."""

CONTENTS = "{% for message in messages %}{{ message.content }}{% endfor %}"
"""A chat template that writes the messages' contents and nothing else."""

Entry = tuple[int, int, int]
"""(slot, position, token) of one token in a batch."""


class ScriptedBatch:
    """See `exsa_lab.runtime.protocol.Batch`."""

    def __init__(self) -> None:
        self.num_tokens = 0
        self.num_outputs = 0
        self.entries: list[Entry] = []
        self.outputs: list[int] = []

    def clear(self) -> None:
        self.num_tokens = self.num_outputs = 0
        self.entries.clear()
        self.outputs.clear()

    def add(self, tokens: list[int], position: int, slot: int, outputs: int) -> int:
        first_row = self.num_outputs
        self.entries += [(slot, position + i, token) for i, token in enumerate(tokens)]
        self.num_tokens = len(self.entries)
        self.outputs += range(self.num_tokens - outputs, self.num_tokens)
        self.num_outputs = len(self.outputs)
        return first_row


class ScriptedContext:
    """A KV cache that keeps the tokens themselves, and checks that it is used as llama.cpp demands.

    ``before_decode`` sees the entries of every batch first; it may raise, to play a failure, or wait, to play a
    slow machine.

    Where the model's ``max_rollback`` is limited, it plays hybrid memory: beside the cells, which are attention's, each
    slot has a state that stands for all of its tokens, and logits are computed from the state.
    """

    def __init__(self, model: ScriptedModel, config: EngineConfig, slots: int = 0) -> None:
        self.n_ctx = config.n_ctx
        self.n_seq_max = max(slots, config.n_seq_max)
        self.n_batch = config.n_batch
        self.is_asynchronous = model.is_asynchronous
        self.max_position = self.n_ctx
        self.steps_until_usual = 0
        self.max_rollback = min(model.max_rollback, config.n_rs_seq) if model.is_recurrent else UNLIMITED
        self.saves_whole_slots = False
        self.window: Window | None = None
        self.before_decode: Callable[[list[Entry]], None] | None = None
        self.num_decodes = 0
        self.is_closed = False
        self._model = model
        self._is_aborted = False
        self._logits: Logits = np.empty((0, model.vocab_size), np.float32)
        # Slot -> position -> (cell, token); a cell is shared by copying its number.
        self._cells: list[dict[int, tuple[int, int]]] = [{} for _ in range(self.n_seq_max)]
        self._next_cell = itertools.count()
        self._states = [_SlotState() for _ in range(self.n_seq_max)]

    @property
    def num_cells_used(self) -> int:
        return len({cell for slot in self._cells for cell, _ in slot.values()})

    def tokens(self, slot: int) -> list[int]:
        return [self._cells[slot][position][1] for position in sorted(self._cells[slot])]

    def new_batch(self) -> ScriptedBatch:
        return ScriptedBatch()

    def decode(self, batch: Batch) -> Logits:
        self.submit(batch)
        return self.collect()

    def submit(self, batch: Batch) -> None:
        self._logits.fill(np.nan)  # llama.cpp, too, writes the next logits over the last ones
        self._logits = self._compute(batch)

    def collect(self) -> Logits:
        if self.is_asynchronous:
            self._wait()
        return self._logits

    def _compute(self, batch: Batch) -> Logits:
        assert isinstance(batch, ScriptedBatch)
        assert not self.is_closed, "decode after close"
        assert 0 < batch.num_tokens <= self.n_batch, f"batch of {batch.num_tokens} tokens"
        if self.num_cells_used + batch.num_tokens > self.n_ctx:
            raise OutOfMemory(f"no {batch.num_tokens} free cells are left in the KV cache of {self.n_ctx}.")
        if self.before_decode is not None:
            self.before_decode(list(batch.entries))
        if not self.is_asynchronous:
            self._wait()
        rows = {}
        for slot in {slot for slot, _, _ in batch.entries}:
            self._states[slot].begin_decode()
        for index, (slot, position, token) in enumerate(batch.entries):
            cells, state = self._cells[slot], self._states[slot]
            assert position == len(cells), f"slot {slot} has {len(cells)} tokens, not {position}"
            assert not state.is_stale, f"slot {slot} was copied from one whose roll-back was pending"
            assert position == len(state.tokens), f"slot {slot} has a state of {len(state.tokens)}, not {position}"
            cells[position] = (next(self._next_cell), token)
            state.add(token)
            if index in batch.outputs:
                rows[index] = self._model.logits(state.tokens)
        self.num_decodes += 1
        return np.array([rows[i] for i in batch.outputs], np.float32).reshape(-1, self._model.vocab_size)

    def _wait(self) -> None:
        end = time.perf_counter() + self._model.step_s
        while True:
            if self._is_aborted:
                self._is_aborted = False
                raise DecodeAborted
            if time.perf_counter() >= end:
                return
            time.sleep(min(0.001, self._model.step_s))

    def abort(self) -> None:
        self._is_aborted = True

    def clear_abort(self) -> None:
        self._is_aborted = False

    def remove(self, slot: int, start: int, end: int = -1) -> bool:
        assert end < 0, "nobody cuts a text in its midst"
        if not self._states[slot].take_back(start, self.max_rollback):
            return False
        cells = self._cells[slot]
        for position in [position for position in cells if position >= start]:
            del cells[position]
        return True

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        assert not self._cells[target], f"slot {target} is not empty"
        for position in range(start, end):
            self._cells[target][position] = self._cells[source][position]
        state = self._states[source]
        if self.max_rollback == UNLIMITED:
            self._states[target] = _SlotState(state.tokens[:end])
        else:
            self._states[target] = _SlotState(state.tokens, is_stale=state.is_pending)

    def first_whole(self, slot: int) -> int:
        return 0

    def save(self, slot: int) -> State:
        return np.array(self._states[slot].tokens, np.int64).view(np.uint8)

    def restore(self, slot: int, state: State, length: int) -> None:
        tokens = tuple(state.view(np.int64).tolist())
        cells = self.tokens(slot)[:length]
        assert length == len(tokens), f"a state of {len(tokens)} tokens is restored as one of {length}"
        assert tuple(cells) == tokens, f"slot {slot} does not hold the cells of the state"
        self._states[slot] = _SlotState(tokens)
        self.remove(slot, length)

    def close(self) -> None:
        self.is_closed = True


class _SlotState:
    """The tokens that a slot's recurrent state stands for, and how far it can be taken back."""

    def __init__(self, tokens: tuple[int, ...] = (), *, is_stale: bool = False) -> None:
        self.tokens = tokens
        self.is_stale = is_stale
        self.is_pending = False
        self._num_decoded = 0

    def begin_decode(self) -> None:
        self._num_decoded, self.is_pending = 0, False

    def add(self, token: int) -> None:
        self.tokens += (token,)
        self._num_decoded += 1

    def take_back(self, length: int, limit: int) -> bool:
        num_removed = len(self.tokens) - length
        if num_removed <= 0:
            return True
        if length and limit != UNLIMITED:
            if self.is_pending or num_removed > limit:
                return False
            # llama.cpp would go on from a stale snapshot.
            assert num_removed < self._num_decoded, f"{num_removed} tokens back after a decode of {self._num_decoded}"
            self.is_pending = True
        else:
            self.is_pending = self.is_stale = False
        self.tokens = self.tokens[:length]
        return True


class ScriptedModel:
    """A model whose next token is scripted.

    ``pieces`` are the texts of the tokens; tokenizing picks the longest piece that fits. ``next_probs`` gives the next
    token's probabilities from the tokens so far. ``ends`` are the tokens that end a generation.

    Example::

        model = ScriptedModel(["a", "b", "."], lambda tokens: [0.5, 0.4, 0.1], ends=[2])
    """

    n_ctx_train = 1 << 20

    def __init__(
        self,
        pieces: Iterable[str | bytes],
        next_probs: NextProbs,
        *,
        ends: Tokens[int] = (),
        name: str = "scripted",
        step_s: float = 0.0,
        max_rollback: int = UNLIMITED,
        is_asynchronous: bool = False,
        chat_template: str | None = CONTENTS,
        bos: int | None = None,
        control: Iterable[int] = (),
        suppressed: Iterable[int] = (),
    ) -> None:
        """``is_asynchronous`` plays a GPU: a decode takes its ``step_s`` while other work goes on.

        The tokens ``control`` are found in a text only where special tokens are parsed; a prompt begins with ``bos``.
        ``max_rollback`` plays a recurrent model, see `exsa_lab.runtime.protocol.Context.max_rollback`.
        """
        self.name = name
        self.is_asynchronous = is_asynchronous
        self.step_s = step_s
        self._pieces = [piece.encode() if isinstance(piece, str) else piece for piece in pieces]
        self._next_probs = next_probs
        self._ends = frozenset(ends)
        self.max_rollback = max_rollback
        self.vocab_size = len(self._pieces)
        self.is_closed = False
        self.chat_template = chat_template
        self._control = frozenset(control)
        specials = [SpecialToken(token, self.token_label(token), is_control=True) for token in sorted(self._control)]
        self.token_rules = TokenRules(
            bos=bos,
            adds_bos=bos is not None,
            specials=tuple(specials),
            ends=tuple(sorted(self._ends)),
            suppressed=tuple(suppressed),
        )

    def logits(self, tokens: tuple[int, ...]) -> Logits:
        with np.errstate(divide="ignore"):
            return np.log(np.asarray(self._next_probs(tokens), np.float64)).astype(np.float32)

    def open_context(self, config: EngineConfig, n_threads: int, *, slots: int = 0) -> ScriptedContext:
        return ScriptedContext(self, config, slots)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        raw, tokens = text.encode("utf-8", "replace"), []
        allowed = [token for token in range(self.vocab_size) if parse_special or token not in self._control]
        by_length = sorted(allowed, key=lambda token: -len(self._pieces[token]))
        while raw:
            token = next((t for t in by_length if self._pieces[t] and raw.startswith(self._pieces[t])), None)
            if token is None:
                raise ConfigError(f"no scripted piece begins {raw[:10]!r}.")
            tokens.append(token)
            raw = raw[len(self._pieces[token]) :]
        return tokens

    def token_bytes(self, token: int) -> bytes:
        return b"" if token in self._ends or token in self._control else self._pieces[token]

    def token_label(self, token: int) -> str:
        return legible(self._pieces[token])

    def is_end(self, token: int) -> bool:
        return token in self._ends

    @property
    def is_recurrent(self) -> bool:
        return self.max_rollback != UNLIMITED

    def close(self) -> None:
        self.is_closed = True
