"""Where a template is rendered."""

from __future__ import annotations

import functools
from typing import Any

from exsa_lab.prompts.template import ChatTemplate


@functools.lru_cache(maxsize=32)
def _parsed(source: str) -> ChatTemplate:
    return ChatTemplate(source)


def render(source: str, values: dict[str, Any]) -> str:
    """Render a template; see `ChatTemplate.render`. Raises InvalidModel when the source is no usable template."""
    return _parsed(source).render(values)
