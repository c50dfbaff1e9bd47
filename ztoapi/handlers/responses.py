"""POST /v1/responses and /v1/responses/input_tokens: OpenAI's Responses API.

https://platform.openai.com/docs/api-reference/responses
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import msgspec

from ztoapi.apis.native import NativeRequest
from ztoapi.apis.responses.errors import error_body
from ztoapi.apis.responses.events import ResponseWriter
from ztoapi.apis.responses.native import NativeResponses
from ztoapi.apis.responses.request import ResponsesRequest
from ztoapi.apis.responses.response_object import input_tokens_body
from ztoapi.apis.responses.stored import record, without_store
from ztoapi.config.model import ClientKey
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities
from ztoapi.dialects.request import decode_value
from ztoapi.errors import ApiError
from ztoapi.relay.completions import Completions
from ztoapi.relay.native import NativeEndpoints
from ztoapi.relay.prompt_tokens import PromptTokens
from ztoapi.relay.translated_response import TranslatedResponse
from ztoapi.server.authorization import owner_of
from ztoapi.server.exchange import Exchange
from ztoapi.server.responses import error_headers
from ztoapi.store.response_store import ResponseStore

__all__ = ["ResponsesHandler", "responses_errors"]

History: TypeAlias = Sequence[msgspec.Raw] | None


class ResponsesHandler:
    """Serves requests of the Responses API by ``completions``, or by the endpoints of upstreams that are ``native``.

    ``find`` returns the capabilities of a requested model, ``next_id`` unique ids, ``clock`` Unix seconds; ``tokens``
    estimates the tokens of prompts. ``key_of`` returns the client's key, None if no key is required; ``store`` is None
    if responses are not stored.
    """

    def __init__(
        self,
        completions: Completions,
        native: NativeEndpoints,
        find: Callable[[str], ModelCapabilities],
        tokens: PromptTokens,
        next_id: Callable[[], str],
        clock: Callable[[], float],
        key_of: Callable[[Exchange], ClientKey | None],
        store: ResponseStore | None,
    ) -> None:
        self._completions = completions
        self._native = native
        self._find = find
        self._tokens = tokens
        self._next_id = next_id
        self._clock = clock
        self._key_of = key_of
        self._store = store

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        native = self._native.read(exchange)
        if native is not None:
            self._pass_on(exchange, native)
            return
        self._after_look_up(exchange, ResponsesRequest(exchange.request.body), self._serve)

    def _pass_on(self, exchange: Exchange, request: NativeRequest) -> None:
        self._tokens.estimate_native(request, exchange)
        key = decode_value(request.fields, "prompt_cache_key", str)
        session = key.encode() if key else None
        self._native.serve(exchange, request, NativeResponses(), session=session)

    def handle_count(self, exchange: Exchange) -> None:
        """Responds with the estimated number of tokens of an input. Raises ApiError for an invalid request."""
        request = ResponsesRequest(exchange.request.body, counts=True)
        exchange.record.model = request.model
        self._after_look_up(exchange, request, self._count)

    def _after_look_up(
        self,
        exchange: Exchange,
        request: ResponsesRequest,
        serve: Callable[[Exchange, ResponsesRequest, History], None],
    ) -> None:
        """Calls ``serve`` with the items of the previous response, None if there are none."""
        if request.previous_response_id is None or self._store is None:
            serve(exchange, request, None)
        else:
            exchange.spawn(self._look_up(exchange, request, request.previous_response_id, self._store, serve))

    async def _look_up(
        self,
        exchange: Exchange,
        request: ResponsesRequest,
        previous: str,
        store: ResponseStore,
        serve: Callable[[Exchange, ResponsesRequest, History], None],
    ) -> None:
        record = await store.get(owner_of(exchange.request.headers, self._key_of(exchange)), previous)
        serve(exchange, request, None if record is None else record.history())

    def _serve(self, exchange: Exchange, request: ResponsesRequest, history: History) -> None:
        store = self._store if request.store and self._store is not None and self._store.up else None
        chat, context = request.chat(self._find(request.model), history=history, stored=store is not None)
        unique = self._next_id()
        writer = ResponseWriter(context, unique, self._clock, self._completions.max_response_bytes)
        keep = None
        if store is not None:
            owner = owner_of(exchange.request.headers, self._key_of(exchange))
            keep = partial(_keep, store, owner, unique, writer, history or (), request.items)
        self._tokens.estimate_and_compare(chat, exchange)
        key = request.session_key
        self._completions.serve(
            exchange,
            chat,
            TranslatedResponse(exchange, writer, on_complete=keep),
            stream=request.stream,
            session=key.encode() if key else None,
        )

    def _count(self, exchange: Exchange, request: ResponsesRequest, history: History) -> None:
        chat, _ = request.chat(UNKNOWN, history=history)
        exchange.respond(200, input_tokens_body(self._tokens.estimate(chat)))


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
