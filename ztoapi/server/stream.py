"""A streamed response: HTTP framing, pace, and the times of its pieces."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

from ztoapi.errors import ApiError, Ending
from ztoapi.telemetry.layout import LIVE_EDGES_SECONDS
from ztoapi.telemetry.record import Recorder, RequestRecord
from ztoapi.wire.chunked import WHOLE_CHUNK_LINES, ChunkDecoder
from ztoapi.wire.delta_template import DeltaTemplate
from ztoapi.wire.framing import CHUNK, LAST_CHUNK, chunk

__all__ = ["STALL_SECONDS", "ResponseStream", "StreamOwner"]

STALL_SECONDS: Final = 5.0
"""A stream without a piece for this time counts as stalled. Models do not normally pause for so long between tokens."""

_EVENTS_BYTES: Final = 2048
"""Part of the first piece in which the events are counted: about ten."""
_LF: Final = 10
_CR: Final = 13
"""Line ends are searched as numbers: see ``wire/delta_template.py``."""


def _take_nothing(read: bytes) -> bytes:
    return read


class StreamOwner(Protocol):
    """The part of an :class:`~ztoapi.server.exchange.Exchange` that its stream needs."""

    loop: asyncio.AbstractEventLoop
    chunked: bool
    started: bool
    pace: Callable[[int], int] | None

    @property
    def record(self) -> RequestRecord: ...

    @property
    def recorder(self) -> Recorder: ...

    @property
    def transport(self) -> asyncio.Transport: ...

    def pause(self) -> None: ...

    def rested(self) -> None: ...

    def finish(self, ending: Ending) -> None: ...


class ResponseStream:
    """The body of one streamed response. ``head`` goes out in one write with the first piece; ``write`` is that of the
    transport.

    After ``close`` all methods do nothing.
    """

    __slots__ = (
        "_absent_key",
        "_gaps",
        "_head",
        "_held",
        "_hold",
        "_lines",
        "_otherwise",
        "_owner",
        "_stalled",
        "_template",
        "_write",
        "chunked",
        "error_event",
        "last_write",
        "sent",
        "template",
    )

    _owner: StreamOwner
    _template: DeltaTemplate
    _absent_key: bytes
    _otherwise: Callable[[bytes], bytes]
    """Takes any other read than such a chunk."""

    def __init__(self, owner: StreamOwner, head: bytes, write: Callable[[bytes], None]) -> None:
        self._owner = owner
        self._head = head
        self._held = b""
        """A piece that goes out with the next one."""
        self._lines: list[bytes] | tuple[()] = ()
        """Size lines of the chunks that ``take_chunk`` handles, by the length of the chunk."""
        self.template: DeltaTemplate | None = None
        """The template of the chunks that ``take_chunk`` handles."""
        self.chunked = owner.chunked
        """Whether the pieces go out in HTTP chunks."""
        self.error_event: Callable[[ApiError], bytes] | None = None
        """Writes an error as an event of another format than OpenAI's."""
        self.sent = 0
        """Bytes written, chunk framing included."""
        self.last_write: float | None = None
        """When the last piece was written."""
        self._gaps: list[int] | None = None
        """The counts of the gaps between the pieces, by bucket."""
        self._stalled = False
        self._hold: asyncio.TimerHandle | None = None
        """The end of a rest that ``pace`` has imposed."""
        self._write: Callable[[bytes], None] | None = write if owner.pace is None else self._write_at_pace
        """None after ``close``."""

    def write(self, payload: bytes) -> None:
        """Sends a piece: one HTTP chunk, one socket write."""
        if not payload:
            return
        self.write_framed(CHUNK % (len(payload), payload) if self.chunked else payload)

    def write_framed(self, data: bytes) -> None:
        """Sends a piece that is framed already: whole HTTP chunks if the stream is ``chunked``."""
        write = self._write
        if write is None:
            return
        if self._held:
            data, self._held = self._held + data, b""
        self.sent += len(data)
        gaps = self._gaps
        if gaps is None:
            data = self._begin_pieces(data)
        else:
            now = monotonic()
            gaps[bisect_left(LIVE_EDGES_SECONDS, now - self.last_write)] += 1  # type: ignore[operator] # set with _gaps
            self.last_write = now
        write(data)

    def write_chunks(self, chunks: bytes) -> None:
        """Sends whole HTTP chunks, without their framing unless the stream is ``chunked``."""
        if self.chunked:
            self.write_framed(chunks)
        else:
            self.write(ChunkDecoder().decode(chunks))

    def hold(self, data: bytes) -> None:
        """Sends a piece that is framed already in one write with the next one, or at ``flush``."""
        self._held += data

    def flush(self) -> None:
        """Sends what ``hold`` has left."""
        if self._held:
            self.write_framed(b"")

    def expect(self, template: DeltaTemplate, otherwise: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        """Returns a function that sends a read of the upstream if it is one chunk with one event of ``template``, and
        returns nothing then. It passes any other read to ``otherwise``, and returns the result."""
        self.template = self._template = template
        self._otherwise = otherwise
        key = template.absent_key
        if self._gaps is None or key is None:
            self._lines = ()
        else:
            self._absent_key = key
            self._lines = WHOLE_CHUNK_LINES
        return self.take_chunk

    def take_chunk(self, read: bytes) -> bytes:
        """See ``expect``. It is the whole way of a chunk that arrives alone: the same as ``template.take_chunk`` and
        ``write_framed``, without their calls (97 opcodes instead of 190)."""
        size = len(read)
        template = self._template
        try:
            start = self._lines[size] + template.head
        except IndexError:
            return self._otherwise(read)
        delta = read[len(start) : template.delta_stop]
        if (
            start + delta + template.chunk_end != read
            or _LF in delta
            or _CR in delta
            or delta.find(self._absent_key) >= 0
        ):
            return self._otherwise(read)
        if template.between is not None:
            read = b"%x\r\n%b%b%b\r\n" % (len(delta) + template.added, template.new_head, delta, template.new_tail)
            size = len(read)
        self.sent += size
        now = monotonic()
        self._gaps[bisect_left(LIVE_EDGES_SECONDS, now - self.last_write)] += 1  # type: ignore[index, operator] # set with _lines
        self.last_write = now
        self._write(read)  # type: ignore[misc] # as long as there are _lines
        return b""

    def end(self, payload: bytes = b"", ending: Ending = Ending.DONE) -> None:
        """Sends the last piece and the final chunk in one write, and finishes the exchange."""
        if self._write is None:
            return
        if self.chunked:
            payload = CHUNK % (len(payload), payload) + LAST_CHUNK if payload else LAST_CHUNK
        self.write_framed(payload)
        self._owner.finish(ending)

    def comment(self, payload: bytes) -> None:
        """Sends bytes that are not part of the response, such as an SSE comment."""
        if self._write is not None:
            data = chunk(payload) if self.chunked else payload
            self.sent += len(data)
            head, self._head = self._head, b""
            self._owner.started = True
            self._write(head + data)

    def idle(self, seconds: float) -> None:
        """Called repeatedly while the upstream sends nothing, with the time since its last byte."""
        if seconds < STALL_SECONDS:
            self._stalled = False
        elif self._write is not None and self._owner.started and not self._stalled:
            self._stalled = True
            self._owner.recorder.stall(self._owner.record, upstream=True)

    @property
    def held(self) -> bool:
        """Whether the stream rests because it has been faster than ``pace`` allows."""
        return self._hold is not None

    def close(self) -> None:
        """Ends the stream without a final chunk, and breaks the reference cycle with the exchange."""
        if self._write is not None:
            self._write = None
            self._lines = ()
            self._otherwise = _take_nothing
            if self._hold is not None:
                self._hold.cancel()
            del self._owner

    def _begin_pieces(self, data: bytes) -> bytes:
        """Records the first piece. Returns it after the head."""
        owner = self._owner
        record = owner.record
        if record.first_byte is None:
            start = data[:_EVENTS_BYTES]
            record.event_bytes = len(start) // (start.count(b"data:") or 1)
            record.first_byte = self.last_write = monotonic()
            self._gaps = owner.recorder.begin_stream(record)
        head, self._head = self._head, b""
        owner.started = True
        return head + data

    def _write_at_pace(self, data: bytes) -> None:
        owner = self._owner
        owner.transport.write(data)
        assert owner.pace is not None
        rest_ns = owner.pace(len(data))
        if rest_ns and self._hold is None:
            self._hold = owner.loop.call_later(rest_ns / 1e9, self._go_on)
            owner.pause()

    def _go_on(self) -> None:
        self._hold = None
        self._owner.rested()
