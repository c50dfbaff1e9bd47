"""Sends a stream on an absolute schedule, with the faults that can befall one in the middle."""

import itertools
import socket
import struct
from collections.abc import Iterator
from typing import Final

from ztoapi.server.exchange import Exchange
from ztoapi.simulator.plan import Plan

__all__ = ["Pacer", "reset"]

_WRITES_A_TURN: Final = 64
"""Writes in a row before other connections get their turn."""
_HUGE_BYTES: Final = 1_000_000
"""Size of the huge event where the plan gives none: larger than any read, smaller than any sensible limit."""
_DRIP_SECONDS: Final = 0.002


def reset(exchange: Exchange) -> None:
    """Close the connection with a reset instead of an end."""
    sock = exchange.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.transport.abort()


class Pacer:
    """Event number k is due ``ttft + k * itl`` after the start; events of one write go when the first is due.

    ``events`` is taken from as the events fall due, ``last`` is sent with the last of them.
    """

    def __init__(self, exchange: Exchange, plan: Plan, events: Iterator[bytes], last: bytes) -> None:
        self._exchange = exchange
        self._plan = plan
        self._events = events
        self._last = last
        self._start = exchange.loop.time()
        self._sent = 0
        self._waiting = False

    def start(self) -> None:
        exchange = self._exchange
        exchange.start_stream()
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
            if plan.fault and self._sent >= plan.tokens // 2 and self._befalls(plan.fault):
                return
            events = list(itertools.islice(self._events, plan.epw))
            if not events:
                exchange.end(self._last)
                return
            exchange.write(b"".join(events))
            self._sent += len(events)
            if plan.itl:
                due = self._start + (plan.ttft + self._sent * plan.itl) / 1000
                exchange.loop.call_at(due, self._step)
                return
        exchange.loop.call_soon(self._step)

    def _befalls(self, fault: str) -> bool:
        """Let the fault happen; True if the stream is over with it."""
        exchange = self._exchange
        if fault == "truncate":
            exchange.abort()
        elif fault == "reset_mid":
            reset(exchange)
        elif fault == "hang_mid":
            pass
        elif fault == "garbage_mid":
            exchange.write(b'data: {"id":"x1","choices":[{"index":0,"delta":{"content":\n\n')
            exchange.end(self._last)
        elif fault == "bad_chunk":
            exchange.transport.write(b"nonsense\r\n")
        elif fault == "error_mid":
            exchange.end(b'data: {"error":{"code":"1234","message":"Network error, error id: sim-1"}}\n\n')
        elif fault == "huge":
            size = self._plan.size or _HUGE_BYTES
            exchange.write(next(self._events).replace(b'"content":"', b'"content":"' + b"h" * size, 1))
            self._plan.fault = ""
            return False
        elif fault == "drip":
            self._drip(iter(next(self._events, b"")))
        elif fault == "no_done":
            for event in self._events:
                exchange.write(event)
            exchange.end(self._last.removesuffix(b"data: [DONE]\n\n"))
        else:
            return False
        return True

    def _drip(self, octets: Iterator[int]) -> None:
        """One octet a write, then the rest of the stream as it should be."""
        octet = next(octets, None)
        if octet is None:
            self._plan.fault = ""
            self._step()
        elif not self._exchange.finished:
            self._exchange.write(bytes((octet,)))
            self._exchange.loop.call_later(_DRIP_SECONDS, self._drip, octets)
