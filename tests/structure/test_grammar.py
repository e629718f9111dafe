"""Masks along drafts: the text always matches, a state taken back is a fresh one's, the distribution is exact."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exsa_lab.config import SamplingParams
from exsa_lab.errors import ConfigError, DecodeError
from exsa_lab.forms import Form
from exsa_lab.speculation.sampling import greedy_token
from exsa_lab.speculation.shaping import Shaping
from exsa_lab.structure.grammar import Grammar, GrammarMask, _flags
from exsa_lab.structure.tokenizer import new_tokenizer
from tests.speculation.lossless import GRID, misfit
from tests.speculation.test_rejection_sampling import Logits, random_logits
from tests.structure.vocabulary import END, PIECES, VOCAB, grammar, model, text

# Regular expressions that end at some time, over the letters of the vocabulary.
letters = st.sampled_from("abcdefgh")
parts = st.recursive(
    st.one_of(letters, st.sampled_from(["abc", "de", "fgh", "abcde"]), st.sampled_from(["[abd]", "[^a]"])),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda some: f"({'|'.join(some)})"),
        inner.map(lambda one: f"({one})?"),
        inner.map(lambda one: f"({one}){{1,3}}"),
    ),
    max_leaves=6,
)
regexes = parts.map(lambda part: part.replace("[^a]", "[bcdefgh]"))


@settings(max_examples=150, deadline=None)
@given(regexes, st.data())
def test_any_walk_with_drafts_and_rollbacks_ends_in_a_match_and_in_a_fresh_state(
    regex: str, data: st.DataObject
) -> None:
    compiled = grammar(regex)
    mask, committed = compiled.begin(), list[int]()
    for _ in range(60):
        if mask.is_complete:
            break
        drafted = list[int]()
        for _ in range(data.draw(st.integers(0, 4))):  # along a draft, as both chains do
            choices = np.flatnonzero(mask.allowed(drafted))
            token = int(data.draw(st.sampled_from(choices.tolist())))
            drafted.append(token)
            if token == END:
                mask.allowed(drafted)
                break
        back = drafted[: data.draw(st.integers(0, len(drafted)))]  # accepted; or looked at again after less
        fresh = compiled.begin()
        for token in committed:
            fresh.allowed([])
            fresh.commit([token])
        np.testing.assert_array_equal(mask.allowed(back), fresh.allowed(back))
        if END in back:
            mask.commit(back)
            committed += back
            break
        own = int(data.draw(st.sampled_from(np.flatnonzero(mask.allowed(back)).tolist())))
        mask.commit([*back, own])
        committed += [*back, own]
        if own == END:
            break
    else:
        return  # a long one: it was right so far
    assert re.fullmatch(regex, text(committed)), (regex, text(committed))


@settings(max_examples=100, deadline=None)
@given(regexes)
def test_forced_tokens_are_what_one_at_a_time_leaves_no_choice_of(regex: str) -> None:
    compiled = grammar(regex)
    at_once, singly = compiled.begin(), compiled.begin()
    for token in at_once.forced():
        assert np.flatnonzero(singly.allowed([])).tolist() == [token]
        singly.commit([token])


@settings(max_examples=60, deadline=None)
@given(regexes, st.lists(st.lists(st.integers(0, VOCAB - 2), max_size=5), max_size=4))
def test_a_proposal_is_cut_at_the_first_token_that_may_not_come(regex: str, proposals: list[list[int]]) -> None:
    compiled = grammar(regex)
    mask = compiled.begin()
    for proposed in proposals:
        fits, step = mask.fitting(proposed), compiled.begin()
        assert fits == proposed[: len(fits)]
        for token in fits:
            assert step.allowed([])[token]
            step.commit([token])
        if len(fits) < len(proposed):
            assert not step.allowed([])[proposed[len(fits)]]
        np.testing.assert_array_equal(mask.allowed(fits), step.allowed([]))
        assert mask.forced(fits) == step.forced()


def test_each_place_is_computed_once_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[list[int]] = []
    real = GrammarMask._compute
    monkeypatch.setattr(
        GrammarMask, "_compute", lambda self, drafted: (computed.append(list(drafted)), real(self, drafted))[1]
    )
    mask = grammar("[abc]{3}(f|g)").begin()
    draft = [0, 1, 2]
    assert mask.fitting(draft) == draft  # asks about single tokens
    assert computed == []
    for _ in range(2):  # drafted, then verified
        for num in range(len(draft) + 1):
            mask.allowed(draft[:num])
    for token in draft:
        mask.commit([token])
        assert not mask.is_complete
    mask.allowed([])
    assert computed == [draft[:num] for num in range(len(draft) + 1)]


@settings(max_examples=100, deadline=None)
@given(regexes, st.data())
def test_one_token_is_admitted_as_the_flags_say_and_the_best_one_found_alike(regex: str, data: st.DataObject) -> None:
    compiled = grammar(regex)
    one, all_flags = compiled.begin(), compiled.begin()
    shaping, reference, rows = Shaping(mask=compiled.begin()), Shaping(mask=compiled.begin()), random_logits(3, VOCAB)
    drafted: list[int] = []
    for row in rows:
        flags = all_flags.allowed(drafted)
        raw = _flags(all_flags._matcher, VOCAB)
        np.testing.assert_array_equal(flags, raw)  # where a run is forced, its first token is all that may come
        assert [one.admits(drafted, token) for token in range(VOCAB)] == flags.tolist()
        assert shaping.best(row, drafted) == greedy_token(reference.apply(row, drafted))
        if (only := shaping.only(row, drafted)) is not None:
            assert np.flatnonzero(np.isfinite(reference.apply(row, drafted))).tolist() == [only]
        drafted.append(int(data.draw(st.sampled_from(np.flatnonzero(flags).tolist()))))
        if drafted[-1] == END:
            break


def test_numbers_that_are_none_are_refused_by_the_quick_way_too() -> None:
    row = random_logits(3, VOCAB)[0]
    row[2] = np.nan
    with pytest.raises(DecodeError, match="not numbers"):
        Shaping(mask=grammar("[abc]").begin()).best(row, [])


def test_forced_tokens_are_cut_as_the_tokenizer_would() -> None:
    mask = grammar("abcde(f|g)").begin()
    assert mask.forced() == [PIECES.index("abc"), PIECES.index("de")]
    assert np.flatnonzero(mask.allowed([])).tolist() == [PIECES.index("abc")]
    mask.commit(mask.forced())
    assert mask.forced() == []
    assert not mask.is_complete
    mask.commit([PIECES.index("g")])
    assert mask.is_complete


def test_what_can_end_but_need_not_is_not_complete() -> None:
    mask = grammar("ab?").begin()
    mask.commit([0])
    assert not mask.is_complete
    assert np.flatnonzero(mask.allowed([])).tolist() == [1, END]
    mask.commit([END])
    assert mask.is_complete


def test_a_draft_that_leaves_the_grammar_says_so() -> None:
    mask = grammar("ab?").begin()
    with pytest.raises(DecodeError, match="the grammar could not go on"):
        mask.allowed([7])


def test_masks_of_one_grammar_are_independent() -> None:
    compiled = grammar("(a|b)(c|d)")
    first, second = compiled.begin(), compiled.begin()
    first.commit([0])
    assert np.flatnonzero(second.allowed([])).tolist() == [0, 1]
    assert np.flatnonzero(first.allowed([])).tolist() == [2, 3]


JSON_LETTERS = new_tokenizer(model(0))


@pytest.mark.parametrize(
    ("form", "what"),
    [
        (Form("regex", "("), "regex is not valid: unclosed group"),
        (Form("json", '{"not": {"type": "string"}}'), 'the JSON schema uses "not", which is not supported'),
        (Form("json", '{"type": "objekt"}'), "the JSON schema is not valid: Invalid type: objekt"),
        (Form("json", '{"enum": []}'), "the JSON schema admits no text at all"),
        (Form("json", '{"type": "integer", "minimum": 5, "maximum": 3}'), "the JSON schema admits no text at all"),
        (Form("json", '{"$ref": "#/no"}'), 'the JSON schema refers by "$ref" to /no, which is no part of it'),
        (Form("json", "true"), "the JSON schema is not valid"),
        (Form("gbnf", "root ::= missing"), "grammar is not valid: Rule 'missing' not found"),
        (Form("gbnf", 'root ::= "x'), "grammar is not valid"),
        (Form("lark", "start: a"), "grammar is not valid"),
    ],
)
def test_what_is_wrong_with_a_form_is_one_clear_line(form: Form, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Grammar(form, JSON_LETTERS)
    assert what in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [Form("choice", json.dumps(["ab", "de"])), Form("gbnf", 'root ::= "ab" | "de"')])
def test_choices_and_gbnf(form: Form) -> None:
    mask = Grammar(form, JSON_LETTERS).begin()
    allowed = np.flatnonzero(mask.allowed([])).tolist()
    assert allowed == [PIECES.index(piece) for piece in ("a", "d", "ab", "de")]


def test_gbnf_names_characters_by_number() -> None:
    numbered = Form("gbnf", r'root ::= "\x61b" [\x63-\u0065] # "\x66"')
    mask = Grammar(numbered, JSON_LETTERS).begin()
    assert np.flatnonzero(mask.allowed([])).tolist() == [PIECES.index(piece) for piece in ("a", "ab", "abc")]
    mask.commit([PIECES.index("ab")])
    assert np.flatnonzero(mask.allowed([])).tolist() == [PIECES.index(piece) for piece in "cde"]


def test_thousands_of_choices() -> None:
    texts = ["".join(text) for text in itertools.product("abcdefgh", repeat=4)]
    mask = Grammar(Form("choice", json.dumps([*texts, "abcdefgh"])), JSON_LETTERS).begin()
    for letter in "abcd":
        assert mask.admits([], PIECES.index(letter))
        assert not mask.is_complete
        mask.commit([PIECES.index(letter)])
    assert np.flatnonzero(mask.allowed([])).tolist() == [PIECES.index("e"), END]


# Statistics

REGEX = "(a|b|ab)(b|c|d|abc)[a-f]"
FULL = {first + second + third for first in ("a", "b", "ab") for second in ("b", "c", "d", "abc") for third in "abcdef"}
JUMPS = "(a|b)(cde|f)(ab|c)"
"""After "c" the only token is "de", after "f" there is a choice, and "ab" can be cut in two ways."""
CUTS = {"ac": "de", "bc": "de"}
JUMPS_FULL = {first + second + third for first in "ab" for second in ("cde", "f") for third in ("ab", "c")}


def masked(full: set[str], cuts: dict[str, str] | None = None) -> Callable[[Logits, Sequence[int]], Logits]:
    """What may follow, found by trying every token against every text of the form.

    ``cuts`` are the tokens of which there is no choice, by what stands before them.
    """

    def shape(row: Logits, so_far: Sequence[int]) -> Logits:
        row, before = row.copy(), text(list(so_far))
        is_whole = before in full and not any(other.startswith(before) and other != before for other in full)
        for token in range(VOCAB):
            longer = before + PIECES[token]
            is_right = before in full if token == END else any(other.startswith(longer) for other in full)
            is_cut = cuts is not None and cuts.get(before, PIECES[token]) != PIECES[token]
            if not is_right or is_cut or is_whole or END in so_far:
                row[token] = -np.inf
        return row

    return shape


def masker(regex: str) -> Callable[[], Shaping]:
    compiled = grammar(regex)
    return lambda: Shaping(mask=compiled.begin())


@pytest.mark.parametrize(("k", "temperature"), GRID)
@pytest.mark.parametrize("has_model", [True, False], ids=["model", "ngram"])
def test_text_is_distributed_as_the_masked_target_alone_would(has_model: bool, k: int, temperature: float) -> None:
    target, draft = random_logits(11, VOCAB), random_logits(20, VOCAB)
    params = SamplingParams(temperature=temperature)
    assert misfit(target, draft if has_model else None, k, params, masker(REGEX), masked(FULL)) < 1


@pytest.mark.parametrize(("k", "temperature"), [(0, 0.5), (0, 1.0), *GRID])
def test_text_is_distributed_so_where_forced_tokens_are_not_asked_for(k: int, temperature: float) -> None:
    target, draft, params = random_logits(11, VOCAB), random_logits(20, VOCAB), SamplingParams(temperature=temperature)
    reference = masked(JUMPS_FULL, CUTS)
    for rows in (draft, None):
        assert misfit(target, rows, k, params, masker(JUMPS), reference, length=5, jumps=True) < 1


def test_the_statistics_catch_a_mask_that_is_left_out_and_one_that_is_narrower() -> None:
    target, draft, params = random_logits(11, VOCAB), random_logits(20, VOCAB), SamplingParams(temperature=1.0)
    assert misfit(target, draft, 2, params, masker("[a-h]{3,9}"), masked(FULL)) == math.inf
    assert misfit(target, draft, 2, params, masker(JUMPS), masked(FULL | JUMPS_FULL)) > 1.5
