"""A response that several clients share: equal requests in flight go upstream once.

A :class:`SharedResponse` takes the place of the client for the relay. It records the response and passes it on to its
subscribers, each at its own pace: a subscriber that joins mid-stream gets everything so far, then follows the live
stream. The first subscriber sends the request: its record has the attempts, and the tokens are charged to it. If it
leaves, the next one takes its place with the attempts and the tokens, and the upstream does not notice.

The recording lasts until the last subscriber has received it. A response that has grown too large for the cache accepts
no further subscribers, and drops the parts that every subscriber has received. From then on the upstream waits for the
slowest subscriber; before that it waits only while all of them are slow.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Final, NamedTuple, Protocol

from ztoapi.dialects.reader import Usage
from ztoapi.errors import ApiError, UpstreamError
from ztoapi.server.downstream import Downstream, Producer
from ztoapi.telemetry.record import RequestRecord
from ztoapi.wire.chunked import ChunkDecoder
from ztoapi.wire.request import RequestHead

__all__ = ["Callbacks", "MarkedDownstream", "SharedResponse", "Subscriber", "mark"]

_PART_BYTES: Final = 41
"""Memory of one recorded part besides its bytes: an object and a reference."""


class MarkedDownstream(Downstream, Protocol):
    """One client of the cache, whose response has a header field with the result of the look-up."""

    extra_headers: bytes
    """Raw header lines of the response, each ended by CRLF."""


def mark(downstream: MarkedDownstream, result: str, fields: bytes) -> None:
    """Puts the ``result`` of the look-up into the record and, after ``fields``, into the header of the response."""
    downstream.record.cache = result
    downstream.extra_headers = b"%bx-ztoapi-cache: %b\r\n" % (fields, result.encode("ascii"))


class Callbacks(NamedTuple):
    """The calls of a shared response to the cache that it belongs to."""

    reserve: Callable[[int, int], bool]
    """Reserves memory for so many further bytes, released if negative; the second number is the size of the whole
    response by then. Returns whether it may still be recorded."""
    forget: Callable[["SharedResponse", bytes | None], None]
    """No further request may join. A complete response is passed along, to be stored."""
    done: Callable[[MarkedDownstream], None]
    """A client has been served, or has left."""
    retry: Callable[["SharedResponse", "list[Subscriber]"], None]
    """Requests again for these subscribers."""


class Subscriber:
    """One client of a shared response, as the producer of ``downstream``."""

    __slots__ = ("_fields", "downstream", "has_failed", "next_part", "paused", "response")

    response: "SharedResponse"

    def __init__(self, downstream: MarkedDownstream) -> None:
        self.downstream = downstream
        self._fields = downstream.extra_headers
        self.paused = downstream.paused
        self.next_part = 0
        """Number of recorded parts that have been sent."""
        self.has_failed = False
        """Whether a response that it subscribed to has failed."""
        downstream.producer = self

    def mark(self, result: str) -> None:
        """Replaces the result of the look-up."""
        mark(self.downstream, result, self._fields)

    def send(self) -> None:
        """Sends the recorded parts that have not been sent. An exception ends this client's response only."""
        try:
            self._send()
        except Exception as error:  # noqa: BLE001 - it is logged, and the response ends
            self.crash(error)

    def crash(self, error: BaseException) -> None:
        """Ends this client's response only, as if it had left."""
        if self in self.response.subscribers:
            self.response.leave(self)
        self.downstream.crash(error)

    def _send(self) -> None:
        downstream = self.downstream
        response = self.response
        parts = response.parts
        while not self.paused and self.next_part < len(parts):
            part = parts[self.next_part]
            self.next_part += 1
            if response.over and self.next_part == len(parts):
                downstream.stream.end(part)
                response.remove(self)
            else:
                downstream.stream.write(part)

    def cancel(self) -> None:
        self.response.leave(self)

    def pause(self) -> None:
        self.paused = True
        self.response.update_flow()

    def resume(self) -> None:
        self.paused = False
        self.send()
        self.response.update_flow()


