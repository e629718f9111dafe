"""A small vocabulary with several ways to cut most texts, and grammars over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from exsa_lab.config import EngineConfig
from exsa_lab.engine.assembly import Models
from exsa_lab.engine.engine import Engine
from exsa_lab.engine.worker.isolated import IsolatedWorker
from exsa_lab.forms import Form
from exsa_lab.structure.grammar import Grammar
from exsa_lab.structure.tokenizer import new_tokenizer
from exsa_lab.testing import ScriptedModel, markov

PIECES = [*"abcdefgh", "ab", "abc", "de", "fgh", "\x02", "."]
END = len(PIECES) - 1
VOCAB = len(PIECES)


def model(seed: int, **options: Any) -> ScriptedModel:
    return ScriptedModel(PIECES, markov(VOCAB, seed), ends=[END], **options)


def open_models(progress: Callable[[float], bool]) -> Models:
    """For an engine in a process of its own."""
    progress(1.0)
    return Models(model(1), model(2))


def isolated() -> Engine:
    config = EngineConfig(n_ctx=512)
    return Engine.on(IsolatedWorker(open_models, config), config)


_TOKENIZER = new_tokenizer(model(0))


def grammar(regex: str) -> Grammar:
    return Grammar(Form("regex", regex), _TOKENIZER)


def text(tokens: list[int]) -> str:
    return "".join(PIECES[token] for token in tokens if token != END)
