"""Plain greedy decoding with llama.cpp and nothing else: the fastest a Python program can be, and the reference.

It shares no code with the engine, so that each can be checked against the other.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from exsa_lab.config import EngineConfig
from exsa_lab.runtime.library import llama


@dataclass(slots=True)
class BareRun:
    """The tokens of one run (an end token is the last one), and for each when it came and how sure it was."""

    tokens: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """`time.perf_counter` of each token."""
    margins: list[float] = field(default_factory=list)
    """Best logit minus the second best, where asked for."""


class BareLoop:
    """One llama.cpp context and ``llama_decode`` in a loop, the next token by numpy's argmax.

    ``config`` gives the context the engine's own parameters. Raises RuntimeError when llama.cpp fails.
    """

    def __init__(self, path: Path, config: EngineConfig, n_threads: int) -> None:
        self._lib = llama()
        params = self._lib.llama_model_default_params()
        params.n_gpu_layers = config.n_gpu_layers
        self._model = self._lib.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            raise RuntimeError(f"llama.cpp could not load {path}")
        self._vocab = self._lib.llama_model_get_vocab(self._model)
        self._vocab_size: int = self._lib.llama_vocab_n_tokens(self._vocab)
        self._context = self._lib.llama_init_from_model(self._model, self._params(config, n_threads))
        if not self._context:
            raise RuntimeError("llama.cpp could not create a context")
        self._memory = self._lib.llama_get_memory(self._context)

    def _params(self, config: EngineConfig, n_threads: int) -> Any:
        params = self._lib.llama_context_default_params()
        params.n_ctx = config.n_ctx
        params.n_batch = config.n_batch
        params.n_ubatch = min(config.n_ubatch, config.n_batch)
        params.n_seq_max = config.n_seq_max
        params.n_threads = params.n_threads_batch = n_threads
        params.kv_unified = True
        params.flash_attn_type = (
            self._lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
            if config.flash_attention
            else self._lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        )
        params.no_perf = True
        return params

    def generate(self, prompt: list[int], max_tokens: int, *, with_margins: bool = False) -> BareRun:
        """Continue ``prompt`` by up to ``max_tokens`` tokens, from an empty cache."""
        self._lib.llama_memory_clear(self._memory, False)
        run = BareRun()
        logits = self._decode(prompt)
        while True:
            token = int(logits.argmax())
            run.tokens.append(token)
            run.times.append(time.perf_counter())
            if with_margins:
                second, best = np.partition(logits, -2)[-2:]
                run.margins.append(float(best - second))
            if len(run.tokens) >= max_tokens or self._lib.llama_vocab_is_eog(self._vocab, token):
                return run
            logits = self._decode([token])

    def _decode(self, tokens: list[int]) -> NDArray[np.float32]:
        array = (self._lib.llama_token * len(tokens))(*tokens)
        if code := self._lib.llama_decode(self._context, self._lib.llama_batch_get_one(array, len(tokens))):
            raise RuntimeError(f"llama_decode failed with code {code}")
        row = self._lib.llama_get_logits_ith(self._context, -1)
        address = ctypes.cast(row, ctypes.c_void_p).value
        assert address is not None
        values: Any = (ctypes.c_float * self._vocab_size).from_address(address)
        logits: NDArray[np.float32] = np.frombuffer(values, np.float32)
        return logits

    def close(self) -> None:
        if self._context:
            self._lib.llama_free(self._context)
            self._lib.llama_model_free(self._model)
            self._context = self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
