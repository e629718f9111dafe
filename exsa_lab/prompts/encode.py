"""From a user's prompt to tokens."""

from __future__ import annotations

import contextlib
import functools
import itertools
from dataclasses import dataclass, replace

from exsa_lab.config import SamplingParams
from exsa_lab.errors import ConfigError, InvalidModel, PromptTooLong
from exsa_lab.events import TokenEvent
from exsa_lab.prompts.conversation import Rendered, mark_of, render_conversation
from exsa_lab.prompts.marked import cut
from exsa_lab.prompts.messages import Message
from exsa_lab.prompts.overflow import dropped_note, turns_to_drop, without_oldest
from exsa_lab.prompts.rendering import is_known
from exsa_lab.prompts.special import SpecialTokens, spans
from exsa_lab.prompts.thinking import Thinking, thinking_of
from exsa_lab.runtime.protocol import Model, TokenRules

SOON_CHARACTERS = 8_000
"""Longest text that is tokenized within a few milliseconds."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt as the model reads it, and what its user should know about that."""

    tokens: list[int]
    notes: tuple[str, ...] = ()
    thinking: Thinking | None = None
    dropped_turns: int = 0
    """The oldest turns of the conversation that are not in it, since the context is full."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """The tokens of a prompt and of what was written after it, to go on with."""

    tokens: list[int]
    num_written: int = 0
    """Tokens at the end of the prompt that were written before."""
    thinking: Thinking | None = None
    num_formed: int = 0
    """Tokens at the end that are the beginning of a text of the form asked for."""
    kept: tuple[TokenEvent, ...] = ()
    """Events of the tokens at the end that are the beginning of the generation's own text."""
    excluded: int | None = None
    """A token that is not to follow at once."""

    @property
    def num_prompt(self) -> int:
        """Tokens before the generation's own text."""
        return len(self.tokens) - len(self.kept)

    @property
    def num_formed_before(self) -> int:
        """Tokens of the form asked for that stand before the generation's own text."""
        return max(0, self.num_formed - len(self.kept))

    @property
    def written(self) -> list[int]:
        """The tokens that were written before the generation's own text."""
        return self.tokens[self.num_prompt - self.num_written : self.num_prompt]

    @property
    def formed(self) -> list[int]:
        """The tokens that are the beginning of a text of the form asked for."""
        return self.tokens[len(self.tokens) - self.num_formed :]


def encode_prompt(model: Model, prompt: str | list[Message], params: SamplingParams, n_ctx: int) -> EncodedPrompt:
    """Render and tokenize a prompt: a text, or messages that were checked (`checked_messages`).

    With ``chat=True`` only the template's own parts become control tokens. There is one BOS token where the vocabulary
    asks for it or the template writes it. Where a conversation has outgrown the context of ``n_ctx`` tokens its oldest
    turns are left out, if ``params.overflow`` says so. Raises ConfigError for an empty or malformed prompt,
    PromptTooLong when it leaves no room for a token.
    """
    encoded = _chat_tokens(model, prompt, params, n_ctx) if params.chat else _raw_tokens(model, prompt, params)
    _check_length(encoded.tokens, n_ctx)
    return encoded


def is_soon_encoded(model: Model, prompt: str | list[Message], params: SamplingParams) -> bool:
    """Whether `encode_prompt` takes milliseconds: the prompt is short, and its template is not one to be run apart."""
    texts = [prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]
    if sum(map(len, texts)) > SOON_CHARACTERS or params.tools:
        return False
    with contextlib.suppress(InvalidModel):  # which encoding tells
        return not params.chat or is_known(model.chat_template or "")
    return True


def encode_continuation(before: Continuation, n_ctx: int) -> EncodedPrompt:
    """Take tokens as they are; raises as `encode_prompt` does."""
    _check_length(before.tokens, n_ctx)
    return EncodedPrompt(list(before.tokens), thinking=before.thinking)


def _check_length(tokens: list[int], n_ctx: int) -> None:
    if not tokens:
        raise ConfigError("the prompt is empty.", hint="Write what the model should answer or go on with.")
    if len(tokens) >= n_ctx:
        raise PromptTooLong(
            f"the prompt has {len(tokens):,} tokens and the context holds {n_ctx:,}.",
            hint="Shorten it, or load with a larger n_ctx.",
        )


