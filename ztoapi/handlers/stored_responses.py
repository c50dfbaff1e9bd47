"""The paths below /v1/responses/{id}: stored responses of the Responses API.

https://platform.openai.com/docs/api-reference/responses
"""

from collections.abc import Callable

from ztoapi.apis.responses.stored import (
    DEFAULT_PAGE_ITEMS,
    MAX_PAGE_ITEMS,
    StoredResponse,
    deleted_body,
    input_items_body,
    response_not_found,
)
from ztoapi.config.model import ClientKey
from ztoapi.errors import ApiError
from ztoapi.server.authorization import owner_of
from ztoapi.server.exchange import Exchange
from ztoapi.server.query import read_query, whole_number
from ztoapi.store.response_store import ResponseStore
from ztoapi.wire.path import decoded

__all__ = ["StoredResponsesHandler"]


class StoredResponsesHandler:
    """Serves the records of ``store``; without one there are none. ``key_of`` returns the client's key, None if no key
    is required."""

    def __init__(self, store: ResponseStore | None, key_of: Callable[[Exchange], ClientKey | None]) -> None:
        self._store = store
        self._key_of = key_of

    def handle(self, exchange: Exchange) -> None:
        """Responds with a Response object."""
        if read_query(exchange).get("stream") == "true":
            raise ApiError(
                "stream is not supported here: a stored response is complete",
                code="unsupported_parameter",
                param="stream",
            )
        exchange.spawn(self._retrieve(exchange))

    def handle_delete(self, exchange: Exchange) -> None:
        exchange.spawn(self._delete(exchange))

    def handle_items(self, exchange: Exchange) -> None:
        """Responds with one page of the input items."""
        exchange.spawn(self._items(exchange))

    def handle_cancel(self, exchange: Exchange) -> None:
        """Refuses: only responses in the background can be cancelled, and there are none."""
        exchange.spawn(self._cancel(exchange))

    def handle_compact(self, _exchange: Exchange) -> None:
        """Refuses: compaction is a service of OpenAI's, whose result only it can read."""
        raise ApiError(
            "compaction of conversations is not supported: let the model summarise the conversation instead",
            status=404,
            code="not_found",
        )

    async def _retrieve(self, exchange: Exchange) -> None:
        exchange.respond(200, bytes((await self._find(exchange)).response))

    async def _delete(self, exchange: Exchange) -> None:
        id = _id_of(exchange)
        store = self._store
        if store is None or not await store.delete(owner_of(exchange.request.headers, self._key_of(exchange)), id):
            raise response_not_found(id)
        exchange.respond(200, deleted_body(id))

    async def _items(self, exchange: Exchange) -> None:
        query = read_query(exchange)
        limit = whole_number(query, "limit", DEFAULT_PAGE_ITEMS, low=1, high=MAX_PAGE_ITEMS)
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            raise ApiError("order must be asc or desc", code="invalid_value", param="order")
        record = await self._find(exchange)
        body = input_items_body(record, after=query.get("after"), limit=limit, ascending=order == "asc")
        exchange.respond(200, body)

    async def _cancel(self, exchange: Exchange) -> None:
        await self._find(exchange)
        raise ApiError(
            "only a response with background=true can be cancelled: this one is complete",
            code="response_not_cancellable",
        )

    async def _find(self, exchange: Exchange) -> StoredResponse:
        id = _id_of(exchange)
        store = self._store
        record = (
            None if store is None else await store.get(owner_of(exchange.request.headers, self._key_of(exchange)), id)
        )
        if record is None:
            raise response_not_found(id)
        return record


def _id_of(exchange: Exchange) -> str:
    assert exchange.route is not None
    try:
        return decoded(exchange.route.parameter(exchange.request.path))
    except ValueError as error:
        raise ApiError(f"the id in the path is malformed: {error}", code="invalid_path") from error
