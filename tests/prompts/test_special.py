"""Only a template's own parts become control tokens, and harmless texts have the tokens they always had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exsa_lab.prompts.marked import join, mark
from exsa_lab.prompts.special import SpecialTokens
from exsa_lab.runtime.model import LlamaModel
from tests.prompts.vocabularies import CHATML, KINDS, SPECIALS, open_model

TEMPLATE = CHATML + "<|turn|><think></think>"
USER, ASSISTANT = "\x01", "\x02"
PIECES = [*SPECIALS, "hello", " world", "\n", "<", "|", "im_end|>", "<|im_", "<th", "ink>", "\u2581", "\u20ac", "s>"]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaModel]:
    opened = open_model(tmp_path_factory.mktemp("vocabulary"), request.param)
    yield opened
    opened.close()


def ids(model: LlamaModel, *texts: str) -> set[int]:
    return {token.id for token in model.token_rules.specials if token.text in texts}


nasty = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)
relaxed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)


@relaxed
@given(text=nasty)
def test_no_text_of_a_user_becomes_a_control_token(model: LlamaModel, text: str) -> None:
    special = SpecialTokens(model.token_rules.specials, TEMPLATE)
    tokens = special.tokenize(model, mark(text, USER))
    control = {token.id for token in model.token_rules.specials if token.is_control and token.text != "<unk>"}
    assert not (control | ids(model, "<|turn|>", "<think>", "</think>")) & set(tokens)
    written = b"".join(map(model.token_bytes, tokens)).decode()
    if model.name == "spm":  # There a low line stands for a blank, and one is put at the head and after such tokens.
        written, text = (part.replace("\u2581", " ").replace(" ", "") for part in (written, text))
    assert written == text


@relaxed
@given(before=nasty, text=nasty, after=nasty)
def test_a_templates_own_tokens_are_all_there(model: LlamaModel, before: str, text: str, after: str) -> None:
    special = SpecialTokens(model.token_rules.specials, TEMPLATE)
    parts = [
        "<|im_start|>user\n",
        mark(before, USER),
        "<|im_end|>",
        mark(text, USER),
        mark(after, "\x03"),
        "<|im_end|>",
    ]
    tokens = special.tokenize(model, join(parts))
    (start,), (end,) = ids(model, "<|im_start|>"), ids(model, "<|im_end|>")
    assert (tokens.count(start), tokens.count(end)) == (1, 2)


@relaxed
@given(text=st.text(alphabet="hello wrd\n.,us", max_size=30))
def test_harmless_texts_have_the_reference_tokens(model: LlamaModel, text: str) -> None:
    special = SpecialTokens(model.token_rules.specials, TEMPLATE)
    whole = join(["<|im_start|>user\n", mark(text, USER), "<|im_end|>\n"])
    expected = model.tokenize(str(whole), add_special=False, parse_special=True)
    assert special.tokenize(model, whole) == expected
    # Beside a text that is not harmless, too.
    nasty_too = special.tokenize(model, join([whole, mark("<|im_end|>", USER)]))
    assert nasty_too[: len(expected) - 1] == expected[:-1]


def test_a_control_token_made_of_both_is_text(model: LlamaModel) -> None:
    special = SpecialTokens(model.token_rules.specials, TEMPLATE)
    for parts in (("<|im_", mark("end|>", USER)), (mark("<|im", USER), "_end|>"), ("<", mark("|im_end|", USER), ">")):
        assert not ids(model, "<|im_end|>") & set(special.tokenize(model, join(parts)))


def test_an_assistants_thought_keeps_its_markers(model: LlamaModel) -> None:
    special = SpecialTokens(model.token_rules.specials, TEMPLATE)
    text = "<think>hello</think><|turn|><|im_end|>"
    theirs = special.tokenize(model, mark(text, ASSISTANT), frozenset({ASSISTANT}))
    assert ids(model, "<think>", "</think>") <= set(theirs)
    assert not ids(model, "<|turn|>", "<|im_end|>") & set(theirs)
    assert not ids(model, "<think>") & set(special.tokenize(model, mark(text, USER), frozenset({ASSISTANT})))


def test_user_defined_tokens_the_template_does_not_write_are_text(model: LlamaModel) -> None:
    special = SpecialTokens(model.token_rules.specials, CHATML)
    text = "a    b<|turn|>"
    expected = model.tokenize(text, add_special=False, parse_special=False)
    assert special.tokenize(model, mark(text, USER)) == expected
    assert ids(model, "    ", "<|turn|>") <= set(expected)


def test_the_control_tokens_of_a_text_are_named(tmp_path: Path) -> None:
    model = open_model(tmp_path)
    special = SpecialTokens(model.token_rules.specials)
    assert special.found_in("a<|im_end|>b<|im_start|><|im_end|>") == ["<|im_end|>", "<|im_start|>"]
    assert special.found_in("a < b |> c") == []
    model.close()
