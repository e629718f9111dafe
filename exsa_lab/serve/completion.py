"""Replies of ``/v1/completions``, whole and in pieces."""

from __future__ import annotations

from exsa_lab.engine.generation import Generation
from exsa_lab.events import Event
from exsa_lab.runtime.protocol import Model
from exsa_lab.serve.exchange import finish_reason
from exsa_lab.serve.logprobs import completion_logprobs, joined_logprobs, prompt_logprobs
from exsa_lab.serve.replies import ApiReply, Chunks, Json, extras, tokens_of

ID_PREFIX = "cmpl"


def whole_completion(reply: ApiReply, model: Model) -> Json:
    """Return the reply once all of its texts are over."""
    choices = [_choice(reply, index, generation, model) for index, generation in enumerate(reply.generations)]
    return reply.whole("text_completion", choices)


def _choice(reply: ApiReply, index: int, generation: Generation, model: Model) -> Json:
    most, echo, logprobs = reply.request.logprobs, _echo(reply, index), None
    if most is not None:
        logprobs = completion_logprobs(tokens_of(generation.events), most, model, len(echo))
        if reply.request.echoes:
            logprobs = joined_logprobs(prompt_logprobs(generation.prompt_logprobs, most, model), logprobs)
    return {
        "index": index,
        "text": echo + generation.text,
        "logprobs": logprobs,
        "finish_reason": finish_reason(generation),
    }


def _echo(reply: ApiReply, index: int) -> str:
    prompt = reply.generations[index].prompt
    return prompt if reply.request.echoes and isinstance(prompt, str) else ""


class CompletionChunks(Chunks):
    """See `exsa_lab.serve.replies.Chunks`."""

    object_name = "text_completion"

    def __init__(self, reply: ApiReply, model: Model) -> None:
        super().__init__(reply)
        self._model = model
        self._num_chars = [len(_echo(reply, index)) for index in range(len(reply.generations))]

    def begin(self, index: int) -> list[Json]:
        """The prompt, where it is echoed: all of it was read before there is any text."""
        echo, most, logprobs = _echo(self._reply, index), self._reply.request.logprobs, None
        if most is not None and self._reply.request.echoes:
            logprobs = prompt_logprobs(self._reply.generations[index].prompt_logprobs, most, self._model)
        return [self._chunk(index, echo, logprobs=logprobs)] if echo or logprobs else []

    def piece(self, index: int, events: list[Event]) -> list[Json]:
        tokens = tokens_of(events)
        text = "".join(event.text for event in tokens)
        most, logprobs = self._reply.request.logprobs, None
        if most is not None and tokens:
            logprobs = completion_logprobs(tokens, most, self._model, self._num_chars[index])
        self._num_chars[index] += len(text)
        return [self._chunk(index, text, logprobs=logprobs)] if text or logprobs else []

    def end(self, index: int) -> list[Json]:
        generation = self._reply.generations[index]
        return [{**self._chunk(index, "", finish_reason=finish_reason(generation)), "exsa": extras([generation])}]

    def _chunk(self, index: int, text: str, *, logprobs: Json | None = None, finish_reason: str | None = None) -> Json:
        choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._with_head(choice)
