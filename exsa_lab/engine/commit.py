"""From a verdict to committed tokens: what becomes text, what is shown as rejected, and whether it is over."""

from __future__ import annotations

from dataclasses import dataclass

from exsa_lab.engine.acceptance import Verdict
from exsa_lab.engine.drafters import Draft
from exsa_lab.engine.events import RejectedEvent, Rejection, Source, TokenEvent
from exsa_lab.engine.sequence import Sequence
from exsa_lab.runtime.protocol import Model


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one round added to a sequence."""

    num_committed: int
    num_accepted: int
    """Draft tokens among them."""
    finish_reason: str | None
    """"stop" or "length" when the sequence is over."""


def commit(sequence: Sequence, draft: Draft, verdict: Verdict, model: Model) -> Outcome:
    """Append the accepted draft tokens and the target's own token, up to the end of the text.

    A stop token, a stop text or the token limit inside an accepted run ends it exactly there; the rest of the run is
    emitted as discarded.
    """
    num_before = sequence.num_generated
    tokens = [*draft.tokens[: verdict.accepted], verdict.token]
    finish_reason: str | None = None
    for index, token in enumerate(tokens):
        if index == verdict.accepted:
            _emit_rejected(sequence, draft, verdict, index, model)
        _commit_token(sequence, draft, verdict, index, token, model)
        finish_reason = _finish_reason(sequence, token, model)
        if finish_reason:
            if index < verdict.accepted:
                _emit_rejected(sequence, draft, verdict, index + 1, model)
            break
    num_committed = sequence.num_generated - num_before
    return Outcome(num_committed, min(num_committed, verdict.accepted), finish_reason)


def _commit_token(sequence: Sequence, draft: Draft, verdict: Verdict, index: int, token: int, model: Model) -> None:
    position = sequence.num_generated
    sequence.tokens.append(token)
    sequence.generation.tokens.append(token)
    is_draft = index < verdict.accepted
    check = verdict.checks[index] if index < len(verdict.checks) else None
    event = TokenEvent(
        position=position,
        token_id=token,
        text="",
        source=Source.ACCEPTED if is_draft else verdict.source,
        p=check.p if is_draft and check else verdict.p,
        q=check.q if is_draft and check else None,
        u=check.u if is_draft and check else verdict.u,
        round=sequence.round,
        drafter=draft.drafter if is_draft else None,
    )
    sequence.emitter.token(event, model.token_bytes(token))


def _emit_rejected(sequence: Sequence, draft: Draft, verdict: Verdict, first: int, model: Model) -> None:
    """Emit the draft tokens from ``first`` on: the one the target refused, and those that were never committed."""
    for index in range(first, len(draft.tokens)):
        token = draft.tokens[index]
        check = verdict.checks[index] if index < len(verdict.checks) else None
        refused = check is not None and not check.accepted
        sequence.emitter.add(
            RejectedEvent(
                position=sequence.num_generated + index - first,
                token_id=token,
                text=model.token_label(token),
                reason=Rejection.REFUSED if refused else Rejection.DISCARDED,
                p=check.p if check else None,
                q=check.q if check else draft.probs[index],
                u=check.u if check else None,
                round=sequence.round,
                drafter=draft.drafter,
            )
        )


def _finish_reason(sequence: Sequence, token: int, model: Model) -> str | None:
    if model.is_end(token) or sequence.emitter.stopped:
        return "stop"
    return "length" if sequence.num_left <= 0 else None
