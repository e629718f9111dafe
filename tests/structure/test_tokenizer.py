"""A model's vocabulary as llguidance sees it."""

from __future__ import annotations

import pytest

from exsa_lab.errors import ConfigError
from exsa_lab.structure.tokenizer import new_tokenizer
from exsa_lab.testing import ScriptedModel
from tests.structure.vocabulary import END, PIECES, VOCAB, model


def test_tokens_and_ends_are_the_models() -> None:
    tokenizer = new_tokenizer(model(1))
    assert tokenizer.vocab_size == VOCAB
    assert tokenizer.eos_token == END
    assert tokenizer.tokenize_str("abcde") == [PIECES.index("abc"), PIECES.index("de")]


def test_control_tokens_are_no_text() -> None:
    tokenizer = new_tokenizer(ScriptedModel(["a", "<|x|>", "\x02", "."], lambda _: [0.25] * 4, ends=[3], control=[1]))
    assert tokenizer.is_special_token(1)
    assert not tokenizer.is_special_token(0)


def test_a_model_that_never_ends_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no end token"):
        new_tokenizer(ScriptedModel(["a", "b"], lambda _: [0.5, 0.5]))