def conversation_of(prompt: str | list[Message], params: SamplingParams) -> tuple[list[Message], bool]:
    """Return the messages of a chat prompt, and whether the last one is to be continued."""
    if isinstance(prompt, str) and not prompt.strip():
        raise ConfigError("the prompt is empty.", hint="Write what the model should answer or go on with.")
    messages: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    if params.system is not None:
        messages = [{"role": "system", "content": params.system}, *messages]
    if params.prefill is not None:
        messages.append({"role": "assistant", "content": params.prefill})
    is_assistants = messages[-1]["role"] == "assistant"
    if params.continue_final and not is_assistants:
        raise ConfigError(
            f"continue_final needs a last message of the assistant's, and it is of the {messages[-1]['role']}'s.",
            hint="Add one, or use prefill.",
        )
    return messages, is_assistants and params.continue_final is not False


def _chat_tokens(model: Model, prompt: str | list[Message], params: SamplingParams, n_ctx: int) -> EncodedPrompt:
    messages, continues = conversation_of(prompt, params)
    special = _special_tokens(model.token_rules, model.chat_template or "")

    def encode(part: list[Message]) -> EncodedPrompt:
        rendered = render_conversation(model, part, params.template_variables, continue_final=continues)
        tokens = _with_bos(model, _tokenized(model, rendered, special))
        return EncodedPrompt(tokens, rendered.notes, thinking_of(model, rendered.text))

    encoded = encode(messages)
    if params.overflow == "error" or len(encoded.tokens) + params.max_tokens <= n_ctx:
        return encoded
    num = turns_to_drop(messages, lambda part: len(encode(part).tokens), n_ctx=n_ctx, max_tokens=params.max_tokens)
    if not num:
        return encoded
    rest = encode(without_oldest(messages, num))
    return replace(rest, notes=(*rest.notes, dropped_note(messages, num)), dropped_turns=num)


def _raw_tokens(model: Model, prompt: str | list[Message], params: SamplingParams) -> EncodedPrompt:
    if not isinstance(prompt, str):
        raise ConfigError("a list of messages needs chat=True.", hint="Raw completion takes one text.")
    if not prompt:
        return EncodedPrompt([])
    tokens = _with_bos(model, model.tokenize(prompt, add_special=False, parse_special=params.special))
    found = [] if params.special else _special_tokens(model.token_rules, "").found_in(prompt)
    if not found:
        return EncodedPrompt(tokens)
    return EncodedPrompt(tokens, (f"{', '.join(found[:4])} was read as text; special=True makes it a control token",))


def _with_bos(model: Model, tokens: list[int]) -> list[int]:
    rules = model.token_rules
    if not rules.adds_bos or rules.bos is None or tokens[:1] == [rules.bos]:
        return tokens
    return [rules.bos, *tokens]


@functools.lru_cache(maxsize=8)
def _special_tokens(rules: TokenRules, template: str) -> SpecialTokens:
    return SpecialTokens(rules.specials, template)


def _tokenized(model: Model, rendered: Rendered, special: SpecialTokens) -> list[int]:
    """Tokenize a rendered conversation; replies that still have their tokens keep them."""
    roles = [message["role"] for message in rendered.messages]
    lenient = frozenset(mark_of(index) for index, role in enumerate(roles) if role == "assistant")
    tokens: list[int] = []
    at = 0
    for index, message in enumerate(rendered.messages):
        ids = message.get("token_ids")
        place = spans(rendered.text, mark_of(index)) if ids else None
        begun, kept = _kept(model, ids or [], str(rendered.text[slice(*place)])) if place else (0, [])
        if place and kept and special.never_said.isdisjoint(kept):  # Control tokens have no text that would tell.
            before = cut(rendered.text, at, place[0] + begun)
            tokens += special.tokenize(model, before, lenient, goes_on=at > 0) + kept
            at = place[1]
    return tokens + special.tokenize(model, cut(rendered.text, at), lenient, goes_on=at > 0)


def _kept(model: Model, ids: list[int], text: str) -> tuple[int, list[int]]:
    """Return those of a reply's tokens that make up a text, none where no run of them does.

    The first number is that of the characters before them: of a prefill, say, which was in the prompt.
    """
    if not all(token < model.vocab_size for token in ids):
        raise ConfigError("a message's token_ids are not of this model.", hint="Leave them out.")
    ends = list(itertools.accumulate((len(model.token_bytes(token)) for token in ids), initial=0))
    said, wanted = b"".join(map(model.token_bytes, ids)), text.encode("utf-8", "replace")
    begin = said.find(wanted)
    if wanted and begin in ends and begin + len(wanted) in ends:
        return 0, ids[len(ends) - 1 - ends[::-1].index(begin) : ends.index(begin + len(wanted))]
    num_trimmed = len(said) - len(said.rstrip())
    for end in (end for end in dict.fromkeys(reversed(ends)) if end and end >= len(said) - num_trimmed):
        if wanted.endswith(said[:end]):
            return len(wanted[: len(wanted) - end].decode("utf-8", "replace")), ids[: ends.index(end)]
    return 0, []
