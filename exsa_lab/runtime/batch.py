"""A llama_batch whose arrays are numpy memory, filled by slices instead of element by element."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from exsa_lab.runtime.library import llama


class Entry(NamedTuple):
    """Consecutive tokens of one sequence in a batch: their places, and those of their rows of logits."""

    start: int
    end: int
    first_row: int
    end_row: int

    @property
    def size(self) -> int:
        return self.end - self.start


class LlamaBatch:
    """Tokens of several sequences for one decode; see `exsa_lab.runtime.protocol.Batch`."""

    def __init__(self, capacity: int) -> None:
        self.num_tokens = 0
        self.num_outputs = 0
        self._tokens = np.zeros(capacity, np.int32)
        self._positions = np.zeros(capacity, np.int32)
        self._slots = np.zeros(capacity, np.int32)
        self._outputs = np.zeros(capacity, np.int8)
        # Every token belongs to exactly one sequence, so counts and pointers never change.
        self._ones = np.ones(capacity, np.int32)
        self._slot_pointers = (self._slots.ctypes.data + 4 * np.arange(capacity)).astype(np.uintp)
        self._all_outputs = np.empty(0, np.intp)
        self.entries: list[Entry] = []
        self.struct = self._bind()

    def _bind(self) -> Any:
        lib = llama()
        int32 = ctypes.POINTER(ctypes.c_int32)
        return lib.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(int32),
            embd=None,
            pos=self._positions.ctypes.data_as(int32),
            n_seq_id=self._ones.ctypes.data_as(int32),
            seq_id=self._slot_pointers.ctypes.data_as(ctypes.POINTER(int32)),
            logits=self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def clear(self) -> None:
        self.num_tokens = 0
        self.num_outputs = 0
        self.entries.clear()

    def add(self, tokens: list[int], position: int, slot: int, outputs: int) -> int:
        start, end = self.num_tokens, self.num_tokens + len(tokens)
        first_row = self.num_outputs
        if end == start + 1:  # the usual case, for which slices would take three times as long
            self._tokens[start], self._positions[start] = tokens[0], position
            self._slots[start], self._outputs[start] = slot, outputs
        else:
            self._tokens[start:end] = tokens
            self._positions[start:end] = range(position, position + len(tokens))
            self._slots[start:end] = slot
            self._outputs[start : end - outputs] = 0
            self._outputs[end - outputs : end] = 1
        self.num_tokens = end
        self.num_outputs += outputs
        self.struct.n_tokens = end
        self.entries.append(Entry(start, end, first_row, self.num_outputs))
        return first_row

    def take(self, other: LlamaBatch, entries: list[Entry]) -> None:
        """Become a batch of these entries of another one, in this order."""
        self.clear()
        for entry in entries:
            start, end = self.num_tokens, self.num_tokens + entry.size
            for name in ("_tokens", "_positions", "_slots", "_outputs"):
                getattr(self, name)[start:end] = getattr(other, name)[entry.start : entry.end]
            self.num_tokens = self.struct.n_tokens = end
            self.num_outputs += entry.end_row - entry.first_row

    def parts(self, n_ubatch: int, *, ones_last: bool = False) -> list[list[Entry]]:
        """Share its entries out to decodes after each of which every sequence's snapshots are whole.

        llama.cpp first computes equally many tokens of several sequences, then the rest of the longer ones. To put
        the states of those side by side it moves other states, but not their snapshots, so that a sequence computed
        earlier in the decode can no longer be rolled back. That cannot happen where all sequences have as many
        tokens, or where there is one only. A single token is never rolled back, so those may come first. Where nothing
        is, they may come last: cells of theirs that are freed after the batch are then in nobody's midst.
        """
        ones = [entry for entry in self.entries if entry.size == 1]
        more = [entry for entry in self.entries if entry.size > 1]
        are_alike = len({entry.size for entry in more}) == 1 and sum(entry.size for entry in more) <= n_ubatch
        first, last = [ones] if ones else [], [more] if are_alike else [[entry] for entry in more]
        return last + first if ones_last else first + last

    @property
    def last_position(self) -> int:
        """The largest position of its tokens; -1 for an empty batch."""
        return int(self._positions[: self.num_tokens].max(initial=-1))

    def pad(self, size: int) -> tuple[int, int] | None:
        """Let llama.cpp see ``size`` tokens with logits for all: after the last token further ones, in its slot.

        `num_tokens` and `num_outputs` stay. Returns the slot and the first position of the padding, which the caller
        must remove from the cache; None where none was added.
        """
        start = self.num_tokens
        self._all_outputs = np.flatnonzero(self._outputs[:start])
        self._outputs[:size] = 1
        if not 0 < start < size:
            return None
        slot, position = int(self._slots[start - 1]), int(self._positions[start - 1]) + 1
        self._tokens[start:size] = self._tokens[start - 1]
        self._positions[start:size] = range(position, position + size - start)
        self._slots[start:size] = slot
        self.struct.n_tokens = size
        return slot, position

    def unpad(self) -> slice | NDArray[np.intp]:
        """Undo `pad`; returns which of the rows of logits are those that were asked for."""
        places = self._all_outputs
        self._outputs[: self.num_tokens] = 0
        self._outputs[places] = 1
        self.struct.n_tokens = self.num_tokens
        first = self.num_tokens - len(places)
        return slice(first, self.num_tokens) if len(places) and places[0] == first else places
