"""How far one version of a model is from another: what a conversion of its weights costs in quality.

The same numbers as llama.cpp's `llama-perplexity --kl-divergence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exsa_lab.config import EngineConfig
from exsa_lab.errors import ConfigError, VocabularyMismatch
from exsa_lab.hardware import detect
from exsa_lab.models.resolve import resolve
from exsa_lab.runtime.protocol import Context, Logits, Model

_CHUNK = 32
"""Tokens decoded at once; each gives a row of logits."""
MAX_TOKENS = 2048
_TEXT = Path(__file__).parent / "quality_text.txt"


@dataclass(frozen=True, slots=True)
class Quality:
    """What model b lost against model a, over ``tokens`` positions of a text."""

    kl: float
    """Mean Kullback-Leibler divergence of b's next-token distribution from a's, in nats; 0 is the same."""
    top1_agreement: float
    """Share of positions where both think the same token is most probable."""
    perplexity_a: float
    perplexity_b: float
    tokens: int

    def __str__(self) -> str:
        return (
            f"KL {self.kl:.3f}, same top token {self.top1_agreement:.0%}, "
            f"perplexity {self.perplexity_a:.2f} -> {self.perplexity_b:.2f} ({self.tokens:,} tokens)"
        )


def bundled_text() -> str:
    """The text measured by default: prose, a list, code, a question, a table and a letter."""
    return _TEXT.read_text(encoding="utf-8")


def measure_quality(
    a: str | Path,
    b: str | Path,
    text: str | None = None,
    *,
    max_tokens: int = MAX_TOKENS,
    progress: Callable[[float], None] | None = None,
) -> Quality:
    """Compare model ``b`` with model ``a`` on a text (by default `bundled_text`), at most ``max_tokens`` of it.

    Both models are loaded beside the kernel's engine and closed again. ``progress`` is called with the fraction done.
    Raises VocabularyMismatch when they do not share their tokens, ConfigError for a text of less than two tokens.

    Example: ``print(measure_quality("model-f16.gguf", "model-q4.gguf"))``.
    """
    from exsa_lab.runtime.model import LlamaModel

    n_threads = detect().usable_threads
    config = EngineConfig(n_ctx=max(256, min(max_tokens, MAX_TOKENS)), n_seq_max=1, n_batch=_CHUNK, n_ubatch=_CHUNK)
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(closing(LlamaModel(resolve(name).path, config))) for name in (a, b))
        return compare(ours, theirs, bundled_text() if text is None else text, config, n_threads, progress)


def compare(
    a: Model,
    b: Model,
    text: str,
    config: EngineConfig,
    n_threads: int,
    progress: Callable[[float], None] | None = None,
) -> Quality:
    """Compare two opened models on a text, up to ``config.n_ctx`` tokens of it."""
    tokens = a.tokenize(text, add_special=True, parse_special=False)[: config.n_ctx]
    if (
        a.vocab_size != b.vocab_size
        or tokens != b.tokenize(text, add_special=True, parse_special=False)[: config.n_ctx]
    ):
        raise VocabularyMismatch(f"{b.name} splits the text into other tokens than {a.name}.")
    if len(tokens) < 2:
        raise ConfigError("the text has less than two tokens.", hint="Give a longer one.")
    sums, count = np.zeros(4), 0
    with ExitStack() as stack:
        contexts = [stack.enter_context(closing(model.open_context(config, n_threads))) for model in (a, b)]
        for (start, ours), (_, theirs) in zip(*(_rows(context, tokens) for context in contexts), strict=True):
            following = np.array(tokens[start + 1 : start + 1 + len(ours)])
            rows = len(following)  # The last token has nothing after it to predict.
            sums += _compare_rows(ours[:rows], theirs[:rows], following)
            count += rows
            if progress is not None:
                progress(count / (len(tokens) - 1))
    kl, agreement, nll_a, nll_b = sums / count
    return Quality(max(0.0, float(kl)), float(agreement), float(np.exp(nll_a)), float(np.exp(nll_b)), count)


def _rows(context: Context, tokens: list[int]) -> Iterator[tuple[int, Logits]]:
    """Decode the tokens in chunks; yields each chunk's start and its logits, valid until the next."""
    batch = context.new_batch()
    for start in range(0, len(tokens), _CHUNK):
        chunk = tokens[start : start + _CHUNK]
        batch.clear()
        batch.add(chunk, start, 0, len(chunk))
        yield start, context.decode(batch)


def _compare_rows(ours: Logits, theirs: Logits, following: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Logits:
    """Sums over rows: KL, agreements, and the negative log-likelihood of the text under each model."""
    log_p, log_q = _log_softmax(ours), _log_softmax(theirs)
    index = np.arange(len(following))
    kl = float((np.exp(log_p) * (log_p - log_q)).sum())
    agreements = int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
    nll = (-float(log[index, following].sum()) for log in (log_p, log_q))
    return np.array([kl, agreements, *nll])


def _log_softmax(logits: Logits) -> Logits:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    rows: Logits = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return rows
