"""The model's own chat template, rendered in a sandbox that a hostile file cannot hang or exhaust.

A GGUF carries its chat template as a Jinja program, which is somebody else's code. jinja2's immutable sandbox
keeps it from files and from Python's internals; `exsa_lab.models.jinja_limits` bounds its work.
"""

from __future__ import annotations

import datetime
from typing import Any

import jinja2

from exsa_lab.errors import ConfigError, ExsaError, InvalidModel
from exsa_lab.models.jinja_limits import BoundedEnvironment, WorkExceeded, work_budget

MAX_TEMPLATE_CHARS = 200_000
"""The longest templates in use have about 30,000."""
BASE_WORK = 2_000_000
"""Units of work one rendering may take, plus some for each character of the messages; see `jinja_limits`."""
WORK_PER_CHAR = 16
ROLES = ("system", "user", "assistant")
_NO_CHAT = "Use chat=False (--no-chat) for raw completion."


class _Refused(jinja2.TemplateError):
    """The template called raise_exception."""


class ChatTemplate:
    """A compiled chat template.

    ``bos`` and ``eos`` are the special tokens' texts. Raises InvalidModel when the source is not a usable template.

    Example: ``ChatTemplate("{{ messages[0].content }}", "<s>", "</s>").render([{"role": "user", "content": "Hi"}])``.
    """

    def __init__(self, source: str, bos: str = "", eos: str = "") -> None:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise InvalidModel(f"the chat template is {len(source):,} characters long.", hint=_NO_CHAT)
        self.source = source
        environment = BoundedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
        environment.globals.update(
            raise_exception=_raise_exception, strftime_now=_strftime_now, bos_token=bos, eos_token=eos
        )
        try:
            self._template = environment.from_string(source)
        except Exception as cause:  # Hostile sources fail in many ways: syntax, recursion, Python's own compiler.
            raise InvalidModel(f"the chat template cannot be compiled: {_one_line(cause)}.", hint=_NO_CHAT) from cause

    def render(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Render messages to the text of a prompt, by default with the assistant's turn opened.

        Raises ConfigError for malformed messages and for those the template refuses (in its own words),
        InvalidModel when the template fails or takes too much work.
        """
        check_messages(messages)
        length = sum(len(message["content"]) for message in messages)
        copies = [dict(message) for message in messages]
        try:
            with work_budget(BASE_WORK + WORK_PER_CHAR * length):
                return self._template.render(
                    messages=copies, add_generation_prompt=add_generation_prompt, tools=None, documents=None
                )
        except _Refused as cause:
            raise ConfigError(f"the model's chat template refuses these messages: {_one_line(cause)}.") from cause
        except WorkExceeded as cause:
            raise InvalidModel(
                "the chat template takes too much work to render, so it was stopped.", hint=_NO_CHAT
            ) from cause
        except ExsaError:
            raise
        except Exception as cause:  # Any Python error a template can provoke, RecursionError among them.
            raise InvalidModel(f"the chat template failed: {_one_line(cause)}.", hint=_NO_CHAT) from cause


def check_messages(messages: object) -> None:
    """Raise ConfigError unless this is a non-empty list of ``{"role": ..., "content": ...}`` with known roles."""
    if not isinstance(messages, list) or not messages:
        raise ConfigError(
            f"messages must be a non-empty list, not {_short(messages)}.",
            hint='Such as [{"role": "user", "content": "Hi"}].',
        )
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise ConfigError(f"message {index} is {_short(message)}.", hint='It must have "role" and "content", only.')
        if message["role"] not in ROLES:
            raise ConfigError(
                f"message {index} has the role {_short(message['role'])}.",
                hint=f"It must be one of {', '.join(ROLES)}.",
            )
        if not isinstance(message["content"], str):
            raise ConfigError(
                f"the content of message {index} is {_short(message['content'])}.", hint="It must be a text."
            )


def _raise_exception(message: object = "") -> None:
    raise _Refused(str(message))


def _strftime_now(layout: str) -> str:
    return datetime.datetime.now().strftime(layout[:200])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _one_line(cause: BaseException) -> str:
    text = " ".join(str(cause).split()) or type(cause).__name__
    return (text if len(text) <= 200 else f"{text[:197]}...").rstrip(".")
