"""Answers chats from the response cache, or has them asked, once for all who ask the same at the same time.

Nothing is touched of a request that may not use the cache: it goes to the relay as if there were none. What is kept is
the answer as the first client got it, octet for octet, so that who is given it again cannot tell it from a new one but
by the header field. Streamed and whole answers are two: an upstream is asked for the one or the other.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from ztoapi.cache.policy import Use
from ztoapi.config.model import CacheConfig, Config
from ztoapi.dialects.contract import Usage
from ztoapi.relay.flight import Flight, Rider
from ztoapi.server.downstream import Downstream
from ztoapi.server.exchange import Exchange
from ztoapi.structures.lru import Lru
from ztoapi.telemetry.samples import Sample

if TYPE_CHECKING:
    from ztoapi.cache.redis_store import RedisStore

__all__ = ["Flights", "make_flights"]

_PIECE_BYTES: Final = 16384
"""A stream that is kept is sent in pieces of about that size, as long as the client's socket takes them; in smaller
ones where it has a pace to keep."""


class Flights:
    """``samples`` says what has been done. ``store`` is what several workers share, if they do."""

    def __init__(self, config: CacheConfig, loop: asyncio.AbstractEventLoop, store: "RedisStore | None") -> None:
        self._most = config.max_bytes
        self._most_each = config.max_entry_bytes
        self._ttl = config.ttl_seconds
        self._clock = loop.time
        self.store = store
        self._kept = Lru(config.max_bytes)
        self._flights: dict[bytes, Flight] = {}
        self._counts: dict[str, int] = {}
        self.recorded_bytes = 0
        """Of answers that are on their way."""

    def samples(self) -> Iterator[Sample]:
        """What telemetry shows of it."""
        for result, count in self._counts.items():
            yield Sample("ztoapi_cache_requests", count, result)
        yield Sample("ztoapi_cache_bytes", self._kept.bytes)
        yield Sample("ztoapi_cache_entries", len(self._kept))
        if self.store is not None:
            yield from self.store.samples()

    async def start(self) -> None:
        """Look for the store."""
        if self.store is not None:
            await self.store.start()

    async def close(self) -> None:
        if self.store is not None:
            await self.store.close()

    @property
    def in_flight(self) -> int:
        """How many questions are being asked that others may join."""
        return len(self._flights)

    def serve(
        self, exchange: Exchange, question: bytes | None, use: Use, *, stream: bool, ask: Callable[[Downstream], None]
    ) -> None:
        """Answer, or see to it that ``ask`` has it answered. ``question`` is None where it cannot be told."""
        if question is None or use is Use.NONE:
            _tell(exchange, "bypass")
            self.count(exchange)
            ask(exchange)
            return
        if use is Use.FRESH:
            # Nobody is let on: its riders would get an answer that is newer than they want, and it one that is older.
            Flight(self, question, ask, [exchange]).depart()
            return
        answer = self._kept.get(question, self._clock())
        if answer is not None:
            self._give(exchange, answer, stream)
            return
        flight = self._flights.get(question)
        if flight is not None:
            flight.join(exchange)
            return
        flight = self._flights[question] = Flight(self, question, ask, [exchange])
        if self.store is not None and self.store.up:
            flight.spawn(self._look(flight, self.store, stream))
        else:
            flight.depart()

    async def _look(self, flight: Flight, store: "RedisStore", stream: bool) -> None:
        """Others may have the answer."""
        found = await store.get(flight.key)
        if found is None:
            flight.depart()
            return
        now = self._clock()
        self._kept.put(flight.key, found.answer, now, now + min(found.seconds, self._ttl))
        for rider in flight.let_all_off():
            self._give(rider.exchange, found.answer, stream)

    def _give(self, exchange: Exchange, answer: bytes, stream: bool) -> None:
        _tell(exchange, "hit")
        self.count(exchange)
        # Nothing has been generated: limits on tokens are given back what they have set aside.
        exchange.record.usage = Usage()
        if stream:
            _Replay(exchange, answer).start()
        else:
            exchange.respond(200, answer)

    # -- flights call these ---------------------------------------------------------------------------------------

    def count(self, exchange: Exchange) -> None:
        """A request has been dealt with."""
        result = exchange.record.cache
        if result is not None:
            self._counts[result] = self._counts.get(result, 0) + 1

    def land(self, flight: Flight) -> None:
        """Nobody is let on any more."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def reserve(self, size: int, whole: int) -> bool:
        """``size`` more octets of an answer of which there are ``whole`` by now: whether they may be kept."""
        self.recorded_bytes += size
        return self.recorded_bytes <= self._most and whole <= self._most_each

    def keep(self, flight: Flight, answer: bytes) -> None:
        """The flight has brought the whole ``answer``."""
        record = flight.record
        if len(answer) > self._most_each or record.served_model != record.model:
            # A stand-in's answer is good for as long as the model cannot be had, which nobody knows.
            return
        now = self._clock()
        self._kept.put(flight.key, answer, now, now + self._ttl)
        if self.store is not None:
            self.store.put(flight.key, answer)

    def fly_again(self, flight: Flight, riders: list[Rider]) -> None:
        """What ``flight`` has not brought these riders, another one may."""
        another = self._flights[flight.key] = Flight(self, flight.key, flight.ask, riders)
        another.depart()


def make_flights(config: Config, loop: asyncio.AbstractEventLoop) -> Flights | None:
    """Those of one worker; None where there is no response cache."""
    cache, url = config.cache, config.limits.redis_url
    if not cache.enabled:
        return None
    if not cache.redis or url is None:
        return Flights(cache, loop, None)
    # Its client takes a while to import, and 7 MB.
    from ztoapi.cache.redis_store import RedisStore

    return Flights(cache, loop, RedisStore(url.reveal(), cache.ttl_seconds))


class _Replay:
    """Sends a stream that is kept, as fast as the client takes it."""

    __slots__ = ("_at", "_exchange", "_paused", "_piece_bytes", "_stream")

    def __init__(self, exchange: Exchange, stream: bytes) -> None:
        self._exchange = exchange
        self._stream = stream
        self._at = 0
        self._paused = exchange.paused
        self._piece_bytes = min(exchange.piece_bytes or _PIECE_BYTES, _PIECE_BYTES)

    def start(self) -> None:
        self._exchange.on_pause = self._pause
        self._exchange.on_resume = self._resume
        self._exchange.start_stream()
        self._send()

    def _pause(self) -> None:
        self._paused = True

    def _resume(self) -> None:
        self._paused = False
        self._send()

    def _send(self) -> None:
        exchange, stream = self._exchange, self._stream
        while not self._paused:
            at, stop = self._at, self._at + self._piece_bytes
            if stop >= len(stream):
                exchange.on_pause = exchange.on_resume = None
                exchange.end(stream[at:] if at else stream)
                return
            # Whole events, or a client that takes each piece for some would be confused.
            end = stream.rfind(b"\n\n", at, stop)
            self._at = stop if end < 0 else end + 2
            exchange.write(stream[at : self._at])


def _tell(exchange: Exchange, result: str) -> None:
    """Say, in the answer and in the record, what the cache has done for it."""
    exchange.record.cache = result
    exchange.extra_headers += b"x-ztoapi-cache: %b\r\n" % result.encode("ascii")
