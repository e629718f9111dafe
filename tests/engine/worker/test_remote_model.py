"""A model in another process: its facts are here, its words are asked for once."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from exsa_lab.config import EngineConfig
from exsa_lab.engine.worker.remote_model import RemoteModel
from exsa_lab.errors import EngineError
from exsa_lab.runtime.protocol import SpecialToken, TokenRules

RULES = TokenRules(1, 2, True, (SpecialToken(2, "</s>", True, strips_left=True),), ends=(2,))


def test_facts_and_words() -> None:
    asked: list[tuple[Any, ...]] = []

    def call(name: str, *args: Any) -> Any:
        asked.append((name, *args))
        return {"token_bytes": b"ab".hex(), "token_label": "ab", "is_end": False, "tokenize": [1, 2]}[name]

    facts = {"name": "m", "path": None, "vocab_size": 3, "n_ctx_train": 9, "is_recurrent": True}
    model = RemoteModel(call, {**facts, "chat_template": "x", "token_rules": json.loads(json.dumps(asdict(RULES)))})
    assert [model.token_bytes(1), model.token_bytes(1), model.token_label(1), model.is_end(1)] == [b"ab"] * 2 + [
        "ab",
        False,
    ]
    assert asked == [("token_bytes", 1), ("token_label", 1), ("is_end", 1)]
    assert model.tokenize("ab", add_special=False, parse_special=True) == [1, 2]
    assert asdict(model.token_rules) == asdict(RULES)
    with pytest.raises(EngineError, match="process of its own"):
        model.open_context(EngineConfig(), 1)
