"""A prompt as it is sent, for people."""

from __future__ import annotations

from collections.abc import Iterable

from exsa_lab.errors import printable
from exsa_lab.plain import legible
from exsa_lab.runtime.protocol import Model


def shown_prompt(model: Model, tokens: Iterable[int]) -> str:
    """Return a prompt's text with every control token in guillemets, so that no text can be taken for one.

    Example: ``"«<|im_start|>»user\\nHi«<|im_end|>»"``.
    """
    control = {token.id for token in model.token_rules.specials if token.is_control} | set(model.token_rules.ends)
    parts: list[str] = []
    raw = b""
    for token in tokens:
        if token not in control:
            raw += model.token_bytes(token)  # A character may take several.
            continue
        parts += [legible(raw), f"\u00ab{model.token_label(token)}\u00bb"]
        raw = b""
    text = "".join([*parts, legible(raw)])
    return "\n".join(printable(line) for line in text.split("\n"))
