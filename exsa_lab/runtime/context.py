"""A llama.cpp context: one unified KV cache and decoding into it."""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import MAX_DRAFT_LENGTH, EngineConfig
from exsa_lab.errors import DecodeError, ModelLoadError, OutOfMemory
from exsa_lab.runtime.batch import Entry, LlamaBatch
from exsa_lab.runtime.library import LogLine, captured_log, lines_since, llama, log_mark, reason
from exsa_lab.runtime.protocol import MIN_OUTPUTS, UNLIMITED, Batch, DecodeAborted, Logits, State, Window
from exsa_lab.runtime.steady import SIZES, STEPS_TO_RECORD, steady_size

_NO_CELLS, _FAILED = 1, -3
"""What llama_decode returns where the cache has no room, and where it could not compute."""
_LEARNED_POSITIONS = ("gpt2", "starcoder")
"""Architectures that look positions up in a table, and end the process beyond it. (The others are text encoders.)"""
_CHUNKED = ("llama4",)
"""Architectures whose window is the chunk that a token lies in."""
_ONE_SEQUENCE_A_DECODE = ("plamo2", "arwkv7", "rwkv6qwen2")
"""Architectures of which llama.cpp computes several sequences in one decode wrongly, or ends the process over them."""


class LlamaContext:
    """See `exsa_lab.runtime.protocol.Context`. Owned by one thread; only `abort` may be called from others."""

    def __init__(
        self,
        model_pointer: Any,
        vocab_size: int,
        config: EngineConfig,
        n_threads: int,
        *,
        slots: int = 0,
        smallest_batch: int = 0,
    ) -> None:
        """``smallest_batch`` is the least size to which small batches are padded; 0 leaves them alone."""
        self._lib = llama()
        self._smallest_batch = smallest_batch
        self.steps_until_usual = STEPS_TO_RECORD if smallest_batch else 0
        slots = max(slots, config.n_seq_max)
        self._vocab_size = vocab_size
        self._abort_flag = ctypes.create_string_buffer(2)
        with captured_log() as lines:
            self._pointer = self._lib.llama_init_from_model(model_pointer, self._params(config, n_threads, slots))
        if not self._pointer:
            _refuse(config, slots, lines)
        self._memory = self._lib.llama_get_memory(self._pointer)
        self._get_logits = _address_of_logits(self._lib)
        self._address = 0
        self._rows = np.empty((0, vocab_size), np.float32)
        # Of the batch submitted last: its rows of logits, and which of them were asked for; None for all.
        self._num_rows = 0
        self._wanted: slice | NDArray[np.intp] | None = None
        self._gathered: Logits | None = None  # of a batch that was computed in parts
        self._part: LlamaBatch | None = None
        # llama_decode returns once the kernels are launched (on an H100 after 0.08 of 1.1 ms); a CPU computes in it.
        self.is_asynchronous: bool = config.n_gpu_layers != 0 and bool(self._lib.llama_supports_gpu_offload())
        self.n_ctx: int = self._lib.llama_n_ctx(self._pointer)
        self.n_seq_max: int = self._lib.llama_n_seq_max(self._pointer)
        self.n_batch: int = self._lib.llama_n_batch(self._pointer)
        self._n_ubatch: int = self._lib.llama_n_ubatch(self._pointer)
        self._learn_limits(model_pointer, is_reproducible=config.reproducible)

    def _learn_limits(self, model_pointer: Any, *, is_reproducible: bool) -> None:
        """Ask what the model's positions and memory allow."""
        architecture = _architecture(self._lib, model_pointer)
        has_positions = architecture in _LEARNED_POSITIONS
        trained = self._lib.llama_model_n_ctx_train(model_pointer) if has_positions else self.n_ctx
        self.max_position: int = min(self.n_ctx, trained)
        self.saves_whole_slots = bool(self._lib.llama_model_is_recurrent(model_pointer))
        is_limited = self.saves_whole_slots or bool(self._lib.llama_model_is_hybrid(model_pointer))
        size = self._lib.llama_model_n_swa(model_pointer)
        self.window = Window(size, is_chunked=architecture in _CHUNKED) if size else None
        # With both, nothing tells whether the window of an earlier place is still whole.
        snapshots = 0 if self.window else self._lib.llama_n_rs_seq(self._pointer)
        self.max_rollback: int = snapshots if is_limited else UNLIMITED
        self._decodes_alone = architecture in _ONE_SEQUENCE_A_DECODE
        self._is_reproducible = is_reproducible
        # Of sequences of different lengths llama.cpp computes the rest of the longer ones by itself. Where that is one
        # token, attention adds it up otherwise than in company.
        self._decodes_in_parts = is_limited and (snapshots > 0 or (is_reproducible and not self.saves_whole_slots))

    def _params(self, config: EngineConfig, n_threads: int, slots: int) -> Any:
        params = self._lib.llama_context_default_params()
        params.n_ctx = config.n_ctx
        params.n_batch = config.n_batch
        params.n_ubatch = min(config.n_ubatch, config.n_batch)
        params.n_seq_max = slots
        # llama.cpp asserts that a micro-batch holds the tokens it keeps snapshots of, and one more.
        params.n_rs_seq = max(0, min(config.n_rs_seq, params.n_ubatch - 2))
        # A step outputs one row per sequence and draft token, never one per prompt token: the logits of a
        # whole batch would reserve n_batch x vocabulary floats for nothing. The limit holds for the whole batch,
        # not for a micro-batch, and llama.cpp ends the process over a batch that breaks it.
        self.max_outputs = min(config.n_batch, max(MIN_OUTPUTS, config.n_seq_max * (1 + MAX_DRAFT_LENGTH)))
        params.n_outputs_max = max(slots, self.max_outputs)  # it wants one for each slot, used or not
        params.n_outputs_max_per_seq = 0
        params.n_threads = params.n_threads_batch = n_threads
        params.kv_unified = True
        params.type_k = params.type_v = _kv_type(self._lib, config.kv_type)
        params.offload_kqv = config.n_gpu_layers != 0
        params.flash_attn_type = (
            self._lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
            if config.flash_attention
            else self._lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        params.abort_callback = _abort_callback(self._lib)
        params.abort_callback_data = ctypes.cast(self._abort_flag, ctypes.c_void_p)
        params.no_perf = True
        return params

    def new_batch(self) -> LlamaBatch:
        return LlamaBatch(self.n_batch)

    def decode(self, batch: Batch) -> Logits:
        self.submit(batch)
        return self.collect()

    def submit(self, batch: Batch) -> None:
        assert isinstance(batch, LlamaBatch)
        if batch.num_outputs > self.max_outputs:
            raise DecodeError(f"a step asked for {batch.num_outputs} rows of logits of at most {self.max_outputs}.")
        if self.max_position < self.n_ctx and batch.last_position >= self.max_position:
            raise DecodeError(
                f"the model has no position {batch.last_position}: it was trained for {self.max_position} tokens.",
                hint="Load it with an n_ctx of at most that.",
            )
        self._wanted = self._gathered = None
        self._num_rows = batch.num_outputs
        if len(parts := self._parts(batch)) > 1:
            self._submit_parts(batch, parts)
            return
        if self._smallest_batch and batch.num_tokens <= SIZES[-1]:
            size = min(steady_size(batch.num_tokens, self._smallest_batch), self.n_batch)
            if not batch.num_tokens == batch.num_outputs == size:
                self._submit_padded(batch, size)
                return
        mark = log_mark()
        code = self._lib.llama_decode(self._pointer, batch.struct)
        if code:
            self._raise(code, batch.num_tokens, mark)

    def _parts(self, batch: LlamaBatch) -> list[list[Entry]]:
        """The decodes that a batch is computed by."""
        if self._decodes_alone:
            return [[entry] for entry in batch.entries]
        return batch.parts(self._n_ubatch, ones_last=self._is_reproducible) if self._decodes_in_parts else []

    def _submit_parts(self, batch: LlamaBatch, parts: list[list[Entry]]) -> None:
        part = self._part = self._part or self.new_batch()
        rows = np.empty((batch.num_outputs, self._vocab_size), np.float32)
        for index, entries in enumerate(parts):
            part.take(batch, entries)
            mark = log_mark()
            code = self._lib.llama_decode(self._pointer, part.struct)
            if code:
                # Where others were computed already, more is to be undone than where there was only no room.
                self._raise(_FAILED if index and code == _NO_CELLS else code, batch.num_tokens, mark)
            logits, taken = self._logits(part.num_outputs), 0
            for entry in entries:
                count = entry.end_row - entry.first_row
                rows[entry.first_row : entry.end_row] = logits[taken : taken + count]
                taken += count
        self._gathered = rows

    def _submit_padded(self, batch: LlamaBatch, size: int) -> None:
        # The number of rows of logits belongs to the shape: all tokens get them, and the caller his.
        added = batch.pad(size)
        mark = log_mark()
        code = self._lib.llama_decode(self._pointer, batch.struct)
        wanted = batch.unpad()
        if added:
            self.remove(*added)
        if code == _NO_CELLS and added:
            code = self._lib.llama_decode(self._pointer, batch.struct)
        else:
            self._num_rows, self._wanted = size, wanted
        if code:
            self._raise(code, batch.num_tokens, mark)

    def collect(self) -> Logits:
        if self._gathered is not None:
            return self._gathered
        logits = self._logits(self._num_rows)
        return logits if self._wanted is None else logits[self._wanted]

    def _logits(self, rows: int) -> Logits:
        # The rows lie one after the other in the order of the batch; no copy is made. The call waits for the device.
        address = self._get_logits(self._pointer)
        if not rows:
            return self._rows[:0]
        if not address:
            raise DecodeError("llama.cpp returned no logits.", hint="%exsa_doctor shows its log.")
        if address != self._address or rows > len(self._rows):
            values = (ctypes.c_float * (rows * self._vocab_size)).from_address(address)
            self._rows = np.ndarray((rows, self._vocab_size), np.float32, buffer=memoryview(values))
            self._address = address
        return self._rows[:rows]

    def _raise(self, code: int, num_tokens: int, mark: int) -> None:
        if code == 2:
            self._abort_flag[0] = b"\0"
            raise DecodeAborted
        if code == _NO_CELLS:
            raise OutOfMemory(
                f"no {num_tokens} free cells are left in the KV cache of {self.n_ctx}.",
                hint="Load with a larger n_ctx, or submit less at once.",
            )
        raise DecodeError(
            f"llama.cpp could not compute {num_tokens} tokens (code {code}): {reason(lines_since(mark))}.",
            hint="%exsa_doctor shows its log.",
        )

    def abort(self) -> None:
        self._abort_flag[0] = b"\1"

    def clear_abort(self) -> None:
        self._abort_flag[0] = b"\0"

    def remove(self, slot: int, start: int, end: int = -1) -> bool:
        return bool(self._lib.llama_memory_seq_rm(self._memory, slot, start, end))

    def copy(self, source: int, target: int, start: int, end: int) -> None:
        self._lib.llama_memory_seq_cp(self._memory, source, target, start, end)

    def first_whole(self, slot: int) -> int:
        return int(self._lib.llama_memory_seq_pos_min(self._memory, slot))

    def save(self, slot: int) -> State:
        flags, mark = self._lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY, log_mark()
        state = np.empty(self._lib.llama_state_seq_get_size_ext(self._pointer, slot, flags), np.uint8)
        if self._lib.llama_state_seq_get_data_ext(self._pointer, _bytes(state), len(state), slot, flags) != len(state):
            raise DecodeError(
                f"llama.cpp could not save the state of a sequence: {reason(lines_since(mark))}.",
                hint="%exsa_doctor shows its log.",
            )
        return state

    def restore(self, slot: int, state: State, length: int) -> None:
        flags, mark = self._lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY, log_mark()
        if not self._lib.llama_state_seq_set_data_ext(self._pointer, _bytes(state), len(state), slot, flags):
            raise DecodeError(
                f"llama.cpp could not restore the state of a sequence: {reason(lines_since(mark))}.",
                hint="%exsa_doctor shows its log.",
            )
        self.remove(slot, length)

    def close(self) -> None:
        if self._pointer:
            self._lib.llama_free(self._pointer)
            self._pointer = self._gathered = None


def _refuse(config: EngineConfig, slots: int, lines: list[LogLine]) -> NoReturn:
    what = f"llama.cpp could not create a context of {config.n_ctx} tokens for {slots} sequences: {reason(lines)}."
    if not lines or any("alloc" in line.text or "memory" in line.text for line in lines if line.is_error):
        raise OutOfMemory(what, hint="Ask for a smaller n_ctx or n_seq_max.")
    raise ModelLoadError(what, hint="%exsa_doctor shows its log.")


def _architecture(lib: Any, model_pointer: Any) -> str:
    buffer = ctypes.create_string_buffer(64)
    lib.llama_model_meta_val_str(model_pointer, b"general.architecture", buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")


def _bytes(state: State) -> Any:
    return state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _address_of_logits(lib: Any) -> Any:
    """Return ``llama_get_logits`` as a function that gives a plain address, which is quicker than a typed pointer."""
    function = lib._lib["llama_get_logits"]  # by item: a function of its own, whose types are nobody else's
    function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
    return function


def _kv_type(lib: Any, name: str) -> int:
    """The number of a tensor type; the binding names all but bf16, whose number the GGUF specification gives."""
    return 30 if name == "bf16" else int(getattr(lib, f"GGML_TYPE_{name.upper()}"))


def _abort_callback(lib: Any) -> Any:
    """Return a C function that answers "is the flag set?" without entering Python.

    ggml asks before every node of the graph, about a thousand times per decode; a Python callback would take the
    interpreter lock each time. C's own ``strlen`` answers the question: the flag is a two-byte string, of length
    0 while its first byte is 0 and of length 1 (true) once it is 1.
    """
    libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else ctypes.util.find_library("c"))
    return ctypes.cast(libc.strlen, lib.ggml_abort_callback)
