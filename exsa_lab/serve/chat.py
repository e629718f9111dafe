"""Replies of ``/v1/chat/completions``, whole and in pieces."""

from __future__ import annotations

from exsa_lab.engine.generation import Generation
from exsa_lab.events import Event
from exsa_lab.runtime.protocol import Model
from exsa_lab.serve.exchange import finish_reason
from exsa_lab.serve.logprobs import chat_logprobs
from exsa_lab.serve.replies import ApiReply, Chunks, Json, extras, tokens_of
from exsa_lab.serve.reply_stream import ReplyStream, message_of

ID_PREFIX = "chatcmpl"


def whole_chat(reply: ApiReply, model: Model) -> Json:
    """Return the reply once all of its texts are over."""
    choices = [_choice(reply, index, generation, model) for index, generation in enumerate(reply.generations)]
    return reply.whole("chat.completion", choices)


def _choice(reply: ApiReply, index: int, generation: Generation, model: Model) -> Json:
    message = message_of(generation)
    most = reply.request.logprobs
    return {
        "index": index,
        "message": message,
        "logprobs": None if most is None else chat_logprobs(tokens_of(generation.events), most, model),
        "finish_reason": _finish_reason(generation, has_calls="tool_calls" in message),
    }


def _finish_reason(generation: Generation, *, has_calls: bool) -> str:
    reason = finish_reason(generation)
    return "tool_calls" if has_calls and reason == "stop" else reason


class ChatChunks(Chunks):
    """See `exsa_lab.serve.replies.Chunks`."""

    object_name = "chat.completion.chunk"

    def __init__(self, reply: ApiReply, model: Model) -> None:
        super().__init__(reply)
        self._model = model
        self._streams: dict[int, ReplyStream] = {}

    def begin(self, index: int) -> list[Json]:
        return [self._chunk(index, {"role": "assistant", "content": ""})]

    def piece(self, index: int, events: list[Event]) -> list[Json]:
        tokens = tokens_of(events)
        if not tokens:
            return []
        if index not in self._streams:  # how thoughts and calls are marked is known by now
            self._streams[index] = ReplyStream(self._reply.generations[index])
        delta = self._streams[index].add(tokens)
        most = self._reply.request.logprobs
        logprobs = None if most is None else chat_logprobs(tokens, most, self._model)
        return [self._chunk(index, delta, logprobs=logprobs)] if delta or logprobs else []

    def end(self, index: int) -> list[Json]:
        generation = self._reply.generations[index]
        stream = self._streams.get(index)
        rest = {} if stream is None else stream.finish()
        has_calls = stream is not None and stream.has_calls
        last = self._chunk(index, {}, finish_reason=_finish_reason(generation, has_calls=has_calls))
        return [*([self._chunk(index, rest)] if rest else []), {**last, "exsa": extras([generation])}]

    def _chunk(
        self, index: int, delta: Json, *, logprobs: Json | None = None, finish_reason: str | None = None
    ) -> Json:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return self._with_head(choice)
