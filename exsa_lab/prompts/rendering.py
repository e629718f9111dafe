"""Where a template is rendered: a known one here, any other in a process that may be killed over it."""

from __future__ import annotations

import functools
import hashlib
from importlib import resources
from typing import Any

from exsa_lab.prompts.pool import render_apart
from exsa_lab.prompts.template import ChatTemplate


def render(source: str, values: dict[str, Any]) -> str:
    """Render a template; see `ChatTemplate.render`. Raises InvalidModel when the source is no usable template.

    Foreign code: call it where nothing is locked.
    """
    return _parsed(source).render(values) if is_known(source) else render_apart(source, values)


@functools.lru_cache(maxsize=64)
def is_known(source: str) -> bool:
    """Whether somebody has read this very template: its SHA-256 is in ``known_templates.txt``."""
    return hash_of(source) in _known()


def hash_of(source: str) -> str:
    """Return the SHA-256 of a template, of which a last line break is no part."""
    return hashlib.sha256(source.removesuffix("\n").encode("utf-8", "replace")).hexdigest()


@functools.cache
def _known() -> frozenset[str]:
    listed = resources.files("exsa_lab.prompts").joinpath("known_templates.txt").read_text("utf-8")
    return frozenset(line.split()[0] for line in listed.splitlines() if line and not line.startswith("#"))


@functools.lru_cache(maxsize=32)
def _parsed(source: str) -> ChatTemplate:
    return ChatTemplate(source)
