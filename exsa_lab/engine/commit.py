"""From a verdict to committed tokens (`commit`), and the events of them (`emit`).

They are two functions because the next decode needs the tokens at once; the events can wait until it is submitted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from exsa_lab.engine.proposers import Draft
from exsa_lab.engine.sequence import Sequence
from exsa_lab.events import Alternative, PromptTokenEvent, RejectedEvent, Rejection, Source, TokenEvent
from exsa_lab.runtime.protocol import Logits, Model
from exsa_lab.speculation.alternatives import Look, look_at_prompt
from exsa_lab.speculation.rejection_sampling import Verdict


@dataclass(frozen=True, slots=True)
class Committed:
    """What one round added to a sequence."""

    tokens: list[int]
    """The committed ones."""
    num_accepted: int
    """Draft tokens among them."""
    finish_reason: str | None
    """"stop" or "length" when the sequence is over."""
    position: int
    """Index of the first of them among the generated tokens."""
    round: int
    forced: list[int] = field(default_factory=list)
    """Tokens that had to follow, whatever the target would have chosen."""


def commit(sequence: Sequence, draft: Draft, verdict: Verdict, model: Model) -> Committed:
    """Append the accepted draft tokens and the target's own token, up to the end of the text.

    A stop token, a stop text or the token limit inside an accepted run ends it exactly there. The events follow by
    `emit`.
    """
    position, round_number = sequence.num_generated, sequence.round
    tokens = [*draft.tokens[: verdict.accepted], verdict.token]
    finish_reason: str | None = None
    forced: list[int] = []
    for index, token in enumerate(tokens):
        finish_reason = _append(sequence, token, model)
        if not finish_reason and sequence.thought is not None:
            forced = sequence.thought.after(token, model.token_bytes(token))
        if finish_reason or forced:
            del tokens[index + 1 :]
            break
    if forced:
        finish_reason, forced = _append_forced(sequence, forced, model)
    if sequence.mask is not None and not finish_reason and sequence.is_jumping:
        finish_reason, more = _append_forced(sequence, sequence.mask.forced(), model)
        forced = forced + more
    sequence.num_forced = len(forced)
    sequence.round += 1
    num_accepted = min(len(tokens), verdict.accepted)
    return Committed(tokens, num_accepted, finish_reason, position, round_number, forced)


def _append_forced(sequence: Sequence, forced: list[int], model: Model) -> tuple[str | None, list[int]]:
    """Add tokens that must follow; returns the reason to finish, if there is one, and those that were added."""
    for index, token in enumerate(forced):
        if finish_reason := _append(sequence, token, model):
            return finish_reason, forced[: index + 1]
    return None, forced


def _append(sequence: Sequence, token: int, model: Model) -> str | None:
    """Add a token to a sequence; returns the reason to finish, if it is one."""
    sequence.tokens.append(token)
    sequence.emitter.push(model.token_bytes(token))
    if sequence.shaping is not None:
        sequence.shaping.commit([token])
    if sequence.mask is not None and sequence.mask.is_complete:
        return "stop"
    return _finish_reason(sequence, token, model)


def emit(
    sequence: Sequence, draft: Draft, verdict: Verdict, done: Committed, model: Model, looks: list[Look] | None = None
) -> None:
    """Add the events of a round: its tokens, and what of the draft was refused or discarded.

    ``looks`` has one for each token that was verified, where they are asked for.
    """
    for index, token in enumerate(done.tokens):
        if index == verdict.accepted:
            _emit_rejected(sequence, draft, verdict, done, index, model)
        event = _token_event(draft, verdict, done, index, token)
        sequence.emitter.add(_with_look(event, looks[index], model) if looks else event)
    if (num := len(done.tokens)) <= verdict.accepted:
        _emit_rejected(sequence, draft, verdict, done, num, model)
    p = None if sequence.mask is None else 1.0  # where a thought was cut off, the target may have thought otherwise
    for index, token in enumerate(done.forced, done.position + len(done.tokens)):
        sequence.emitter.add(TokenEvent(index, token, "", Source.FORCED, p, None, None, done.round, "forced"))
    sequence.generation.tokens += done.tokens + done.forced


def emit_prompt(sequence: Sequence, start: int, rows: Logits, model: Model) -> None:
    """Add the events of those tokens of a prompt that follow these rows of logits, the first of which is at ``start``.

    Each is told once, also where it was computed again.
    """
    first = sequence.num_looked_at
    if first == 0:
        sequence.emitter.add(PromptTokenEvent(0, sequence.tokens[0], model.token_label(sequence.tokens[0]), None))
        first = 1
    end = max(first, min(sequence.num_prompt, start + len(rows) + 1))
    tokens, count = sequence.tokens[first:end], int(sequence.params.prompt_logprobs)
    if sequence.params.prompt_logprobs is True:
        count = 0
    looks = look_at_prompt(rows[first - start - 1 : end - start - 1], tokens, count)
    for position, (token, look) in enumerate(zip(tokens, looks, strict=True), first):
        top = _alternatives(look, model)
        sequence.emitter.add(PromptTokenEvent(position, token, model.token_label(token), look.logprob, top))
    sequence.num_looked_at = end


def _with_look(event: TokenEvent, look: Look, model: Model) -> TokenEvent:
    return replace(event, logprob=look.logprob, entropy=look.entropy, top=_alternatives(look, model))


def _alternatives(look: Look, model: Model) -> tuple[Alternative, ...]:
    return tuple(Alternative(token, model.token_label(token), raw, p, q) for token, raw, p, q in look.top)


def _token_event(draft: Draft, verdict: Verdict, done: Committed, index: int, token: int) -> TokenEvent:
    is_draft, is_forced = index < verdict.accepted, draft.is_forced
    check = verdict.checks[index] if index < len(verdict.checks) else None
    if is_draft and is_forced:
        return TokenEvent(done.position + index, token, "", Source.FORCED, 1.0, None, None, done.round, draft.drafter)
    source = Source.TARGET if is_forced else verdict.source  # it is no bonus of anybody's draft
    return TokenEvent(
        position=done.position + index,
        token_id=token,
        text="",
        source=Source.ACCEPTED if is_draft else source,
        p=check.p if is_draft and check else verdict.p,
        q=check.q if is_draft and check else None,
        u=check.u if is_draft and check else verdict.u,
        round=done.round,
        drafter=draft.drafter if is_draft else None,
        residual=verdict.residual if not is_draft and source is Source.RESAMPLED else None,
    )


def _emit_rejected(
    sequence: Sequence, draft: Draft, verdict: Verdict, done: Committed, first: int, model: Model
) -> None:
    """Emit the draft tokens from ``first`` on: the one the target refused, and those that were never committed."""
    for index in range(first, len(draft.tokens)):
        token = draft.tokens[index]
        check = verdict.checks[index] if index < len(verdict.checks) else None
        refused = check is not None and not check.accepted
        sequence.emitter.add(
            RejectedEvent(
                position=done.position + index,
                token_id=token,
                text=model.token_label(token),
                reason=Rejection.REFUSED if refused else Rejection.DISCARDED,
                p=check.p if check else None,
                q=check.q if check else draft.probs[index],
                u=check.u if check else None,
                round=done.round,
                drafter=draft.drafter,
            )
        )


def _finish_reason(sequence: Sequence, token: int, model: Model) -> str | None:
    if model.is_end(token) or sequence.emitter.stopped:
        return "stop"
    return "length" if sequence.num_left <= 0 else None
