"""Single flight: the same question, asked by several clients at a time, is asked of the upstream once.

A :class:`Flight` is what a relay answers in place of an exchange. It keeps what comes, and hands it on to its riders,
each at its own pace: a rider is an exchange and how much of the answer it has been sent. Who comes later is sent what
there is, and goes on from there. The first rider is the one that the upstream is asked for: its record tells of the
tries, and it is charged the tokens. When it leaves, the next one takes its place, and the upstream hears nothing of it.

What is kept of the answer lasts until the last rider has it all. If it grows too large for the cache nobody else is let
on, and what everybody has been sent is dropped; from then on the slowest rider has the upstream wait, where otherwise
only all of them together do.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Final

from ztoapi.dialects.contract import Usage
from ztoapi.errors import ApiError, UpstreamError
from ztoapi.server.exchange import Exchange, Request
from ztoapi.telemetry.record import RequestRecord

if TYPE_CHECKING:
    from ztoapi.relay.flights import Flights

__all__ = ["Flight", "Rider"]

_PART_BYTES: Final = 41
"""What a part of an answer takes beside its octets: an object and a reference."""


class Rider:
    """An exchange on a flight. Its callbacks are the flight's from now on."""

    __slots__ = ("_fields", "at", "exchange", "flight", "has_failed", "paused")

    flight: "Flight"

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._fields = exchange.extra_headers
        self.paused = exchange.paused
        self.at = 0
        """How many of the flight's parts it has been sent."""
        self.has_failed = False
        """Whether a flight that it was on has failed."""
        exchange.on_gone = self._leave
        exchange.on_pause = self._pause
        exchange.on_resume = self._resume

    def tell(self, result: str) -> None:
        """What the answer will say of the cache."""
        self.exchange.record.cache = result
        self.exchange.extra_headers = b"%bx-ztoapi-cache: %b\r\n" % (self._fields, result.encode("ascii"))

    def send(self) -> None:
        """Send what there is and has not been sent."""
        exchange, flight = self.exchange, self.flight
        parts = flight.parts
        while not self.paused and self.at < len(parts):
            part = parts[self.at]
            self.at += 1
            if flight.over and self.at == len(parts):
                flight.let_off(self)
                exchange.end(part)
            else:
                exchange.write(part)

    def _leave(self) -> None:
        self.flight.leave(self)

    def _pause(self) -> None:
        self.paused = True
        self.flight.balance()

    def _resume(self) -> None:
        self.paused = False
        self.send()
        self.flight.balance()


