"""Sends an answer on an absolute schedule, with the faults that can befall one in the middle."""

import itertools
from collections.abc import Iterator
from typing import Final

from ztoapi.server.exchange import Exchange
from ztoapi.simulator.faults import Dialect, breaks_off
from ztoapi.simulator.plan import MID_FAULTS, Plan

__all__ = ["Pacer", "send_whole"]

_WRITES_A_TURN: Final = 64
"""Writes in a row before other connections get their turn."""
_DRIP_SECONDS: Final = 0.002
_DONE: Final = b"data: [DONE]\n\n"
_STREAM_ONLY: Final = frozenset(("no_done", "huge"))
"""Faults that a whole answer cannot have."""


class Pacer:
    """Event number k is due ``ttft + k * itl`` after the start; events of one write go when the first is due.

    ``events`` is taken from as the events fall due, ``last`` is sent with the end. Nothing is made ahead of what the
    client reads: a stream of any length holds one write.
    """

    def __init__(self, exchange: Exchange, plan: Plan, dialect: Dialect, events: Iterator[bytes], last: bytes) -> None:
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
        exchange.on_resume = self._resumed
        exchange.loop.call_at(self._start + self._plan.ttft / 1000, self._step)

    def _resumed(self) -> None:
        if self._waiting:
            self._waiting = False
            self._step()

    def _step(self) -> None:
        exchange, plan = self._exchange, self._plan
        for _ in range(_WRITES_A_TURN):
            if exchange.finished:
                return
            if exchange.paused:
                self._waiting = True
                return
            if self._fault and self._sent >= self._fault_at and self._befalls():
                return
            events = list(itertools.islice(self._events, plan.epw))
            if not events:
                self._end()
                return
            exchange.write(b"".join(events))
            self._sent += len(events)
            if plan.itl:
                due = self._start + (plan.ttft + self._sent * plan.itl) / 1000
                exchange.loop.call_at(due, self._step)
                return
        exchange.loop.call_soon(self._step)

    def _end(self) -> None:
        # A stream that is too short for its fault has it at the end.
        if not self._fault or not self._befalls():
            self._exchange.end(self._last)

    def _befalls(self) -> bool:
        """Let the fault happen, once; True if nothing more is to be done here."""
        fault, self._fault = self._fault, ""
        if fault == "no_done":
            self._last = self._last.removesuffix(_DONE)
        elif fault == "drip":
            self._drip(iter(next(self._events, b"")))
            return True
        elif fault != "huge":
            return breaks_off(self._exchange, fault, next(self._events, self._last), self._dialect.error_event)
        return False

    def _drip(self, octets: Iterator[int]) -> None:
        """One octet a write, then the rest of the stream as it should be."""
        octet = next(octets, None)
        if octet is None:
            self._sent += 1
            self._step()
        elif not self._exchange.finished:
            self._exchange.write(bytes((octet,)))
            self._exchange.loop.call_later(_DRIP_SECONDS, self._drip, octets)


def send_whole(exchange: Exchange, plan: Plan, dialect: Dialect, body: bytes, tokens: int) -> None:
    """Send ``body`` as one answer, when the last of its ``tokens`` would be due, or break off in its middle."""
    if plan.fault in MID_FAULTS - _STREAM_ONLY:
        middle = len(body) // 2
        Pacer(exchange, plan, dialect, iter([body[:middle], body[middle:]]), b"").start(b"application/json")
        return
    seconds = (plan.ttft + plan.itl * tokens) / 1000
    exchange.loop.call_later(seconds, lambda: exchange.respond(200, body))
