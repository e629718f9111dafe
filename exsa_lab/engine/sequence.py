"""One generation as the engine sees it: its tokens and where it stands."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Literal

from exsa_lab.config import SamplingParams
from exsa_lab.engine.generation import Generation
from exsa_lab.engine.text import Emitter, unfinished
from exsa_lab.errors import ConfigError, DecodeError
from exsa_lab.events import State, StateEvent, TokenEvent
from exsa_lab.prompts.encode import (
    EncodedPrompt,
    encode_continuation,
    encode_prompt,
    is_soon_encoded,
)
from exsa_lab.prompts.thinking import Thinking, ThoughtBudget, closing_tokens
from exsa_lab.runtime.protocol import Model
from exsa_lab.speculation.acceptance_rates import DraftHistory
from exsa_lab.speculation.ngram import NgramIndex
from exsa_lab.speculation.sampling import RequestRandom
from exsa_lab.speculation.shaping import Shaping
from exsa_lab.structure.grammar import Grammar, GrammarMask
from exsa_lab.structure.request import begin_shaping, suppressed_tokens


@dataclass(slots=True, eq=False)
class Sequence:
    """Tokens of a prompt and what was generated after them. Owned by the engine thread."""

    id: int
    params: SamplingParams
    tokens: list[int]
    """Prompt, then generated tokens."""
    num_prompt: int
    generation: Generation
    """The handle its user holds."""
    emitter: Emitter
    random: RequestRandom
    shaping: Shaping | None = None
    """What it does to its logits before the chain; None where that is nothing."""
    mask: GrammarMask | None = None
    """Part of its shaping: which tokens the form of its text allows; None where it has any form."""
    is_jumping: bool = False
    """Whether tokens that the form leaves no choice of are committed without asking the target."""
    verifies_forced: bool = False
    """Whether such tokens are verified as a draft is, since their alternatives are asked for."""
    num_forced: int = 0
    """Tokens at its end that had to follow, which the target has not seen yet."""
    slot: int | None = None
    """Its slot in the KV cache while it runs."""
    num_given: int = 0
    """Tokens it began with: its prompt, and what it took over of a text."""
    num_looked_at: int = 0
    """Tokens of the prompt that were told, where it was asked how unexpected they are."""
    round: int = 0
    """Rounds done so far."""
    history: DraftHistory = field(default_factory=DraftHistory)
    """What became of its drafts so far."""
    ngrams: NgramIndex | None = None
    """Its text, indexed for lookup; None where that drafter is not wanted."""
    checkpoints: list[int] = field(default_factory=list)
    """Numbers of tokens after which the state of recurrent memory is kept, in order."""
    thought: ThoughtBudget | None = None
    """Closes its thought in time; None where that has no limit."""
    deadline: float | None = None
    """Monotonic time at which it is cancelled."""
    finish_reason: str | None = None
    """Why nothing is left to generate, where that is so from the beginning."""

    @property
    def num_tokens(self) -> int:
        return len(self.tokens)

    @property
    def num_generated(self) -> int:
        return len(self.tokens) - self.num_prompt

    @property
    def is_new(self) -> bool:
        """Whether it has generated nothing yet."""
        return len(self.tokens) == self.num_given

    @property
    def num_left(self) -> int:
        """Tokens it may still generate."""
        return self.params.max_tokens - self.num_generated

    def is_looked_at(self, setting: bool | Literal["auto"]) -> bool:
        """Whether the probabilities of its tokens are to be recorded; ``setting`` is `EngineConfig.probabilities`."""
        if self.params.top_logprobs:
            return True
        return self.generation.is_watched if setting == "auto" else setting

    @property
    def wants_prompt_rows(self) -> bool:
        """Whether tokens of its prompt are still to be looked at, which takes a row of logits of each."""
        return bool(self.params.prompt_logprobs) and self.num_looked_at < self.num_prompt

    @property
    def reusable(self) -> list[int]:
        """Its tokens as far as they may be taken from the cache: a token is looked at with the row before it."""
        return self.tokens[: max(1, self.num_looked_at)] if self.wants_prompt_rows else self.tokens

    def age(self) -> float:
        """Seconds since it was submitted."""
        return time.perf_counter() - self.generation.submitted


def encode(generation: Generation, model: Model, n_cells: int) -> EncodedPrompt:
    """Tokenize a generation's prompt, of at most ``n_cells`` tokens; raises ExsaError for one that cannot run.

    Nothing is changed: any thread may do it.
    """
    if generation.continues is not None:
        return encode_continuation(generation.continues, n_cells)
    return encode_prompt(model, generation.prompt, generation.params, n_cells)


def is_soon_begun(generation: Generation, model: Model) -> bool:
    """Whether `encode` takes no longer than others may be held up."""
    return generation.continues is not None or is_soon_encoded(model, generation.prompt, generation.params)


def begin_sequence(generation: Generation, model: Model, encoded: EncodedPrompt) -> Sequence:
    """Begin with what `encode` returned, and tell the generation that it waits; raises ExsaError where it cannot."""
    params = generation.params
    before = generation.continues
    kept = before.kept if before else ()
    tokens = encoded.tokens[: len(encoded.tokens) - len(kept)]
    generation.notes += encoded.notes
    generation.thinking = encoded.thinking
    thought = None
    if encoded.thinking is not None:
        closed, thought = _begin_thought(generation, encoded.thinking, model, tokens)
        tokens = tokens + closed
    if generation.seed is None:
        generation.seed = secrets.randbits(32)
    generation.prompt_ids = list(tokens)
    generation.end_ids = sorted(token for token in set(tokens) if model.is_end(token))
    generation.stats.prompt_tokens = len(tokens) + len(kept)
    generation.stats.dropped_turns = encoded.dropped_turns
    generation.publish(
        [StateEvent(State.WAITING, "; ".join(encoded.notes), time.perf_counter() - generation.submitted)]
    )
    mask = None if generation.grammar is None else _begin_mask(generation, generation.grammar, model)
    takes_drafts = params.drafter != "none" and params.draft_length != 0
    sequence = Sequence(
        id=generation.id,
        params=params,
        tokens=tokens,
        num_prompt=len(tokens),
        num_given=len(tokens) + len(kept),
        generation=generation,
        emitter=Emitter(params.stop, unfinished(b"".join(map(model.token_bytes, before.written))) if before else b""),
        random=RequestRandom(generation.seed),
        shaping=begin_shaping(
            params,
            model,
            [*tokens, *(event.token_id for event in kept)],
            mask,
            excluded=before.excluded if before is not None else None,
        ),
        mask=mask,
        is_jumping=takes_drafts and not params.top_logprobs,
        verifies_forced=takes_drafts and params.top_logprobs > 0,
        deadline=None if params.timeout is None else generation.submitted + params.timeout,
        thought=thought,
    )
    if kept:
        _keep(sequence, kept, model)
    return sequence


def _begin_thought(
    generation: Generation, thinking: Thinking, model: Model, prompt: list[int]
) -> tuple[list[int], ThoughtBudget | None]:
    """Return the tokens by which the prompt closes a thought that is not to be, or else the budget it has, if any."""
    params = generation.params
    # A text of a given form is an answer: it has no room for a thought. One that may call tools, or not, has.
    is_free = generation.tool_format is not None and params.tool_choice == "auto" and params.form is None
    is_answer = generation.grammar is not None and not is_free
    if is_answer and params.reasoning_budget:
        generation.notes.append("a text of a given form has no thought: reasoning_budget is not used")
    if is_answer and not thinking.is_open:
        return ([] if generation.tool_format else _head_of_answer(thinking, model, prompt)), None
    budget = 0 if is_answer else params.reasoning_budget
    if budget is None:
        return [], None
    closing = closing_tokens(model, thinking)
    if thinking.is_open and not budget:
        generation.thinking = replace(thinking, is_open=False)
        return closing, None
    return [], ThoughtBudget(thinking, budget, closing)


def _head_of_answer(thinking: Thinking, model: Model, prompt: list[int]) -> list[int]:
    """What is left to write of the head of an answer, which models with channels write themselves."""
    head = model.tokenize(thinking.head, add_special=False, parse_special=True) if thinking.head else []
    begun = next((num for num in range(len(head), 0, -1) if prompt[-num:] == head[:num]), len(head))
    return head[begun:]


def _begin_mask(generation: Generation, grammar: Grammar, model: Model) -> GrammarMask:
    """Return the mask of a text, which may begin with what was written already."""
    mask, before = grammar.begin(suppressed_tokens(generation.params, model)), generation.continues
    if before is None:
        return mask
    try:
        mask.commit(before.formed)
    except DecodeError as cause:
        last = model.token_label(before.tokens[-1])
        raise ConfigError(
            f"{last!r} cannot come there: the form asked for allows other tokens.",
            hint="Those with p above 0 among top_logprobs can.",
        ) from cause
    return mask


def _keep(sequence: Sequence, kept: tuple[TokenEvent, ...], model: Model) -> None:
    """Take over the beginning of another generation's text: its tokens, and its events under new texts."""
    for event in kept:
        sequence.tokens.append(event.token_id)
        piece = model.token_bytes(event.token_id)
        sequence.emitter.push(piece)
        sequence.emitter.add(replace(event, text=""))
        sequence.generation.tokens.append(event.token_id)
        if sequence.thought is not None:
            sequence.thought.after(event.token_id, piece)
        if sequence.emitter.stopped:
            break
    sequence.round = kept[-1].round + 1
    is_over = model.is_end(kept[-1].token_id) or sequence.emitter.stopped
    if is_over or (sequence.mask is not None and sequence.mask.is_complete):
        sequence.finish_reason = "stop"
    elif sequence.num_left <= 0:
        sequence.finish_reason = "length"
