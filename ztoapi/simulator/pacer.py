"""Sends a response on an absolute schedule, with the faults that occur in its middle."""

import itertools
from collections.abc import Iterator
from typing import Final

from ztoapi.server.exchange import Exchange
from ztoapi.simulator.faults import SimulatedDialect, end_with_fault
from ztoapi.simulator.plan import MID_FAULTS, ResponsePlan

__all__ = ["Pacer", "send_whole"]

_WRITES_PER_TURN: Final = 64
"""Consecutive writes before other connections get their turn."""
_DRIP_SECONDS: Final = 0.002
_DONE: Final = b"data: [DONE]\n\n"
_STREAM_ONLY: Final = frozenset(("no_done", "huge"))
"""Faults that only streams can have."""


class Pacer:
    """Sends a stream. Event number k is due ``ttft + k * itl`` after the start; a write goes out when its first event
    is due.

    ``events`` is consumed as events fall due; ``last`` is sent at the end. The stream never runs ahead of the client:
    it buffers at most one write.
    """

    def __init__(
        self, exchange: Exchange, plan: ResponsePlan, dialect: SimulatedDialect, events: Iterator[bytes], last: bytes
    ) -> None:
        self._exchange = exchange
        self._plan = plan
        self._dialect = dialect
        self._events = events
        self._last = last
        self._fault = plan.fault if plan.fault in MID_FAULTS else ""
        self._fault_at = max(plan.tokens // 2, 1)
        self._start = exchange.loop.time()
        self._sent = 0
        self._waiting = False

    def start(self, content_type: bytes = b"text/event-stream; charset=utf-8") -> None:
        exchange = self._exchange
        exchange.start_stream(content_type=content_type)
        exchange.producer = self
        exchange.loop.call_at(self._start + self._plan.ttft / 1000, self._step)

    def cancel(self) -> None:
        """The next step ends."""

    def pause(self) -> None:
        """The next step waits."""

    def resume(self) -> None:
        if self._waiting:
            self._waiting = False
            self._step()

    def _step(self) -> None:
        exchange = self._exchange
        plan = self._plan
        for _ in range(_WRITES_PER_TURN):
            if exchange.finished:
                return
            if exchange.paused:
                self._waiting = True
                return
            if self._fault and self._sent >= self._fault_at and self._apply_fault():
                return
            events = list(itertools.islice(self._events, plan.epw))
            if not events:
                self._end()
                return
            exchange.stream.write(b"".join(events))
            self._sent += len(events)
            if plan.itl:
                due = self._start + (plan.ttft + self._sent * plan.itl) / 1000
                exchange.loop.call_at(due, self._step)
                return
        exchange.loop.call_soon(self._step)

    def _end(self) -> None:
        # In a stream that is too short, the fault comes at the end.
        if not self._fault or not self._apply_fault():
            self._exchange.stream.end(self._last)

    def _apply_fault(self) -> bool:
        """Applies the fault, once. Returns True if the stream has ended or continues elsewhere."""
        fault, self._fault = self._fault, ""
        if fault == "no_done":
            self._last = self._last.removesuffix(_DONE)
        elif fault == "drip":
            self._drip(iter(next(self._events, b"")))
            return True
        elif fault != "huge":
            return end_with_fault(self._exchange, fault, next(self._events, self._last), self._dialect.error_event)
        return False

    def _drip(self, data: Iterator[int]) -> None:
        """Writes one byte at a time, then the rest of the stream normally."""
        byte = next(data, None)
        if byte is None:
            self._sent += 1
            self._step()
        elif not self._exchange.finished:
            self._exchange.stream.write(bytes((byte,)))
            self._exchange.loop.call_later(_DRIP_SECONDS, self._drip, data)


def send_whole(exchange: Exchange, plan: ResponsePlan, dialect: SimulatedDialect, body: bytes, tokens: int) -> None:
    """Sends ``body`` as a whole when the last of its ``tokens`` would be due, or breaks off in its middle."""
    if plan.fault in MID_FAULTS - _STREAM_ONLY:
        middle = len(body) // 2
        Pacer(exchange, plan, dialect, iter([body[:middle], body[middle:]]), b"").start(b"application/json")
        return
    seconds = (plan.ttft + plan.itl * tokens) / 1000
    exchange.loop.call_later(seconds, lambda: exchange.respond(200, body))
