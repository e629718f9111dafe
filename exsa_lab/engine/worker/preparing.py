"""What a generation needs before the loop can take it, made on other threads where it takes long.

A form is compiled, a long prompt tokenized, a template that nobody knows run apart: the loop goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from exsa_lab.engine.generation import Generation
from exsa_lab.engine.sequence import encode, is_soon_begun
from exsa_lab.errors import ExsaError, InvalidModel, as_own
from exsa_lab.prompts.encode import EncodedPrompt
from exsa_lab.runtime.protocol import Model
from exsa_lab.structure.compiler import Compiler
from exsa_lab.structure.grammar import Grammar
from exsa_lab.structure.tools import form_of

MAX_ENCODING = 2
"""Prompts that are encoded at once beside the engine."""
CANNOT_BEGIN = "the prompt could not be begun"


class Preparing:
    """Knows the generations that are being prepared. Safe from any thread.

    ``begin`` is called with each that is ready and with its prompt, from another thread, which must not wait in it.
    """

    def __init__(self, model: Model, n_cells: int, begin: Callable[[Generation, EncodedPrompt], object]) -> None:
        self._model = model
        self._n_cells = n_cells
        self._begin = begin
        self._compiler = Compiler(model)
        self._lock = threading.Lock()
        self._generations: set[Generation] = set()  # guarded by the lock: who takes one out begins or ends it
        self._encoding = threading.Semaphore(MAX_ENCODING)
        with contextlib.suppress(InvalidModel):  # which whoever needs it is told
            model.chat_template  # noqa: B018  # read now, so that nobody reads it from a model that is being freed

    def is_ready(self, generation: Generation) -> bool:
        """Whether the loop can take it now; its form is then compiled."""
        form = form_of(generation.params, generation.tool_format)
        generation.grammar = None if form is None else self._compiler.find(form)
        return (form is None or generation.grammar is not None) and is_soon_begun(generation, self._model)

    def add(self, generation: Generation) -> None:
        """From now on it is cancelled or ended here. `start` is called next."""
        with self._lock:
            self._generations.add(generation)

    def start(self, generation: Generation) -> None:
        """Make what is missing, and begin with it or fail it."""
        form = form_of(generation.params, generation.tool_format)
        if form is not None and generation.grammar is None:
            self._compiler.compile(form, lambda compiled: self._prepare(generation, compiled))
            return
        threading.Thread(
            target=self._prepare, args=(generation, generation.grammar), name="exsa-encoding", daemon=True
        ).start()

    def forget(self, generation: Generation) -> bool:
        """Take one out that was cancelled; False where it is not here."""
        with self._lock:
            is_here = generation in self._generations
            self._generations.discard(generation)
        return is_here

    def end(self) -> set[Generation]:
        """Take all out: none of them begins any more."""
        with self._lock:
            generations, self._generations = self._generations, set()
        return generations

    @contextlib.contextmanager
    def nobody_encodes(self) -> Iterator[None]:
        """Wait for those that use the model, and let nobody use it during the block; call `end` first."""
        with contextlib.ExitStack() as stack:
            for _ in range(MAX_ENCODING):
                stack.enter_context(self._encoding)
            yield

    def _prepare(self, generation: Generation, grammar: Grammar | ExsaError | None) -> None:
        """On a thread of its own: the form is compiled, so encode the prompt."""
        try:
            if isinstance(grammar, ExsaError):
                raise grammar
            with self._encoding:
                if generation not in self._generations:  # cancelled, or ended with the engine, whose model is gone
                    return
                encoded = encode(generation, self._model, self._n_cells)
        except BaseException as cause:
            if self.forget(generation):
                generation.fail(as_own(cause, CANNOT_BEGIN))
            return
        with self._lock:  # at once: a cancellation must find it here or there
            if generation in self._generations:
                self._generations.discard(generation)
                generation.grammar = grammar
                self._begin(generation, encoded)
