"""One chat template: parsed, and rendered within bounds."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser

from exsa_lab.errors import ConfigError, ExsaError, InvalidModel
from exsa_lab.prompts.evaluate import Evaluation
from exsa_lab.prompts.limits import WorkBudget, WorkExceeded
from exsa_lab.prompts.values import Refused

MAX_TEMPLATE_CHARS = 100_000
"""The longest templates in use have about 30,000."""
BASE_WORK = 500_000
"""Units of work one rendering may take, plus some for what it is given; see `exsa_lab.prompts.limits`. Published
templates take up to 30,000."""
WORK_PER_CHAR = 16
WORK_PER_MESSAGE = 20_000
NO_CHAT = "Use chat=False (--no-chat) for raw completion."


class TemplateRefusal(ConfigError):
    """The template called raise_exception: it does not take these messages."""


class TemplateTooCostly(InvalidModel):
    """The template takes more work, time or memory than it may: no mistake does that."""


class _Generation(Extension):
    """``{% generation %}``, which marks what a model is trained on; for a prompt its body counts."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's own interface

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


_PARSER = Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", _Generation])


def parsed(source: str) -> nodes.Template:
    """Parse a template as published models write them; raises jinja2's errors."""
    tree: nodes.Template = _PARSER.parse(source)
    return tree


class ChatTemplate:
    """A parsed chat template. Raises InvalidModel when the source is not a usable template.

    Example: ``ChatTemplate("{{ messages[0].content }}").render({"messages": [{"role": "user", "content": "Hi"}]})``.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise InvalidModel(f"the chat template is {len(source):,} characters long.", hint=NO_CHAT)
        try:
            self._tree = parsed(source)
        except Exception as cause:  # Hostile sources fail in many ways: syntax, recursion, numbers too large.
            raise InvalidModel(f"the chat template cannot be read: {one_line(cause)}.", hint=NO_CHAT) from cause

    def render(self, values: dict[str, Any]) -> str:
        """Render with the variables ``values``: messages, add_generation_prompt, bos_token and so on.

        The text keeps the marks of the values' texts (`exsa_lab.prompts.marked`). Raises TemplateRefusal in the
        template's own words, InvalidModel when it fails or takes too much work.
        """
        messages = values.get("messages", ())
        work = BASE_WORK + WORK_PER_CHAR * _num_chars(values) + WORK_PER_MESSAGE * len(messages)
        try:
            return Evaluation(WorkBudget(work), values).run(self._tree)
        except Refused as cause:
            raise TemplateRefusal(f"the model's chat template refuses these messages: {one_line(cause)}.") from cause
        except WorkExceeded as cause:
            raise TemplateTooCostly(
                "the chat template takes too much work to render, so it was stopped.", hint=NO_CHAT
            ) from cause
        except MemoryError as cause:
            raise TemplateTooCostly("the chat template takes too much memory.", hint=NO_CHAT) from cause
        except ExsaError:
            raise
        except Exception as cause:  # Any error a template can provoke, RecursionError among them.
            raise InvalidModel(f"the chat template failed: {one_line(cause)}.", hint=NO_CHAT) from cause


def one_line(cause: BaseException) -> str:
    text = " ".join(str(cause).split()) or type(cause).__name__
    return (text if len(text) <= 200 else f"{text[:197]}...").rstrip(".")


def _num_chars(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(_num_chars(key) + _num_chars(item) for key, item in value.items())
    return sum(map(_num_chars, value)) if isinstance(value, list | tuple) else 0
