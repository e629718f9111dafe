"""llama-cpp-python's high-level ``Llama``: one prompt at a time, optionally with its prompt lookup."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from exsa_lab.config import EngineConfig
from exsa_lab.runtime.library import llama


@dataclass(frozen=True, slots=True)
class PeerRun:
    """What a peer did with one prompt."""

    num_tokens: int
    decode_s: float
    """From the first token to the last."""
    total_s: float
    """With prefill."""
    text: str = ""

    @property
    def tokens_per_second(self) -> float:
        """Decode speed, as `exsa_lab.engine.stats.Stats` counts it."""
        return (self.num_tokens - 1) / self.decode_s if self.decode_s > 0 else 0.0


class HighLevelLlama:
    """``Llama.create_completion`` on token ids.

    ``lookup`` is the number of tokens its LlamaPromptLookupDecoding proposes, 0 for none. Everything not given
    here keeps llama-cpp-python's own default, flash attention (off) and n_batch (512) among them.
    """

    def __init__(
        self, path: Path, config: EngineConfig, n_threads: int, *, flash_attention: bool = False, lookup: int = 0
    ) -> None:
        llama()  # silences llama.cpp's log before Llama can speak
        import llama_cpp
        from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

        self._grammar = llama_cpp.LlamaGrammar
        self._stopping_criteria = llama_cpp.StoppingCriteriaList
        self._llama: Any = llama_cpp.Llama(
            str(path),
            n_ctx=config.n_ctx,
            n_threads=n_threads,
            n_threads_batch=n_threads,
            n_gpu_layers=config.n_gpu_layers,
            flash_attn=flash_attention,
            draft_model=LlamaPromptLookupDecoding(num_pred_tokens=lookup) if lookup else None,
            verbose=False,
        )

    def complete(
        self, prompt: list[int], max_tokens: int, *, temperature: float = 0.0, seed: int = 0, schema: str = ""
    ) -> PeerRun:
        """Generate without streaming, which would only slow it; each token's time is taken by a stopping criterion.

        ``schema`` is a JSON schema that the text must fill.
        """
        times: list[float] = []

        def on_token(_tokens: object, _logits: object) -> bool:
            times.append(time.perf_counter())
            return False

        grammar = self._grammar.from_json_schema(schema, verbose=False) if schema else None
        begin = time.perf_counter()
        answer = self._llama.create_completion(
            prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            grammar=grammar,
            stopping_criteria=self._stopping_criteria([on_token]),
            **(_PURE_SAMPLING if temperature > 0 else {}),
        )
        end = time.perf_counter()
        # create_completion asks the criterion once more after the last token, to name the finish reason.
        num_tokens = len(times) - 1
        return PeerRun(num_tokens, times[num_tokens - 1] - times[0], end - begin, answer["choices"][0]["text"])

    def close(self) -> None:
        self._llama.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_PURE_SAMPLING = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
"""exsa_lab's own defaults: temperature alone."""