class SharedResponse:
    """The :class:`~ztoapi.server.downstream.Downstream` of a relay with several clients; see the module docstring.

    ``send`` sends the request upstream; ``key`` is the cache key."""

    __slots__ = (
        "_callbacks",
        "_has_started",
        "_size",
        "_task",
        "key",
        "loop",
        "over",
        "parts",
        "paused",
        "piece_bytes",
        "producer",
        "record",
        "recording",
        "request",
        "send",
        "started",
        "streaming",
        "subscribers",
        "trace",
    )

    def __init__(
        self,
        key: bytes,
        send: "Callable[[SharedResponse], None]",
        callbacks: Callbacks,
        subscribers: "Iterable[MarkedDownstream | Subscriber]",
    ) -> None:
        self._callbacks = callbacks
        self._task: asyncio.Task[None] | None = None
        self._has_started = False
        self._size = 0
        self.key = key
        self.send = send
        self.subscribers: list[Subscriber] = []
        self.parts: list[bytes] = []
        """The recording, without chunk framing: it is sent to clients of HTTP/1.0 and 1.1."""
        self.recording = True
        """Whether ``parts`` holds the whole response so far, so that further requests may join."""
        self.over = False
        self.started = False
        self.streaming = False
        self.paused = False
        self.producer: Producer | None = None
        for subscriber in subscribers:
            self.join(subscriber)
        first = self.subscribers[0].downstream
        self.loop = first.loop
        self.request: RequestHead = first.request
        self.record: RequestRecord = first.record
        self.trace = first.trace
        self.piece_bytes = first.piece_bytes

    # -- subscribers --------------------------------------------------------------------------------------------------

    def join(self, client: MarkedDownstream | Subscriber) -> None:
        """Adds a client with an equal request."""
        subscriber = client if isinstance(client, Subscriber) else Subscriber(client)
        subscriber.response = self
        self.subscribers.append(subscriber)
        if len(self.subscribers) > 1:
            # The tokens are charged to the first one.
            subscriber.downstream.record.usage = Usage()
        if self._has_started:
            subscriber.mark("shared")
        if self.streaming:
            subscriber.downstream.start_stream()
            subscriber.send()
        self.update_flow()

    def start(self) -> None:
        """Sends the request upstream."""
        self._has_started = True
        first = self.subscribers[0]
        first.has_failed = True
        self._put_first(first)
        for subscriber in self.subscribers:
            subscriber.mark("miss" if subscriber is first else "shared")
        try:
            self.send(self)
        except ApiError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - it is logged, and the response is 500
            self.crash(error)

    def _put_first(self, subscriber: Subscriber) -> None:
        downstream = subscriber.downstream
        downstream.record.usage = None
        self.request = downstream.request
        self.record = downstream.record
        self.trace = downstream.trace

    def leave(self, subscriber: Subscriber) -> None:
        """Removes a client that has left. The upstream request is cancelled with the last one."""
        was_first = self.subscribers[0] is subscriber
        self.remove(subscriber)
        if not self.subscribers:
            if self._task is not None:
                self._task.cancel()
            producer, self.producer = self.producer, None
            if producer is not None:
                producer.cancel()
            return
        if was_first and not self.over:
            before = self.record
            self._put_first(self.subscribers[0])
            before.hand_on(self.record)
        self.update_flow()

    def remove(self, subscriber: Subscriber) -> None:
        """Removes a client that has received the whole response, or has left."""
        self.subscribers.remove(subscriber)
        self._let_go(subscriber.downstream)
        if not self.subscribers:
            self._callbacks.forget(self, None)
            self._release()

    def update_flow(self) -> None:
        """Pauses or resumes the upstream as the subscribers require."""
        if not self.recording and self.subscribers:
            sent = min(subscriber.next_part for subscriber in self.subscribers)
            if sent and not self.over:
                del self.parts[:sent]
                for subscriber in self.subscribers:
                    subscriber.next_part -= sent
        pauses = [subscriber.paused for subscriber in self.subscribers]
        paused = bool(pauses) and (all(pauses) if self.recording else any(pauses))
        if paused is self.paused:
            return
        self.paused = paused
        if self.producer is None:
            return
        try:
            if paused:
                self.producer.pause()
            else:
                self.producer.resume()
        except Exception as error:  # noqa: BLE001 - it is logged, and every response ends
            self.crash(error)

    # -- called by the relay ------------------------------------------------------------------------------------------

    def start_stream(self) -> "SharedResponse":
        self.streaming = True
        for subscriber in self.subscribers:
            subscriber.downstream.start_stream()
        return self

    @property
    def stream(self) -> "SharedResponse":
        return self

    def write(self, payload: bytes) -> None:
        self.started = True
        self._append(payload)
        # A copy: a client whose API cannot express the part leaves.
        for subscriber in self.subscribers.copy():
            if not subscriber.paused:
                # It has been sent all parts before this one.
                subscriber.next_part += 1
                try:
                    subscriber.downstream.stream.write(payload)
                except Exception as error:  # noqa: BLE001 - it is logged, and the response ends
                    subscriber.crash(error)
        if not self.recording:
            self.update_flow()

    def write_chunks(self, chunks: bytes) -> None:
        self.write(ChunkDecoder().decode(chunks))

    def hold(self, data: bytes) -> None:
        self.write_chunks(data)

    def flush(self) -> None:
        """Nothing waits."""

    def end(self, payload: bytes = b"") -> None:
        self.started = True
        self._append(payload)
        self.over = True
        self._callbacks.forget(self, b"".join(self.parts) if self.recording else None)
        for subscriber in self.subscribers.copy():
            subscriber.send()

    def respond(self, status: int, body: bytes) -> None:
        self._callbacks.forget(self, body)
        self.end_each(self.close(), lambda downstream: downstream.respond(status, body))

    def fail(self, error: ApiError) -> None:
        """Sends ``error`` to the subscribers. Those that have only joined, and have received nothing, share one further
        request, unless the request itself is the cause. There is no second further request: otherwise every client
        would send one to an upstream that fails."""
        subscribers = self.close(retry=isinstance(error, UpstreamError) and error.elsewhere)
        self.end_each(subscribers, lambda downstream: downstream.fail(error))

    def crash(self, error: BaseException) -> None:
        self.end_each(self.close(), lambda downstream: downstream.crash(error))

    def end_each(self, subscribers: list[Subscriber], end: Callable[[MarkedDownstream], None]) -> None:
        """Ends the response of each of ``subscribers``, even if that of another one fails."""
        for subscriber in subscribers:
            try:
                end(subscriber.downstream)
            except Exception as error:  # noqa: BLE001 - it is logged, and the response ends
                subscriber.downstream.crash(error)

    def comment(self, payload: bytes) -> None:
        self.started = True
        for subscriber in self.subscribers:
            if not subscriber.paused:
                subscriber.downstream.stream.comment(payload)

    def idle(self, seconds: float) -> None:
        for subscriber in self.subscribers:
            subscriber.downstream.idle(seconds)

    def spawn(self, handler: Coroutine[object, object, None]) -> None:
        """Runs ``handler`` for all subscribers; it is cancelled when the last one leaves."""
        self._task = self.loop.create_task(handler)
        self._task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        if self._task is task:
            self._task = None
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if isinstance(error, ApiError):
            self.fail(error)
        elif error is not None:
            self.crash(error)

    # -- the recording ------------------------------------------------------------------------------------------------

    def _append(self, payload: bytes) -> None:
        self.parts.append(payload)
        if self.recording:
            size = len(payload) + _PART_BYTES
            self._size += size
            if not self._callbacks.reserve(size, self._size):
                self.recording = False
                self._callbacks.forget(self, None)
                self._release()

    def _release(self) -> None:
        self._callbacks.reserve(-self._size, 0)
        self._size = 0

    def close(self, *, retry: bool = False) -> list[Subscriber]:
        """Ends the response and returns its subscribers, without those for which the request is sent again if ``retry``
        is true."""
        self.over = True
        waiting = [s for s in self.subscribers if retry and not s.has_failed and not s.downstream.started]
        subscribers = [subscriber for subscriber in self.subscribers if subscriber not in waiting]
        for subscriber in subscribers:
            self._let_go(subscriber.downstream)
        self.subscribers.clear()
        self.producer = None
        self._callbacks.forget(self, None)
        self._release()
        if waiting:
            for subscriber in waiting:
                subscriber.has_failed = True
            self._callbacks.retry(self, waiting)
        return subscribers

    def _let_go(self, downstream: MarkedDownstream) -> None:
        """Takes no further part in a response, which may still have to be stored before its end is sent."""
        downstream.producer = None
        self._callbacks.done(downstream)
