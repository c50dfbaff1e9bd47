"""POST /v1/responses and /v1/responses/input_tokens: OpenAI's Responses API.

https://platform.openai.com/docs/api-reference/responses
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, TypeAlias

import msgspec

from ztoapi.apis.responses.errors import error_body
from ztoapi.apis.responses.events import ResponseWriter
from ztoapi.apis.responses.native import NativeResponses
from ztoapi.apis.responses.request import ResponseContext, ResponsesRequest
from ztoapi.apis.responses.response_object import input_tokens_body
from ztoapi.apis.responses.stored import record, response_of, without_store
from ztoapi.apis.tokens import prompt_weight
from ztoapi.config.model import ClientKey
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities
from ztoapi.dialects.request import ChatRequest, decode_value
from ztoapi.errors import ApiError
from ztoapi.relay.completions import Completions
from ztoapi.relay.native import NativeEndpoints, NativePrompt
from ztoapi.relay.prompt_tokens import PromptTokens
from ztoapi.relay.translated_response import TranslatedResponse
from ztoapi.server.authorization import owner_of
from ztoapi.server.exchange import Exchange
from ztoapi.server.large_bodies import LargeBodies
from ztoapi.server.responses import error_headers
from ztoapi.store.response_store import ResponseStore

__all__ = ["ResponsesHandler", "responses_errors"]

History: TypeAlias = Sequence[msgspec.Raw] | None
_MAX_REFERENCED: Final = 1000
"""Stored responses to whose items one request may refer: each is a call of the store. Agents make fewer turns."""


class _Translated(msgspec.Struct, gc=False):
    """A request as a chat request, and the weight of its prompt."""

    chat: ChatRequest
    context: ResponseContext
    weight: int


class ResponsesHandler:
    """Serves requests of the Responses API by ``completions``, or by the endpoints of upstreams that are ``native``.

    ``find`` returns the capabilities of a requested model, ``next_id`` unique ids, ``clock`` Unix seconds; ``tokens``
    estimates the tokens of prompts. ``key_of`` returns the client's key, None if no key is required; ``store`` is None
    if responses are not stored.
    """

    def __init__(
        self,
        completions: Completions,
        bodies: LargeBodies,
        native: NativeEndpoints,
        find: Callable[[str], ModelCapabilities],
        tokens: PromptTokens,
        next_id: Callable[[], str],
        clock: Callable[[], float],
        key_of: Callable[[Exchange], ClientKey | None],
        store: ResponseStore | None,
    ) -> None:
        self._completions = completions
        self._bodies = bodies
        self._native = native
        self._find = find
        self._tokens = tokens
        self._next_id = next_id
        self._clock = clock
        self._key_of = key_of
        self._store = store

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        self._bodies.decode(exchange, self._read, self._look_up_or_pass_on)

    def _read(self, body: bytes | bytearray) -> ResponsesRequest | NativePrompt:
        return self._native.read(body) or ResponsesRequest(body)

    def _look_up_or_pass_on(self, exchange: Exchange, read: ResponsesRequest | NativePrompt) -> None:
        if isinstance(read, NativePrompt):
            self._pass_on(exchange, read)
        else:
            self._after_look_up(exchange, read, self._translate)

    def _pass_on(self, exchange: Exchange, read: NativePrompt) -> None:
        request = read.request
        self._tokens.estimate_and_compare(request.model, read.weight, exchange)
        key = decode_value(request.fields, "prompt_cache_key", str)
        session = key.encode() if key else None
        self._native.serve(exchange, request, NativeResponses(), session=session)

    def handle_count(self, exchange: Exchange) -> None:
        """Responds with the estimated number of tokens of an input. Raises ApiError for an invalid request."""
        self._bodies.decode(exchange, partial(ResponsesRequest, counts=True), self._look_up_and_count)

    def _look_up_and_count(self, exchange: Exchange, request: ResponsesRequest) -> None:
        exchange.record.model = request.model
        self._after_look_up(exchange, request, self._count)

    def _after_look_up(
        self,
        exchange: Exchange,
        request: ResponsesRequest,
        serve: Callable[[Exchange, ResponsesRequest, History], None],
    ) -> None:
        """Replaces references to stored items, and calls ``serve`` with the items of the previous response, None if
        there are none."""
        store = self._store
        if store is None or (request.previous_response_id is None and not request.references()):
            serve(exchange, request, None)
        else:
            exchange.spawn(self._look_up(exchange, request, store, serve))

    async def _look_up(
        self,
        exchange: Exchange,
        request: ResponsesRequest,
        store: ResponseStore,
        serve: Callable[[Exchange, ResponsesRequest, History], None],
    ) -> None:
        owner, previous = owner_of(exchange.request.headers, self._key_of(exchange)), request.previous_response_id
        items: dict[str | None, msgspec.Raw] = {}
        for id in list({response_of(item): None for item in request.references().values()})[:_MAX_REFERENCED]:
            if id is not None and (referenced := await store.get(owner, id)) is not None:
                items |= referenced.items()
        request.resolve(items)
        found = None if previous is None else await store.get(owner, previous)
        serve(exchange, request, None if found is None else found.history())

    def _translate(self, exchange: Exchange, request: ResponsesRequest, history: History) -> None:
        store = self._store if request.store and self._store is not None and self._store.up else None
        translate = partial(_translated, request, self._find(request.model), history, stored=store is not None)
        serve = partial(self._serve, exchange, request, history, store)
        self._bodies.translate(exchange, request.size(history), translate, serve)

    def _serve(
        self,
        exchange: Exchange,
        request: ResponsesRequest,
        history: History,
        store: ResponseStore | None,
        translated: _Translated,
    ) -> None:
        unique = self._next_id()
        writer = ResponseWriter(translated.context, unique, self._clock, self._completions.max_response_bytes)
        keep = None
        if store is not None:
            owner = owner_of(exchange.request.headers, self._key_of(exchange))
            keep = partial(_keep, store, owner, unique, writer, history or (), request.items)
        self._tokens.estimate_and_compare(request.model, translated.weight, exchange)
        key = request.session_key
        self._completions.serve(
            exchange,
            translated.chat,
            TranslatedResponse(exchange, writer, on_complete=keep),
            stream=request.stream,
            session=key.encode() if key else None,
            large=translated.chat.is_large,
        )

    def _count(self, exchange: Exchange, request: ResponsesRequest, history: History) -> None:
        translate = partial(_translated, request, UNKNOWN, history, stored=False)
        respond = partial(self._respond_count, exchange, request.model)
        self._bodies.translate(exchange, request.size(history), translate, respond)

    def _respond_count(self, exchange: Exchange, model: str, translated: _Translated) -> None:
        exchange.respond(200, input_tokens_body(self._tokens.estimate(model, translated.weight)))


def _translated(request: ResponsesRequest, model: ModelCapabilities, history: History, *, stored: bool) -> _Translated:
    chat, context = request.chat(model, history=history, stored=stored)
    return _Translated(chat, context, prompt_weight(chat))


async def _keep(
    store: ResponseStore,
    owner: str,
    unique: str,
    writer: ResponseWriter,
    history: Sequence[msgspec.Raw],
    items: Sequence[msgspec.Raw],
    last: bytes,
) -> bytes:
    """Stores a complete response; returns its ``last`` bytes, which show whether it is stored."""
    stored = await store.put(owner, f"resp_{unique}", record(history, items, writer.response, unique))
    return last if stored else without_store(last)


def responses_errors(error: ApiError, _request_id: str) -> tuple[int, bytes, bytes]:
    """The format of errors: OpenAI's, with the type that Codex reads."""
    return error.status, error_headers(error), error_body(error)
