"""Every error exsa_lab raises on purpose.

ExsaError
├── ConfigError             a parameter is out of range, unknown or contradicts another
├── ModelError              something about a model file
│   ├── ModelNotFound           no such path, catalog name or hub file
│   ├── InvalidModel            not a GGUF, truncated, corrupt or unsafe
│   ├── VocabularyMismatch      the draft does not speak the target's vocabulary
│   └── ModelLoadError          llama.cpp refused a file that looked right
├── RuntimeUnavailable      llama_cpp is missing or outside the tested range
├── EngineError             something about the engine or one generation
│   ├── EngineNotLoaded         no engine in this kernel yet
│   ├── EngineClosed            the engine was closed
│   ├── EngineFailed            the engine ended by itself: a defect, a crash of its process, a fork of this one
│   ├── QueueFull               too many generations are waiting
│   ├── PromptTooLong           the prompt does not fit the context
│   ├── OutOfMemory             the KV cache or the device has no room
│   ├── DecodeError             llama.cpp failed during a step
│   └── IncompleteForm          the text ended before it had the form asked for
└── GenerationCancelled     the generation was cancelled before it finished

A message is one sentence that says what happened; ``hint`` says what to do about it.
"""

from __future__ import annotations

import traceback

_SHOWN_CHARS = 80


def printable(text: str) -> str:
    """Return the text with everything that could act on a terminal, or hide in a line, as its escape."""
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def shown(value: object) -> str:
    """Return a value for an error's text: its `repr`, printable, short, and something for whatever has none.

    Example: ``shown(10**9)`` is ``"1000000000"``, ``shown("x" * 99)`` ends in ``...``.
    """
    try:
        text = repr(value[: _SHOWN_CHARS + 1] if isinstance(value, str | bytes) else value)
    except Exception:  # a number of too many digits, an object whose __repr__ fails
        text = f"<{type(value).__name__}>"
    text = printable(text)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 3]}..."


def how_to_install(*packages: str) -> str:
    """Say how to add packages to this Python, by their own names: that works in a clone and beside an installed wheel.

    Example: ``how_to_install("torch", "gguf")`` is ``"Run `pip install torch gguf` (%pip in a notebook)."``.
    """
    return f"Run `pip install {' '.join(packages)}` (%pip in a notebook)."


class ExsaError(Exception):
    """Base of all exsa_lab errors: a message for people, and a hint on what to do."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        """One line, in which a file's, a user's or a model's words cannot act."""
        return printable(f"{self.message} {self.hint}".strip())

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class ConfigError(ExsaError, ValueError):
    """A parameter is out of range, unknown, or contradicts another."""


class ModelError(ExsaError):
    """Something is wrong with a model file."""


class ModelNotFound(ModelError, FileNotFoundError):
    """No such path, catalog name or hub file."""

    # OSError would otherwise format its own arguments.
    __str__ = ExsaError.__str__


class InvalidModel(ModelError):
    """The file is not a GGUF, is truncated or corrupt, or is unsafe to open."""


class VocabularyMismatch(ModelError):
    """The draft's vocabulary differs from the target's, so its tokens mean something else."""


class ModelLoadError(ModelError):
    """llama.cpp refused a file that looked right."""


class RuntimeUnavailable(ExsaError):
    """llama_cpp is missing or its version is outside the tested range."""


class EngineError(ExsaError):
    """Something about the engine or one of its generations."""


class EngineNotLoaded(EngineError):
    """No engine is loaded in this kernel."""


class EngineClosed(EngineError):
    """The engine was closed; load it again."""


class EngineFailed(EngineError):
    """The engine ended by itself: load it again."""


LOAD_AGAIN = "Load it again with xl.load() or %exsa_load."


class QueueFull(EngineError):
    """Too many generations are waiting already."""


class PromptTooLong(EngineError):
    """The prompt does not fit the context."""


class OutOfMemory(EngineError):
    """The KV cache or the device has no room."""


class DecodeError(EngineError):
    """llama.cpp failed during a step, or exsa_lab did: then the cause is kept."""

    def _render_traceback_(self) -> list[str]:
        if self.__cause__ is None:
            return super()._render_traceback_()
        return "".join(traceback.format_exception(self)).splitlines()  # a defect: where it happened matters


class IncompleteForm(EngineError):
    """The text ended before it had the form that was asked for."""


class GenerationCancelled(ExsaError):
    """The generation was cancelled before it finished; its partial text is kept on the handle."""


def defect(what: str, cause: BaseException) -> DecodeError:
    """Return the error for something that should not have happened; the cause is kept, with where it happened."""
    error = DecodeError(f"{what}: {shown(cause)}.", hint="Please report it with %exsa_doctor's text.")
    error.__cause__ = cause
    return error


def as_own(error: BaseException, what: str) -> ExsaError:
    """Return an error of ours as it is, and anything else as a defect."""
    return error if isinstance(error, ExsaError) else defect(what, error)
