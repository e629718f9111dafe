"""Whether a draft speaks the target's vocabulary, by the rules of llama.cpp's own speculative code.

Source: `common_speculative_are_compatible` in llama.cpp's common/speculative.cpp: same tokenizer type, same
special tokens where they are added, sizes at most 128 apart, same token texts from id 5 on.
"""

from __future__ import annotations

from collections.abc import Iterable

from exsa_lab.errors import VocabularyMismatch
from exsa_lab.models.gguf_facts import GGUFFacts, VocabularyFacts
from exsa_lab.models.gguf_reader import read_region
from exsa_lab.runtime.protocol import Model

MAX_SIZE_DIFFERENCE = 128
"""Padding of the embedding differs between sizes of one family (Qwen2.5: 151,936 and 152,064)."""
FIRST_COMPARED = 5
"""The first ids are placeholders that families name differently."""

_HINT = "Use a draft of the target's own family, or draft=None."


def check_vocabulary(target: GGUFFacts, draft: GGUFFacts) -> None:
    """Compare two model files; raises VocabularyMismatch that names the first difference."""
    ours, theirs = target.vocabulary, draft.vocabulary
    names = target.path.name, draft.path.name  # what the files say of themselves is not what their user calls them
    if ours.kind != theirs.kind:
        raise _mismatch(*names, f"the tokenizer is {ours.kind!r} in the target, {theirs.kind!r} in the draft")
    for what in ("bos", "eos"):
        adds = getattr(ours, f"add_{what}"), getattr(theirs, f"add_{what}")
        ids = getattr(ours, f"{what}_id"), getattr(theirs, f"{what}_id")
        if adds[0] != adds[1] or (adds[0] and ids[0] != ids[1]):
            found = f"{_special(ours, what)} in the target, {_special(theirs, what)} in the draft"
            raise _mismatch(*names, f"the {what.upper()} token is {found}")
    _check_sizes(*names, ours.size, theirs.size)
    if ours.size == theirs.size and read_region(ours.path, ours.region) == read_region(theirs.path, theirs.region):
        return  # Byte for byte the same list: no need to look at single tokens.
    texts = zip(ours.read_tokens()[FIRST_COMPARED:], theirs.read_tokens()[FIRST_COMPARED:], strict=False)
    _check_texts(*names, texts, FIRST_COMPARED)


def check_model_vocabulary(target: Model, draft: Model) -> None:
    """Compare two models that have no file, through the runtime's interface; raises VocabularyMismatch."""
    _check_sizes(target.name, draft.name, target.vocab_size, draft.vocab_size)
    tokens = range(min(target.vocab_size, draft.vocab_size))
    for token in tokens:
        if target.is_end(token) != draft.is_end(token):
            ender = "target" if target.is_end(token) else "draft"
            raise _mismatch(target.name, draft.name, f"token {token:,} ends a text only in the {ender}")
    _check_texts(target.name, draft.name, ((target.token_bytes(t), draft.token_bytes(t)) for t in tokens), 0)


def _check_sizes(target: str, draft: str, ours: int, theirs: int) -> None:
    if abs(ours - theirs) > MAX_SIZE_DIFFERENCE:
        raise _mismatch(target, draft, f"the target has {ours:,} tokens, the draft {theirs:,}")


def _check_texts(target: str, draft: str, texts: Iterable[tuple[bytes, bytes]], first: int) -> None:
    for token, (ours, theirs) in enumerate(texts, first):
        if ours != theirs:
            raise _mismatch(
                target, draft, f"token {token:,} is {_shown(ours)} in the target, {_shown(theirs)} in the draft"
            )


def _special(vocabulary: VocabularyFacts, what: str) -> str:
    token = getattr(vocabulary, f"{what}_id")
    added = "" if getattr(vocabulary, f"add_{what}") else " and never added"
    return f"{token} {vocabulary.token_text(token)!r}{added}" if token is not None else f"not set{added}"


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("utf-8", "backslashreplace"))


def _mismatch(target: str, draft: str, difference: str) -> VocabularyMismatch:
    return VocabularyMismatch(f"{draft} cannot draft for {target}: {difference}.", hint=_HINT)
