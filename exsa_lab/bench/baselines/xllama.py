"""xllamacpp: llama.cpp's own server inside this process, with its continuous batching and its speculation."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from exsa_lab.bench.baselines.llama_high_level import PeerRun
from exsa_lab.config import EngineConfig

SPECULATION = {
    "draft": "DRAFT_SIMPLE",
    "ngram-simple": "NGRAM_SIMPLE",
    "ngram-map-k": "NGRAM_MAP_K",
    "ngram-map-k4v": "NGRAM_MAP_K4V",
    "ngram-mod": "NGRAM_MOD",
    "ngram-cache": "NGRAM_CACHE",
}
"""Its ways to speculate that need no special model, by the names its command line gives them."""


def is_installed() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


class XllamaServer:
    """A server with ``n_slots`` slots on one shared KV cache; same file, threads and context as the engine.

    ``speculation`` is a key of `SPECULATION` or None. Its settings keep their defaults, but for the draft's
    maximum, ``draft_length``.
    """

    def __init__(
        self,
        path: Path,
        config: EngineConfig,
        n_threads: int,
        *,
        n_slots: int = 1,
        speculation: str | None = None,
        draft: Path | None = None,
        draft_length: int = 3,
    ) -> None:
        self._library: Any = importlib.import_module("xllamacpp")
        params = self._library.CommonParams()
        params.model.path = str(path)
        params.n_ctx = config.n_ctx
        params.n_batch = config.n_batch
        params.n_ubatch = min(config.n_ubatch, config.n_batch)
        params.n_parallel = n_slots
        params.kv_unified = True
        params.n_gpu_layers = config.n_gpu_layers
        params.fit_params = False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = n_threads
        params.flash_attn_type = self._library.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.verbosity = -1
        params.cache_ram_mib = 0  # Prompts stay cached in their slots; copies to another place only cost it time.
        if speculation is not None:
            self._speculate(params.speculative, speculation, draft, draft_length, n_threads)
        self._n_slots = n_slots
        self._server: Any = self._library.Server(params)

    @property
    def url(self) -> str:
        """Where it answers HTTP too, on a free port of this machine; its chat completions are below ``/v1``."""
        return str(self._server.listening_address)

    def _speculate(self, params: Any, speculation: str, draft: Path | None, draft_length: int, n_threads: int) -> None:
        kinds = self._library.common_speculative_type
        params.types = [getattr(kinds, f"COMMON_SPECULATIVE_TYPE_{SPECULATION[speculation]}")]
        if speculation == "draft":
            params.draft.mparams.path = str(draft)
            params.draft.n_max = draft_length
            params.draft.n_gpu_layers = 0
            params.draft.cpuparams.n_threads = params.draft.cpuparams_batch.n_threads = n_threads

    def complete(
        self,
        prompt: list[int],
        max_tokens: int,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        schema: dict[str, Any] | None = None,
    ) -> PeerRun:
        """Generate without streaming, which would only slow it; the decode time is the server's own.

        ``schema`` is a JSON schema that the text must fill.
        """
        request: dict[str, Any] = {"prompt": prompt, "max_tokens": max_tokens, "temperature": temperature, "seed": seed}
        if schema is not None:
            request["json_schema"] = schema
        if temperature > 0:
            request |= {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "samplers": ["temperature"]}
        begin = time.perf_counter()
        answer = self._server.handle_completions(request)
        total = time.perf_counter() - begin
        if "timings" not in answer:
            raise RuntimeError(f"xllamacpp answered {answer}")
        timings = answer["timings"]
        return PeerRun(timings["predicted_n"], timings["predicted_ms"] / 1000, total, answer["choices"][0]["text"])

    def complete_all(
        self,
        prompts: Sequence[list[int]],
        max_tokens: int,
        *,
        temperature: float = 0.0,
        schema: dict[str, Any] | None = None,
    ) -> tuple[list[PeerRun], float]:
        """Generate for all prompts at once; returns the runs, and the seconds until the last answer."""
        begin = time.perf_counter()
        with ThreadPoolExecutor(len(prompts)) as pool:
            options: dict[str, Any] = {"temperature": temperature, "schema": schema}
            runs = list(pool.map(lambda prompt: self.complete(prompt, max_tokens, **options), prompts))
        return runs, time.perf_counter() - begin

    def close(self) -> None:
        """Stop the server and free its memory."""
        self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
