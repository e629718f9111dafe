"""From the fields of a request, as OpenAI's interface names them, to what the engine is asked for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from exsa_lab.config import SamplingParams, whole
from exsa_lab.errors import ConfigError, shown
from exsa_lab.prompts.messages import FIELDS, Message, checked_messages
from exsa_lab.prompts.token_prompt import is_tokens
from exsa_lab.serve.api_errors import ApiError, api_error, invalid
from exsa_lab.serve.limits import Limits

DEFAULT_MAX_TOKENS = 1024
"""Tokens of a reply where the request sets no limit."""
MAX_LOGPROBS = 20
MOST_CHARACTERS = 32
"""For each token of the context, beyond which no text fits; finding that out by tokenizing would hold up everybody."""
LEAST_TOKENS = 4
"""Of a message, with what the template writes around it."""
_OWN = (
    *("draft_length", "drafter", "timeout", "reasoning_budget", "regex", "grammar", "choice", "top_k", "min_p"),
    *("repeat_penalty", "penalty_last_n", "suppress_tokens", "overflow", "continue_final", "chat_template_kwargs"),
)
"""What may stand under ``exsa``: parameters of `SamplingParams` that OpenAI's interface does not have."""
_PASSED = (
    *("temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias", "stop"),
    *("response_format", "top_k", "min_p", "repeat_penalty", "chat_template_kwargs"),
)
"""Fields that mean the same here; the last four are those that other servers have beside OpenAI's."""
_COMMON = frozenset(
    {*_PASSED, "model", "n", "seed", "max_tokens", "stream", "stream_options", "logprobs", "exsa", "user"}
)
_TOOLS = ("tools", "tool_choice", "parallel_tool_calls")
_CHAT = _COMMON | {*_TOOLS, "messages", "max_completion_tokens", "top_logprobs"}
_COMPLETION = _COMMON | {"prompt", "echo"}
_NOT_HERE = ("functions", "suffix", "audio")
"""Fields that cannot be left out without another answer; to ignore them would be no answer to what was asked."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request, checked. One text is generated for each prompt and choice of it."""

    model: str | None
    prompts: list[str] | list[list[Message]] | list[list[int]]
    params: dict[str, Any]
    """Keywords of `Engine.submit`."""
    num_choices: int = 1
    """Texts for each prompt."""
    streams: bool = False
    includes_usage: bool = False
    """Whether a stream ends with the usage."""
    logprobs: int | None = None
    """How many alternatives of each token are wanted beside its own probability; None for neither."""
    echoes: bool = False
    """Whether a completion begins with its prompt."""
    ignored: tuple[str, ...] = ()
    """Fields that were not understood."""

    @property
    def num_texts(self) -> int:
        return len(self.prompts) * self.num_choices

    def check_size(self, n_ctx: int) -> None:
        """Raise ApiError where a prompt is far beyond the context's tokens."""
        num_tools = _characters(self.params.get("tools"))
        is_chat = self.params["chat"]
        for prompt in self.prompts:
            num = _characters(prompt) + num_tools
            least = 0 if isinstance(prompt, str) else len(prompt) * (LEAST_TOKENS if is_chat else 1)
            if num > MOST_CHARACTERS * n_ctx or least > n_ctx:
                size = f"{num:,} characters" if is_chat or not least else f"{least:,} tokens"
                raise ApiError(
                    400,
                    f"The prompt has {size}, and the context holds {n_ctx:,} tokens.",
                    param="messages" if is_chat else "prompt",
                    code="context_length_exceeded",
                )

    def check_tokens(self, vocab_size: int) -> None:
        """Raise ApiError for tokens that the model does not have."""
        prompts: list[list[int]] = [prompt for prompt in self.prompts if is_tokens(prompt)]
        for token in itertools.chain.from_iterable(prompts):
            if not 0 <= token < vocab_size:
                raise invalid(f"prompt holds {shown(token)}, and the model has {vocab_size:,} tokens.", "prompt")

    def params_of(self, choice: int) -> dict[str, Any]:
        """Keywords for the choice of this number: each has random numbers of its own."""
        seed = self.params.get("seed")
        return self.params if seed is None else {**self.params, "seed": (seed + choice) % 2**64}


def _characters(value: object) -> int:
    """Characters of all texts within."""
    if isinstance(value, str):
        return len(value)
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return sum(map(_characters, parts))


def read_chat(body: Mapping[str, Any], limits: Limits) -> ApiRequest:
    """Read the body of a chat completion; raises ApiError."""
    given = {name: value for name, value in body.items() if value is not None}
    messages, unknown = _messages(given.get("messages"))
    logprobs = _logprobs(given)
    if "max_completion_tokens" in given:
        given["max_tokens"] = given["max_completion_tokens"]
    return _read(given, _CHAT, limits, prompts=[messages], logprobs=logprobs, unknown=unknown, chat=True)


def read_completion(body: Mapping[str, Any], limits: Limits) -> ApiRequest:
    """Read the body of a completion; raises ApiError."""
    given = {name: value for name, value in body.items() if value is not None}
    prompts = _raw_prompts(given.get("prompt"))
    logprobs = _whole(given, "logprobs", 0, MAX_LOGPROBS) if "logprobs" in given else None
    echoes = _flag(given, "echo")
    return _read(given, _COMPLETION, limits, prompts=prompts, logprobs=logprobs, echoes=echoes, chat=False)


def _raw_prompts(value: Any) -> list[Any]:
    """A text, texts, tokens by number, or several lists of these."""
    prompts = [value] if isinstance(value, str) or is_tokens(value) else value
    is_list = isinstance(prompts, list) and bool(prompts)
    if is_list and (all(isinstance(prompt, str) and prompt for prompt in prompts) or all(map(is_tokens, prompts))):
        return list(prompts)
    raise invalid("prompt must be a text or a list of tokens, or a list of either, none of them empty.", "prompt")


