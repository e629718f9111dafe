"""Templates that write calls of tools as three families of models do, and scripted models that reply as told."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from exsa_lab.testing import ScriptedModel

_TOOLS = (
    "{% if tools %}<|start|>system\nTools:{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}<|end|>\n{% endif %}"
)
_MESSAGES = """{% for message in messages %}<|start|>{{ message.role }}
{{ message.content }}CALLS<|end|>
{% endfor %}{% if add_generation_prompt %}<|start|>assistant
{% endif %}"""
PLAIN = _MESSAGES.replace("CALLS", "")
"""Takes no tools."""
HERMES = _TOOLS + _MESSAGES.replace(
    "CALLS",
    "{% for call in message.tool_calls or [] %}"
    "{% if message.content or not loop.first %}{{ '\\n' }}{% endif %}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}",
)
LLAMA = _TOOLS + _MESSAGES.replace(
    "CALLS",
    "{% if (message.tool_calls or []) | length > 1 %}{{ raise_exception('one call only') }}{% endif %}"
    "{% for call in message.tool_calls or [] %}"
    '{"name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}{% endfor %}',
)
MISTRAL = _TOOLS + _MESSAGES.replace(
    "CALLS",
    "{% if message.tool_calls %}[TOOL_CALLS] [{% for call in message.tool_calls %}"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]{% endif %}",
)
XML = _TOOLS + _MESSAGES.replace(
    "CALLS",
    "{% for call in message.tool_calls or [] %}<call><name>{{ call.function.name }}</name>"
    "{% for key, value in call.function.arguments | items %}<{{ key }}>{{ value }}</{{ key }}>{% endfor %}</call>"
    "{% endfor %}",
)
"""Takes tools, and writes no JSON."""
START, END, TOOL_CALLS = 256, 257, 258
VOCAB = 259

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Graz", "Linz"]}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CLOCK: dict[str, Any] = {"type": "function", "function": {"name": "clock"}}


def reply_model(template: str, reply: str, **options: Any) -> ScriptedModel:
    """Return a model of bytes that replies so, as far as it may; where it may not, it goes on with the likeliest."""
    pieces = [*(bytes([byte]) for byte in range(256)), b"<|start|>", b"<|end|>", b"[TOOL_CALLS]"]
    control = (START, END, TOOL_CALLS)
    wanted: list[int] = []
    model = ScriptedModel(
        pieces, lambda tokens: _next(tokens, wanted), ends=[END], control=control, chat_template=template, **options
    )
    wanted += [*model.tokenize(reply, add_special=False, parse_special=True), END]
    return model


def _next(tokens: tuple[int, ...], wanted: list[int]) -> NDArray[np.float64]:
    """The reply begins after the last line ``<|start|>assistant``; its next token is that which is wanted next."""
    weights = np.linspace(2.0, 1.0, VOCAB)  # lower bytes are likelier: a text that is not told to go on ends soon
    weights[END] = weights[ord('"')] = weights[ord("}")] = 3.0
    head = (START, *b"assistant\n")
    begins = [at + len(head) for at in range(len(tokens)) if tokens[at : at + len(head)] == head]
    if begins:
        written = tokens[begins[-1] :]
        if list(written) == wanted[: len(written)] and len(written) < len(wanted):
            weights[wanted[len(written)]] = 1e6
    return weights / weights.sum()
