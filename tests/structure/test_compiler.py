"""Compiling on threads of its own, within bounds."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from exsa_lab.errors import ConfigError, ExsaError
from exsa_lab.forms import Form
from exsa_lab.structure import compiler as module
from exsa_lab.structure.compiler import Compiler
from exsa_lab.structure.grammar import Grammar
from tests.structure.vocabulary import model


def compiled(compiler: Compiler, form: Form) -> Grammar | ExsaError:
    results: queue.Queue[Grammar | ExsaError] = queue.Queue()
    compiler.compile(form, results.put)
    return results.get(timeout=60)


def test_what_was_compiled_is_kept() -> None:
    compiler, form = Compiler(model(1)), Form("regex", "a+")
    assert compiler.find(form) is None
    grammar = compiled(compiler, form)
    assert isinstance(grammar, Grammar)
    assert compiler.find(form) is grammar


def test_only_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    compiler = Compiler(model(1))
    forms = [Form("regex", text) for text in ("a", "b", "c")]
    for form in forms:
        compiled(compiler, form)
    assert [compiler.find(form) is not None for form in forms] == [False, True, True]


def test_a_wrong_form_is_an_error_and_the_next_one_compiles() -> None:
    compiler = Compiler(model(1))
    assert isinstance(compiled(compiler, Form("regex", "(")), ConfigError)
    assert isinstance(compiled(compiler, Form("regex", "a")), Grammar)


def test_who_asks_for_the_same_form_meanwhile_gets_the_same_grammar() -> None:
    compiler, results = Compiler(model(1)), queue.Queue[Any]()
    for _ in range(20):
        compiler.compile(Form("regex", "[ab]+c"), results.put)
    found = [results.get(timeout=60) for _ in range(20)]
    assert all(isinstance(grammar, Grammar) for grammar in found)
    assert len({id(grammar) for grammar in found}) <= 2  # one came when the first was ready


def test_many_forms_at_once_wait_for_each_other() -> None:
    compiler, results = Compiler(model(1)), queue.Queue[Any]()
    for number in range(1, 30):
        compiler.compile(Form("regex", f"a{{{number}}}"), results.put)
    assert all(isinstance(results.get(timeout=60), Grammar) for _ in range(29))


def test_what_takes_too_long_is_given_up_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    class Slow:
        def __init__(self, *_: Any) -> None:
            release.wait(30)

    monkeypatch.setattr(module, "Grammar", Slow)
    monkeypatch.setattr(module, "MAX_SECONDS", 0.05)
    monkeypatch.setattr(module, "MAX_AT_ONCE", 1)
    compiler = Compiler(model(1))
    late = compiled(compiler, Form("regex", "a"))
    assert isinstance(late, ConfigError)
    assert "took more than" in str(late)
    refused = compiled(compiler, Form("regex", "b"))
    assert isinstance(refused, ConfigError)
    assert "being compiled already" in str(refused)
    release.set()
