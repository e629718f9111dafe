"""A draft that speaks another vocabulary is refused, and the first difference is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from exsa_lab.errors import VocabularyMismatch
from exsa_lab.models.gguf_facts import GGUFFacts, read_facts
from exsa_lab.models.vocabulary import check_model_vocabulary, check_vocabulary
from exsa_lab.testing import ScriptedModel
from tests.models.gguf_files import TOKENS, write


def facts(folder: Path, name: str, **changes: object) -> GGUFFacts:
    return read_facts(write(folder / f"{name}.gguf", general__name=name, **changes))


def test_the_same_vocabulary_passes(tmp_path: Path) -> None:
    check_vocabulary(facts(tmp_path, "target"), facts(tmp_path, "draft"))


def test_padding_at_the_end_passes(tmp_path: Path) -> None:
    padded = [*TOKENS, *(f"[PAD{i}]".encode() for i in range(128))]
    check_vocabulary(facts(tmp_path, "target"), facts(tmp_path, "draft", tokenizer__ggml__tokens=padded))
    check_vocabulary(facts(tmp_path, "target", tokenizer__ggml__tokens=padded), facts(tmp_path, "draft"))


def test_the_first_five_texts_may_differ(tmp_path: Path) -> None:
    renamed = [b"[0]", b"[1]", b"[2]", b"[3]", b"[4]", *TOKENS[5:]]
    check_vocabulary(facts(tmp_path, "target"), facts(tmp_path, "draft", tokenizer__ggml__tokens=renamed))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer__ggml__model": "t5"}, "tokenizer is 'gpt2' in the target, 't5' in the draft"),
        (
            {"tokenizer__ggml__add_bos_token": True},
            r"BOS token is 1 '<s>' and never added in the target, 1 '<s>' in the",
        ),
        ({"tokenizer__ggml__add_eos_token": True}, "EOS token"),
        ({"tokenizer__ggml__tokens": [*TOKENS, *[b"x%d" % i for i in range(129)]]}, "has 8 tokens, the draft 137"),
        ({"tokenizer__ggml__tokens": [*TOKENS[:6], b"X", b"Y"]}, "token 6 is 'd' in the target, 'X' in the draft"),
        (
            {"tokenizer__ggml__tokens": [*TOKENS[:7], b"\xff<script>"]},
            r"token 7 is 'e' in the target, '\\\\xff<script>'",
        ),
    ],
)
def test_the_first_difference_is_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(VocabularyMismatch, match=message) as caught:
        check_vocabulary(facts(tmp_path, "target"), facts(tmp_path, "draft", **changes))
    assert str(caught.value).startswith("draft.gguf cannot draft for target.gguf")


def test_a_bos_that_is_added_must_be_the_same_token(tmp_path: Path) -> None:
    added = {"tokenizer__ggml__add_bos_token": True}
    ours = facts(tmp_path, "target", **added)
    check_vocabulary(ours, facts(tmp_path, "draft", **added))
    with pytest.raises(VocabularyMismatch, match="BOS token is 1 '<s>' in the target, 3 'a' in the draft"):
        check_vocabulary(ours, facts(tmp_path, "draft", **added, tokenizer__ggml__bos_token_id=3))


def scripted(pieces: list[str | bytes], ends: list[int]) -> ScriptedModel:
    return ScriptedModel(pieces, lambda _tokens: [1.0] * len(pieces), ends=ends)


def test_models_without_files_are_compared_too() -> None:
    target = scripted(["a", "b", "."], [2])
    check_model_vocabulary(target, scripted(["a", "b", "."], [2]))
    with pytest.raises(VocabularyMismatch, match="token 1 is 'b' in the target, 'c' in the draft"):
        check_model_vocabulary(target, scripted(["a", "c", "."], [2]))
    with pytest.raises(VocabularyMismatch, match="token 1 ends a text only in the draft"):
        check_model_vocabulary(target, scripted(["a", "b", "."], [1, 2]))


@pytest.mark.real
def test_the_default_pair_shares_its_vocabulary() -> None:
    from exsa_lab.models.resolve import resolve, resolve_draft

    draft = resolve_draft("auto", "smollm2-135m")
    assert draft is not None
    check_vocabulary(read_facts(resolve("smollm2-135m").path), read_facts(draft.path))
