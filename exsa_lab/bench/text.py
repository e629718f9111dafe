"""Text of a wanted length in tokens."""

from __future__ import annotations

from exsa_lab.bench.workloads import PASSAGES
from exsa_lab.engine.engine import Engine


def long_text(engine: Engine, num_tokens: int, *, opening: str = "") -> str:
    """Return running text of about ``num_tokens`` tokens (a few fewer), beginning with ``opening``."""
    paragraphs, count = [opening], 0
    while count < num_tokens:
        paragraphs.append(PASSAGES[(len(paragraphs) - 1) % len(PASSAGES)])
        tokens = engine.target.tokenize("\n\n".join(paragraphs), add_special=False, parse_special=False)
        count = len(tokens)
    pieces = [engine.target.token_bytes(token) for token in tokens[:num_tokens]]
    return b"".join(pieces).decode("utf-8", "ignore")
