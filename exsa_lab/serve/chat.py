"""Replies of ``/v1/chat/completions``, whole and in pieces."""

from __future__ import annotations

from exsa_lab.engine.generation import Generation
from exsa_lab.events import Event
from exsa_lab.runtime.protocol import Model
from exsa_lab.serve.exchange import finish_reason
from exsa_lab.serve.logprobs import chat_logprobs
from exsa_lab.serve.replies import ApiReply, Json, extras, tokens_of, usage
from exsa_lab.serve.reply_stream import ReplyStream, message_of

ID_PREFIX = "chatcmpl"


def whole_chat(reply: ApiReply, model: Model) -> Json:
    """Return the reply once all of its texts are over."""
    choices = [_choice(reply, index, generation, model) for index, generation in enumerate(reply.generations)]
    return {
        **reply.head("chat.completion"),
        "choices": choices,
        "usage": usage(reply),
        "exsa": extras(reply.generations),
    }


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


class ChatChunks:
    """See `exsa_lab.serve.replies.Chunks`."""

    def __init__(self, reply: ApiReply, model: Model) -> None:
        self._reply = reply
        self._model = model
        self._head = reply.head("chat.completion.chunk")
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

    def usage(self) -> Json:
        return {**self._head, "choices": [], "usage": usage(self._reply), "exsa": extras(self._reply.generations)}

    def _chunk(
        self, index: int, delta: Json, *, logprobs: Json | None = None, finish_reason: str | None = None
    ) -> Json:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return {**self._head, "choices": [choice], **({"usage": None} if self._reply.request.includes_usage else {})}
