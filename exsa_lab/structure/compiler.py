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
    without Python's lock), and while `MAX_AT_ONCE` of them compute, further forms are refused.

    Example::

        compiler = Compiler(model)
        compiler.compile(form, lambda result: ...)  # a Grammar or an error, soon, from another thread
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._lock = threading.Lock()  # guards what follows
        self._kept: OrderedDict[Form, Grammar] = OrderedDict()
        self._num_running = 0
        self._tokenizer: Any = None
        self._making = threading.Lock()  # held while the tokenizer is made, once

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
            is_refused = self._num_running >= MAX_AT_ONCE
            self._num_running += not is_refused
        if is_refused:
            done(ConfigError(f"{MAX_AT_ONCE} forms are being compiled already.", hint="Wait for them, then try again."))
            return
        threading.Thread(target=self._watch, args=(form, done), name="exsa-compiler", daemon=True).start()

    def _watch(self, form: Form, done: Done) -> None:
        """Wait for the compiling, but not longer than its bound."""
        result: list[Compiled] = []
        worker = threading.Thread(target=self._work, args=(form, result), name="exsa-compiling", daemon=True)
        worker.start()
        worker.join(MAX_SECONDS)
        if not result:
            what = f"the form took more than {MAX_SECONDS:g} s to compile."
            result.append(ConfigError(what, hint="Make it smaller: fewer keys, shorter repetitions."))
        done(result[0])

    def _work(self, form: Form, result: list[Compiled]) -> None:
        try:
            grammar = Grammar(form, self._shared_tokenizer())
            with self._lock:
                self._kept[form] = grammar
                while len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
            result.append(grammar)
        except BaseException as error:  # whatever it is, it belongs to who asked
            result.append(as_own(error, "the form could not be compiled"))
        finally:
            with self._lock:
                self._num_running -= 1

    def _shared_tokenizer(self) -> Any:
        with self._making:
            if self._tokenizer is None:
                self._tokenizer = new_tokenizer(self._model)
            return self._tokenizer
