"""Six kinds of text to generate, from open chat to plain copying. Written for this benchmark, in ``data/``."""

from __future__ import annotations

from exsa_lab.bench.setting import Options
from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError
from exsa_lab.files import read_data

_data = read_data("exsa_lab.bench", "workloads.json")

CHAT: tuple[str, ...] = tuple(_data["chat"])
CODE: tuple[str, ...] = tuple(_data["code"])
SUMMARISE = tuple(
    f"Summarize the following text in three sentences. Quote the most important sentences word for word.\n\n{article}"
    for article in _data["articles"]
)
EDIT = tuple(
    f"{program['task']} in this Python code and show the whole code again:\n\n```python\n{program['code']}\n```"
    for program in _data["programs"]
)
PASSAGES: tuple[str, ...] = tuple(_data["passages"])
"""Running text, a paragraph each."""
TOPICS: tuple[str, ...] = tuple(_data["topics"])

_WORD_FOR_WORD = "Repeat the following text word for word.\n\n{text}"
_QUOTED = 'Repeat this text:\n\n"{text}"'
_PROOFREAD = "Proofread the following text and return it unchanged if it has no errors.\n\n{text}"
# A model this small often retells instead of repeating: each passage is asked for in words it follows.
_REQUESTS = (_QUOTED, _PROOFREAD, _WORD_FOR_WORD, _WORD_FOR_WORD, _PROOFREAD, _QUOTED, _QUOTED, _QUOTED)

REPEAT = tuple(
    request.format(text=" ".join(passage.split())) for request, passage in zip(_REQUESTS, PASSAGES, strict=True)
)


def _template(kind: str, keys: list[str]) -> str:
    body = ",\n".join(f'    "{key}": "<{key} of the {kind}>"' for key in keys)
    return f"[\n  {{\n{body}\n  }}\n]"


JSON = tuple(
    f"Fill in this JSON template with one entry for each {record['kind']} ({record['examples']}). Keep the keys and "
    f"the layout.\n\n```json\n{_template(record['kind'], record['keys'])}\n```"
    for record in _data["records"]
)

N_TEXTS = 8
WORKLOADS: dict[str, tuple[str, ...]] = {
    "chat": CHAT,
    "code": CODE,
    "summarise": SUMMARISE,
    "edit": EDIT,
    "repeat": REPEAT,
    "json": JSON,
}
"""`N_TEXTS` prompts of each kind."""


def chosen_workloads(options: Options) -> list[str]:
    """Return the kinds of text asked for by ``--workloads``, or all; raises ConfigError for an unknown one."""
    given: str | None = options.given.workloads
    names = given.split(",") if given else ["chat", "repeat"] if options.quick else list(WORKLOADS)
    for name in names:
        if name not in WORKLOADS:
            raise ConfigError(f"unknown workload {name!r}.", hint=did_you_mean(name, WORKLOADS) or ", ".join(WORKLOADS))
    return names


def short_prompts(count: int, start: int = 0) -> list[str]:
    """Return prompts of 20 to 40 words' tokens that get long answers; each ``start`` up to 216 gives other ones."""
    pairs = [(task, topic) for task in _data["essays"] for topic in TOPICS]
    return [task.format(topic=topic) for task, topic in (pairs[(start + i) % len(pairs)] for i in range(count))]
