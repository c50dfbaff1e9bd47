"""Serves chat requests from stored responses, and sends equal requests in flight upstream once.

A request that may not use the cache goes to the relay as if there were no cache. The stored response is the response to
the first client, byte for byte: only the header field distinguishes it from a new one. Streamed and whole responses are
stored separately, because an upstream produces one or the other.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ztoapi.cache.policy import Use
from ztoapi.cache.shared_response import Callbacks, MarkedDownstream, SharedResponse, Subscriber, mark
from ztoapi.config.model import CacheConfig, Config
from ztoapi.dialects.reader import Usage
from ztoapi.server.downstream import Downstream
from ztoapi.structures.lru import Lru
from ztoapi.telemetry.samples import Sample

if TYPE_CHECKING:
    from ztoapi.cache.redis_store import RedisStore

__all__ = ["ResponseCache", "make_response_cache"]

_PIECE_BYTES: Final = 16384
"""Largest piece of a stored stream that is written at a time, so that a full socket stops it soon. A client with a pace
gets smaller ones."""


class ResponseCache:
    """The cache of one worker. ``store`` is what several workers share, None if they share nothing."""

    def __init__(self, config: CacheConfig, loop: asyncio.AbstractEventLoop, store: "RedisStore | None") -> None:
        self._max_bytes = config.max_bytes
        self._max_entry_bytes = config.max_entry_bytes
        self._ttl = config.ttl_seconds
        self._clock = loop.time
        self.store = store
        self._entries = Lru(config.max_bytes)
        self._shared: dict[bytes, SharedResponse] = {}
        self._callbacks = Callbacks(self._reserve, self._forget, self._count, self._retry)
        self._results: dict[str, int] = {}
        self.recorded_bytes = 0
        """Memory of responses in flight."""

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        for result, count in self._results.items():
            yield Sample("ztoapi_cache_requests", count, result)
        yield Sample("ztoapi_cache_bytes", self._entries.bytes)
        yield Sample("ztoapi_cache_entries", len(self._entries))
        if self.store is not None:
            yield from self.store.samples()

    async def start(self) -> None:
        """Connects to the store."""
        if self.store is not None:
            await self.store.start()

    async def close(self) -> None:
        if self.store is not None:
            await self.store.close()

    @property
    def in_flight(self) -> int:
        """Number of responses that further requests may join."""
        return len(self._shared)

    def serve(
        self,
        downstream: MarkedDownstream,
        key: bytes | None,
        use: Use,
        *,
        stream: bool,
        send: Callable[[Downstream], None],
    ) -> None:
        """Responds to a request, from the cache or by ``send``. ``key`` is None for a request without a cache key."""
        if key is None or use is Use.NONE:
            mark(downstream, "bypass", downstream.extra_headers)
            self._count(downstream)
            send(downstream)
            return
        if use is Use.FRESH:
            # Others cannot join: they would get a newer response than they need, and it an older one.
            SharedResponse(key, send, self._callbacks, [downstream]).start()
            return
        response = self._entries.get(key, self._clock())
        if response is not None:
            self._replay(downstream, response, stream)
            return
        shared = self._shared.get(key)
        if shared is not None:
            shared.join(downstream)
            return
        shared = self._shared[key] = SharedResponse(key, send, self._callbacks, [downstream])
        if self.store is not None and self.store.up:
            shared.spawn(self._look_up(shared, self.store, stream))
        else:
            shared.start()

    async def _look_up(self, shared: SharedResponse, store: "RedisStore", stream: bool) -> None:
        """Replays the response that another worker has stored, or starts ``shared``."""
        entry = await store.get(shared.key)
        if entry is None:
            shared.start()
            return
        now = self._clock()
        self._entries.put(shared.key, entry.value, now, now + min(entry.seconds, self._ttl))
        shared.end_each(shared.close(), lambda downstream: self._replay(downstream, entry.value, stream))

    def _replay(self, downstream: MarkedDownstream, response: bytes, stream: bool) -> None:
        mark(downstream, "hit", downstream.extra_headers)
        self._count(downstream)
        # No tokens were generated: limits on tokens refund their estimate.
        downstream.record.usage = Usage()
        if stream:
            _Replay(downstream, response).start()
        else:
            downstream.respond(200, response)

    # -- callbacks of shared responses --------------------------------------------------------------------------------

    def _count(self, downstream: MarkedDownstream) -> None:
        result = downstream.record.cache
        if result is not None:
            self._results[result] = self._results.get(result, 0) + 1

    def _forget(self, shared: SharedResponse, response: bytes | None) -> None:
        if self._shared.get(shared.key) is shared:
            del self._shared[shared.key]
        if response is not None:
            self._keep(shared, response)

    def _reserve(self, size: int, total: int) -> bool:
        self.recorded_bytes += size
        return self.recorded_bytes <= self._max_bytes and total <= self._max_entry_bytes

    def _keep(self, shared: SharedResponse, response: bytes) -> None:
        record = shared.record
        if len(response) > self._max_entry_bytes or record.served_model != record.model:
            # A fallback's response is valid while the requested model is unavailable, and the end of that is unknown.
            return
        now = self._clock()
        self._entries.put(shared.key, response, now, now + self._ttl)
        if self.store is not None:
            self.store.put(shared.key, response)

    def _retry(self, failed: SharedResponse, subscribers: list[Subscriber]) -> None:
        shared = SharedResponse(failed.key, failed.send, self._callbacks, subscribers)
        self._shared[failed.key] = shared
        shared.start()


def make_response_cache(config: Config, loop: asyncio.AbstractEventLoop) -> ResponseCache | None:
    """Returns the cache of one worker, None if it is not enabled."""
    cache = config.cache
    url = config.limits.redis_url
    if not cache.enabled:
        return None
    if not cache.redis or url is None:
        return ResponseCache(cache, loop, None)
    # Most gateways have no Redis, and its client takes a while to import, and 7 MB.
    from ztoapi.cache.redis_store import RedisStore

    return ResponseCache(cache, loop, RedisStore(url.reveal(), cache.ttl_seconds))


class _Replay:
    """Sends a stored stream as fast as the client takes it."""

    __slots__ = ("_at", "_downstream", "_paused", "_piece_bytes", "_stream")

    def __init__(self, downstream: Downstream, stream: bytes) -> None:
        self._downstream = downstream
        self._stream = stream
        self._at = 0
        self._paused = downstream.paused
        self._piece_bytes = min(downstream.piece_bytes or _PIECE_BYTES, _PIECE_BYTES)

    def start(self) -> None:
        self._downstream.producer = self
        self._downstream.start_stream()
        self._send()

    def cancel(self) -> None:
        self._paused = True

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._send()

    def _send(self) -> None:
        downstream = self._downstream
        stream = self._stream
        while not self._paused:
            at = self._at
            stop = at + self._piece_bytes
            if stop >= len(stream):
                downstream.producer = None
                downstream.stream.end(stream[at:] if at else stream)
                return
            # Whole events: some clients take each piece for events.
            end = stream.rfind(b"\n\n", at, stop)
            if end < 0:
                # An event that is larger than a piece.
                end = stream.find(b"\n\n", stop - 1)
            self._at = len(stream) if end < 0 else end + 2
            downstream.stream.write(stream[at : self._at])
