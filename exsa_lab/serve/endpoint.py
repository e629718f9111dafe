"""One route that generates: from a request to a reply, whole or streamed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from exsa_lab import loading
from exsa_lab.config import did_you_mean
from exsa_lab.engine.engine import Engine, EngineState
from exsa_lab.errors import EngineNotLoaded, ExsaError, printable, shown
from exsa_lab.prompts.token_prompt import is_tokens
from exsa_lab.runtime.protocol import Model
from exsa_lab.serve import chat, completion
from exsa_lab.serve.api_errors import ApiError, api_error
from exsa_lab.serve.body import ClientGone, read_object
from exsa_lab.serve.desk import Desk
from exsa_lab.serve.exchange import Exchange, check
from exsa_lab.serve.feed import ends
from exsa_lab.serve.limits import Limits
from exsa_lab.serve.parameters import ApiRequest, read_chat, read_completion
from exsa_lab.serve.replies import ApiReply, Chunks, Json, new_reply
from exsa_lab.serve.sending import DONE, Sender, while_there

WARNING_HEADER = "x-exsa-warning"
T = TypeVar("T")
_log = logging.getLogger("exsa_lab.serve")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one route reads requests and writes replies."""

    read: Callable[[Mapping[str, Any], Limits], ApiRequest]
    whole: Callable[[ApiReply, Model], Json]
    chunks: Callable[[ApiReply, Model], Chunks]
    id_prefix: str


CHAT = Dialect(read_chat, chat.whole_chat, chat.ChatChunks, chat.ID_PREFIX)
COMPLETION = Dialect(read_completion, completion.whole_completion, completion.CompletionChunks, completion.ID_PREFIX)


class Endpoint:
    """An ASGI application for one route."""

    def __init__(self, dialect: Dialect, desk: Desk) -> None:
        self._dialect = dialect
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender = Sender(send)
        try:
            request = self._dialect.read(await read_object(scope, receive, self._desk.limits), self._desk.limits)
            await self._answer(request, scope, receive, sender)
        except ClientGone:
            return
        except ExsaError as error:
            await _refuse(api_error(error), scope, receive, sender)
        except ApiError as error:
            await _refuse(error, scope, receive, sender)
        except Exception:
            _log.exception("A request failed by a defect of exsa_lab.")
            await _refuse(ApiError(500, "exsa_lab failed.", type="server_error"), scope, receive, sender)

    async def _answer(self, request: ApiRequest, scope: Scope, receive: Receive, sender: Sender) -> None:
        engine, model = current_engine(request.model)
        request.check_size(engine.config.n_ctx)
        request.check_tokens(engine.target.vocab_size)
        origin = self._desk.next_origin(scope)
        with (
            self._desk.gate.enter(request.num_texts),
            await _begun(engine, request, origin) as exchange,
            self._desk.watching(exchange),
        ):
            reply = new_reply(request, exchange.generations, model, self._dialect.id_prefix)
            if request.streams:
                work = self._stream(reply, exchange, engine, sender)
            else:
                work = self._whole(reply, exchange, engine, scope, receive, sender)
            await while_there(receive, work)

    async def _whole(
        self, reply: ApiReply, exchange: Exchange, engine: Engine, scope: Scope, receive: Receive, sender: Sender
    ) -> None:
        await exchange.wait()
        body = await _looked_up(partial(self._dialect.whole, reply, engine.target), reply.request, engine)
        response = JSONResponse(body, headers=_headers(reply.request))
        await response(scope, receive, sender)

    async def _stream(self, reply: ApiReply, exchange: Exchange, engine: Engine, sender: Sender) -> None:
        chunks = self._dialect.chunks(reply, engine.target)
        begun: set[int] = set()
        try:
            async for index, events in exchange.events(self._desk.courier):
                pieces = await _looked_up(partial(chunks.piece, index, events), reply.request, engine)
                if ends(events):
                    check(exchange.generations[index])
                    pieces += chunks.end(index)
                if pieces and index not in begun:
                    pieces = chunks.begin(index) + pieces
                    begun.add(index)
                if pieces and sender.status is None:
                    await sender.begin_events(_headers(reply.request))
                await sender.events(pieces)
        except ApiError as error:
            if sender.status is None:
                raise
            await sender.events([error.body])
            await sender.end_events()
            return
        await sender.events([chunks.usage()] if reply.request.includes_usage else [])
        await sender.end_events(DONE)


async def _begun(engine: Engine, request: ApiRequest, origin: str) -> Exchange:
    asks_for_words = engine.restarts and is_tokens(request.prompts[0])
    if engine.state is EngineState.OPEN and not request.params.get("tools") and not asks_for_words:
        return Exchange(engine, request, origin)
    # A process is started anew, or one that shows how a template writes calls, or is asked what tokens are called: that
    # takes a while.
    return await asyncio.to_thread(Exchange, engine, request, origin)


async def _looked_up(make: Callable[[], T], request: ApiRequest, engine: Engine) -> T:
    """What tokens are called is asked of an isolated engine's process, for which nobody else is to wait."""
    if request.logprobs is None or not engine.restarts:
        return make()
    return await asyncio.to_thread(make)


async def _refuse(error: ApiError, scope: Scope, receive: Receive, sender: Sender) -> None:
    if sender.status is not None:
        raise error  # the reply began: all that is left is to close the connection
    await error.response()(scope, receive, sender)


def current_engine(wanted: str | None) -> tuple[Engine, str]:
    """Return the kernel's engine and the name of its model; raises ApiError where another model is wanted, or none is.

    A request that names no model takes the one that is there.
    """
    try:
        engine = loading.get_engine()
    except EngineNotLoaded as error:
        if loading.is_loading():
            message = "A model is being loaded."
            raise ApiError(503, message, type="service_unavailable", code="loading") from None
        raise api_error(error) from None
    names = model_names(engine)
    if wanted is not None and wanted not in names:
        raise ApiError(
            404,
            f"There is no model {shown(wanted)} here.{did_you_mean(wanted, names)} It is {names[0]}.",
            param="model",
            code="model_not_found",
        )
    return engine, names[0]


def model_names(engine: Engine) -> list[str]:
    """Return what the engine's model may be called: what it was asked for by, where that is a name, and its own."""
    return list(dict.fromkeys([*filter(None, [loading.get_name()]), engine.target.name]))


def _headers(request: ApiRequest) -> dict[str, str]:
    if not request.ignored:
        return {}
    names = printable(", ".join(request.ignored)).encode("ascii", "replace").decode()
    return {WARNING_HEADER: f"ignored: {names[:400]}"}
