"""The part of a response in the format of another API that is the same for all formats."""

import asyncio
from collections.abc import Coroutine

from ztoapi.server.downstream import Producer
from ztoapi.server.exchange import Exchange
from ztoapi.telemetry.record import RequestRecord
from ztoapi.wire.request import RequestHead

__all__ = ["ExchangeResponse"]


class ExchangeResponse:
    """Stands for ``exchange`` in front of the relay and of the cache. A subclass adds the methods of
    :class:`~ztoapi.server.downstream.Downstream` that write the response."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def crash(self, error: BaseException) -> None:
        self._exchange.crash(error)

    def idle(self, seconds: float) -> None:
        self._exchange.idle(seconds)

    def spawn(self, handler: Coroutine[object, object, None]) -> None:
        self._exchange.spawn(handler)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._exchange.loop

    @property
    def record(self) -> RequestRecord:
        return self._exchange.record

    @property
    def request(self) -> RequestHead:
        return self._exchange.request

    @property
    def trace(self) -> bytes:
        return self._exchange.trace

    @property
    def piece_bytes(self) -> int:
        return self._exchange.piece_bytes

    @property
    def started(self) -> bool:
        return self._exchange.started

    @property
    def streaming(self) -> bool:
        return self._exchange.streaming

    @property
    def paused(self) -> bool:
        return self._exchange.paused

    @property
    def extra_headers(self) -> bytes:
        return self._exchange.extra_headers

    @extra_headers.setter
    def extra_headers(self, lines: bytes) -> None:
        self._exchange.extra_headers = lines

    @property
    def producer(self) -> Producer | None:
        return self._exchange.producer

    @producer.setter
    def producer(self, producer: Producer | None) -> None:
        self._exchange.producer = producer