class Flight:
    """A response that several clients share, as the :class:`~ztoapi.server.downstream.Downstream` of its relay.

    ``ask`` sends the request upstream on its behalf; ``key`` is the cache key."""

    __slots__ = (
        "_asking",
        "_flights",
        "_size",
        "_task",
        "ask",
        "keeping",
        "key",
        "loop",
        "on_gone",
        "on_pause",
        "on_resume",
        "over",
        "parts",
        "paused",
        "piece_bytes",
        "record",
        "request",
        "riders",
        "started",
        "streaming",
        "trace",
    )

    chunked = False
    """What rides on it is kept, and goes to riders of any kind: without framing."""

    def __init__(
        self, flights: "Flights", key: bytes, ask: "Callable[[Flight], None]", riders: Iterable[Exchange | Rider]
    ) -> None:
        self._flights = flights
        self._task: asyncio.Task[None] | None = None
        self._asking = False
        self._size = 0
        self.key = key
        self.ask = ask
        self.riders: list[Rider] = []
        self.parts: list[bytes] = []
        self.keeping = True
        """Whether all of the answer so far is there, so that others may come on."""
        self.over = False
        self.started = self.streaming = self.paused = False
        self.on_gone: Callable[[], None] | None = None
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        for rider in riders:
            self.join(rider)
        first = self.riders[0].exchange
        self.loop = first.loop
        self.request: Request = first.request
        self.record: RequestRecord = first.record
        self.trace = first.trace
        self.piece_bytes = first.piece_bytes

    # -- riders -------------------------------------------------------------------------------------------------------

    def join(self, one: Exchange | Rider) -> None:
        """Another client has the same question."""
        rider = one if isinstance(one, Rider) else Rider(one)
        rider.flight = self
        self.riders.append(rider)
        if len(self.riders) > 1:
            # The first one pays.
            rider.exchange.record.usage = Usage()
        if self._asking:
            rider.tell("shared")
        if self.streaming:
            rider.exchange.start_stream()
            rider.send()
        self.balance()

    def depart(self) -> None:
        """Ask the upstream."""
        self._asking = True
        first = self.riders[0]
        first.has_failed = True
        self._put_first(first)
        for rider in self.riders:
            rider.tell("miss" if rider is first else "shared")
        try:
            self.ask(self)
        except ApiError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - it is logged, and answered with 500
            self.crash(error)

    def _put_first(self, rider: Rider) -> None:
        record = rider.exchange.record
        record.usage = None
        self.request, self.record, self.trace = rider.exchange.request, record, rider.exchange.trace

    def leave(self, rider: Rider) -> None:
        """A client has gone."""
        was_first = self.riders[0] is rider
        self.let_off(rider)
        if not self.riders:
            if self._task is not None:
                self._task.cancel()
            gone, self.on_gone, self.on_pause, self.on_resume = self.on_gone, None, None, None
            if gone is not None:
                gone()
            return
        if was_first and not self.over:
            before = self.record
            self._put_first(self.riders[0])
            self.record.platform, self.record.credential = before.platform, before.credential
            self.record.served_model, self.record.asked = before.served_model, before.asked
        self.balance()

    def let_off(self, rider: Rider) -> None:
        """A rider has had the whole answer, or has gone."""
        self.riders.remove(rider)
        self._flights.count(rider.exchange)
        if not self.riders:
            self._flights.land(self)
            self._release()

    def balance(self) -> None:
        """See to it that the upstream is read as long as there is somebody to send to."""
        if not self.keeping and self.riders:
            sent = min(rider.at for rider in self.riders)
            if sent and not self.over:
                del self.parts[:sent]
                for rider in self.riders:
                    rider.at -= sent
        waits = [rider.paused for rider in self.riders]
        paused = bool(waits) and (all(waits) if self.keeping else any(waits))
        if paused is self.paused:
            return
        self.paused = paused
        callback = self.on_pause if paused else self.on_resume
        if callback is not None:
            callback()

    # -- the relay calls these ------------------------------------------------------------------------------------

    def start_stream(self) -> None:
        self.streaming = True
        for rider in self.riders:
            rider.exchange.start_stream()

    def write(self, payload: bytes) -> None:
        self.started = True
        self._add(payload)
        for rider in self.riders:
            if not rider.paused:
                # It has been sent all that was before.
                rider.at += 1
                rider.exchange.write(payload)
        if not self.keeping:
            self.balance()

    def write_framed(self, octets: bytes) -> None:
        raise AssertionError("a flight takes no framing")

    def end(self, payload: bytes = b"") -> None:
        self.started = True
        self._add(payload)
        self.over = True
        self._flights.land(self)
        if self.keeping:
            self._flights.keep(self, b"".join(self.parts))
        for rider in self.riders.copy():
            rider.send()

    def respond(self, status: int, body: bytes) -> None:
        self._flights.keep(self, body)
        for rider in self.let_all_off():
            rider.exchange.respond(status, body)

    def fail(self, error: ApiError) -> None:
        """Those who have only waited for another's answer, and have been sent nothing, get a flight of their own,
        unless it is their question that is wrong. It is the last one, or a stampede would come down on an upstream that
        fails, one client after the other."""
        for rider in self.let_all_off(again=isinstance(error, UpstreamError) and error.elsewhere):
            rider.exchange.fail(error)

    def crash(self, error: BaseException) -> None:
        for rider in self.let_all_off():
            rider.exchange.crash(error)

    def comment(self, payload: bytes) -> None:
        self.started = True
        for rider in self.riders:
            if not rider.paused:
                rider.exchange.comment(payload)

    def idle(self, seconds: float) -> None:
        for rider in self.riders:
            rider.exchange.idle(seconds)

    def spawn(self, handler: Coroutine[object, object, None]) -> None:
        """Run something for all riders; it is cancelled when the last one leaves."""
        self._task = self.loop.create_task(handler)
        self._task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        if self._task is task:
            self._task = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if isinstance(error, ApiError):
            self.fail(error)
        elif error is not None:
            self.crash(error)

    # -- what is kept ---------------------------------------------------------------------------------------------

    def _add(self, payload: bytes) -> None:
        self.parts.append(payload)
        if self.keeping:
            size = len(payload) + _PART_BYTES
            self._size += size
            if not self._flights.reserve(size, self._size):
                self.keeping = False
                self._flights.land(self)
                self._release()

    def _release(self) -> None:
        self._flights.reserve(-self._size, 0)
        self._size = 0

    def let_all_off(self, *, again: bool = False) -> list[Rider]:
        """The flight is over; returns its riders, but those who fly ``again``."""
        self.over = True
        waiting = [rider for rider in self.riders if again and not rider.has_failed and not rider.exchange.started]
        riders = [rider for rider in self.riders if rider not in waiting]
        for rider in riders:
            exchange = rider.exchange
            exchange.on_gone = exchange.on_pause = exchange.on_resume = None
            self._flights.count(exchange)
        self.riders.clear()
        self._flights.land(self)
        self._release()
        if waiting:
            for rider in waiting:
                rider.has_failed = True
            self._flights.fly_again(self, waiting)
        return riders
