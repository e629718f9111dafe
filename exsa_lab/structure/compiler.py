"""Compiles forms on threads of their own, within bounds, and keeps what was compiled."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from exsa_lab.errors import ConfigError, ExsaError, as_own
from exsa_lab.forms import Form
from exsa_lab.runtime.protocol import Model
from exsa_lab.structure.grammar import Grammar
from exsa_lab.structure.tokenizer import new_tokenizer

MAX_SECONDS = 10.0
"""Longest compiling. A schema of some hundred keys takes milliseconds."""
MAX_AT_ONCE = 4
MAX_KEPT = 64

Compiled = Grammar | ExsaError
Done = Callable[[Compiled], None]


class Compiler:
    """Turns forms into grammars for one model. Safe from any thread.

    A form that takes too long is given up: its thread cannot be stopped, but holds up nobody (llguidance computes
    without Python's lock). Only `MAX_AT_ONCE` compute at once, those that were given up included; others wait as long
    as one may take.

    Example::

        compiler = Compiler(model)
        compiler.compile(form, lambda result: ...)  # a Grammar or an error, soon, from another thread
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._lock = threading.Lock()  # guards what follows
        self._kept: OrderedDict[Form, Grammar] = OrderedDict()
        self._asked: dict[Form, list[Done]] = {}
        self._tokenizer: Any = None
        self._making = threading.Lock()  # held while the tokenizer is made, once
        self._room = threading.Semaphore(MAX_AT_ONCE)

    def find(self, form: Form) -> Grammar | None:
        """Return what was compiled before."""
        with self._lock:
            grammar = self._kept.get(form)
            if grammar is not None:
                self._kept.move_to_end(form)
            return grammar

    def compile(self, form: Form, done: Done) -> None:
        """Compile a form and call ``done(grammar or error)`` from another thread."""
        with self._lock:
            is_new = form not in self._asked
            self._asked.setdefault(form, []).append(done)
        if is_new:
            threading.Thread(target=self._watch, args=(form,), name="exsa-compiler", daemon=True).start()

    def _watch(self, form: Form) -> None:
        """Wait for the compiling, but not longer than its bound, and tell all who asked."""
        result: list[Compiled] = []
        if self._room.acquire(timeout=MAX_SECONDS):
            worker = threading.Thread(target=self._work, args=(form, result), name="exsa-compiling", daemon=True)
            worker.start()
            worker.join(MAX_SECONDS)
            if not result:
                what = f"the form took more than {MAX_SECONDS:g} s to compile."
                result.append(ConfigError(what, hint="Make it smaller: fewer keys, shorter repetitions."))
        else:
            what = f"{MAX_AT_ONCE} forms are being compiled already."
            result.append(ConfigError(what, hint="Wait for them, then try again."))
        with self._lock:
            asked = self._asked.pop(form)
        for done in asked:
            done(result[0])

    def _work(self, form: Form, result: list[Compiled]) -> None:
        try:
            grammar = self.find(form) or Grammar(form, self._shared_tokenizer())
            self._keep(form, grammar)
            result.append(grammar)
        except BaseException as error:  # whatever it is, it belongs to who asked
            result.append(as_own(error, "the form could not be compiled"))
        finally:
            self._room.release()

    def _keep(self, form: Form, grammar: Grammar) -> None:
        with self._lock:
            self._kept[form] = grammar
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)

    def _shared_tokenizer(self) -> Any:
        with self._making:
            if self._tokenizer is None:
                self._tokenizer = new_tokenizer(self._model)
            return self._tokenizer