def _read(
    given: dict[str, Any],
    known: frozenset[str],
    limits: Limits,
    *,
    prompts: list[Any],
    logprobs: int | None,
    chat: bool,
    echoes: bool = False,
    unknown: tuple[str, ...] = (),
) -> ApiRequest:
    for name in _NOT_HERE if chat else (*_NOT_HERE, "tools"):
        if given.get(name) not in (None, [], ""):
            raise invalid(f"{name} is not supported.", name, "unsupported_parameter")
    num_choices = _whole(given, "n", 1, limits.max_choices) if "n" in given else 1
    if len(prompts) * num_choices > limits.max_choices:
        raise invalid(f"A request may have {limits.max_choices} choices at most.", "n" if chat else "prompt")
    streams = _flag(given, "stream")
    return ApiRequest(
        model=_text(given, "model"),
        prompts=prompts,
        params=_params(given, limits, logprobs=logprobs, chat=chat, echoes=echoes),
        num_choices=num_choices,
        streams=streams,
        includes_usage=_includes_usage(given, streams=streams),
        logprobs=logprobs,
        echoes=echoes,
        ignored=(*sorted(given.keys() - known), *unknown, *_unknown_options(given)),
    )


def _params(
    given: Mapping[str, Any], limits: Limits, *, logprobs: int | None, chat: bool, echoes: bool
) -> dict[str, Any]:
    """What the engine is asked for, checked field by field, so that the one at fault can be named."""
    params = {name: given[name] for name in _PASSED if name in given}
    if "seed" in given:
        params["seed"] = _whole(given, "seed", -(2**63), 2**64 - 1) % 2**64
    if not chat and "response_format" in params:
        raise invalid("response_format is for chat completions.", "response_format")
    params["max_tokens"] = given.get("max_tokens", DEFAULT_MAX_TOKENS)
    own = given.get("exsa", {})
    if not isinstance(own, dict):
        raise invalid(f"exsa is {shown(own)}: it must be an object.", "exsa")
    for name in own:
        if name not in _OWN:
            raise invalid(f"exsa has no {shown(name)}; it knows {', '.join(_OWN)}.", "exsa")
    params |= own
    for name, value in params.items():
        _checked(partial(SamplingParams.from_kwargs, **{name: value}), _shown_as(name, own))
    params |= _tools(given) if chat else {}
    params.setdefault("timeout", limits.request_seconds)
    params["timeout"] = min(params["timeout"] or limits.request_seconds, limits.request_seconds)
    params = {"overflow": "error", **params, "chat": chat}
    if logprobs is not None:
        params["top_logprobs"] = max(1, logprobs)  # with none there would be no probability of the token itself either
        if echoes:
            params["prompt_logprobs"] = logprobs or True
    _checked(lambda: SamplingParams.from_kwargs(**params), None)
    return params


def _tools(given: Mapping[str, Any]) -> dict[str, Any]:
    """The tools and what is said of them, the one at fault named."""
    found: dict[str, Any] = {}
    for name in _TOOLS:
        if name in given:
            found[name] = given[name]
            _checked(partial(SamplingParams.from_kwargs, **found), name)
    return found


def _shown_as(name: str, own: Mapping[str, Any]) -> str:
    return f"exsa.{name}" if name in own else name


def _checked(read: Callable[[], Any], param: str | None) -> Any:
    try:
        return read()
    except ConfigError as error:
        raise api_error(error, param) from None


def _messages(value: Any) -> tuple[list[Message], tuple[str, ...]]:
    """The conversation, and which fields of its messages were not understood."""
    if not isinstance(value, list) or not value:
        raise invalid('messages must be a non-empty list, such as [{"role": "user", "content": "Hi"}].', "messages")
    unknown: dict[str, None] = {}
    known: list[Any] = []
    for message in value:
        if not isinstance(message, dict):
            raise invalid(f"messages holds {shown(message)}.", "messages")
        fields = FIELDS.get("system" if message.get("role") == "developer" else str(message.get("role")))
        # Tokens by number could be control tokens: they are for conversations of this process.
        extra = [] if fields is None else [name for name in message if name not in fields or name == "token_ids"]
        unknown |= {f"messages.{name}": None for name in extra if message[name] not in (None, [], {}, "")}
        known.append({name: item for name, item in message.items() if name not in extra or name == "role"})
    messages: list[Message] = _checked(lambda: checked_messages(known), "messages")
    return messages, tuple(unknown)


def _logprobs(given: Mapping[str, Any]) -> int | None:
    is_wanted = _flag(given, "logprobs")
    if "top_logprobs" not in given:
        return 0 if is_wanted else None
    if not is_wanted:
        raise invalid("top_logprobs needs logprobs to be true.", "top_logprobs")
    return _whole(given, "top_logprobs", 0, MAX_LOGPROBS)


def _includes_usage(given: Mapping[str, Any], *, streams: bool) -> bool:
    options = given.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict) or not streams:
        raise invalid("stream_options must be an object, and is for streams only.", "stream_options")
    return _flag({name: value for name, value in options.items() if value is not None}, "include_usage")


def _unknown_options(given: Mapping[str, Any]) -> list[str]:
    options = given.get("stream_options") or {}
    return [f"stream_options.{name}" for name in sorted(options) if name != "include_usage"]


def _whole(given: Mapping[str, Any], name: str, low: int, high: int) -> int:
    found: int = _checked(lambda: whole(name, given[name], low, high), name)
    return found


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise invalid(f"{name} is {shown(value)}: it must be true or false.", name)
    return value


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise ApiError(400, f"{name} is {shown(value)}: it must be a text.", param=name)
    return value
