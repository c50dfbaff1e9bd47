"""The store of the Responses API: see :mod:`ztoapi.apis.responses.stored`."""

import asyncio
import hashlib
import logging
from typing import Final

import msgspec

from ztoapi.apis.responses.stored import StoredResponse
from ztoapi.config.model import Config
from ztoapi.errors import ApiError
from ztoapi.store.values import MemoryValues, StoreUnreachable, Values

__all__ = ["ResponseStore", "make_response_store"]

_log = logging.getLogger(__name__)
_READ_SECONDS: Final = 1.0
"""A conversation of 10 MB takes 0.1 s at 1 Gbit/s, and a busy worker needs more to read it."""
_MAX_CALLS: Final = 64
"""Calls of a worker in flight, each on a connection. Further ones wait."""
_RETRY_SECONDS: Final = 1.0
"""Retry-After while the store is unreachable: it is probed twice a second."""
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(StoredResponse).decode


class ResponseStore:
    """Keeps records in ``values``. ``owner`` identifies the client's key: no client reads the record of another.

    ``up`` is whether records can be stored now.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self._calls = asyncio.Semaphore(_MAX_CALLS)

    @property
    def up(self) -> bool:
        return self.values.up

    async def get(self, owner: str, id: str) -> StoredResponse | None:
        """Returns a record; None if there is none, or no longer. Raises ApiError (503) if the store is unreachable."""
        try:
            async with self._calls:
                encoded = await self.values.get(_key(owner, id))
        except StoreUnreachable as error:
            raise _unreachable() from error
        return None if encoded is None else _decode(encoded)

    async def put(self, owner: str, id: str, record: StoredResponse) -> bool:
        """Stores a record. Returns whether it is stored; a failure is logged and counted."""
        encoded = _encode(record)
        async with self._calls:
            stored = await self.values.put(_key(owner, id), encoded)
        if not stored:
            _log.warning("the response %s of %d bytes could not be stored", id, len(encoded))
        return stored

    async def delete(self, owner: str, id: str) -> bool:
        """Removes a record. Returns whether it was there. Raises ApiError (503) if the store is unreachable."""
        try:
            async with self._calls:
                return await self.values.delete(_key(owner, id))
        except StoreUnreachable as error:
            raise _unreachable() from error


def make_response_store(config: Config, loop: asyncio.AbstractEventLoop) -> ResponseStore | None:
    """Returns the store of a worker; None if none is configured."""
    options = config.responses
    url = config.limits.redis_url
    if options.store == "memory":
        return ResponseStore(MemoryValues(options.max_bytes, options.ttl_seconds, loop.time))
    if options.store == "none" or url is None:
        return None
    # Most gateways have no Redis, and its client takes a while to import, and 7 MB.
    from ztoapi.store.redis_values import RedisValues

    return ResponseStore(
        RedisValues(
            url.reveal(),
            b"ztoapi:response:",
            options.ttl_seconds,
            purpose="responses",
            fallback="storing no responses",
            read_seconds=_READ_SECONDS,
        )
    )


def _key(owner: str, id: str) -> bytes:
    return hashlib.sha256(_encode((owner, id))).digest()


def _unreachable() -> ApiError:
    return ApiError(
        "the store of responses is unreachable: try again, or send the whole conversation in input",
        status=503,
        type="server_error",
        code="store_unavailable",
        retry_after=_RETRY_SECONDS,
    )
