"""An upstream that sends fast is read once in a turn of the event loop."""

import asyncio

from tests.upstream.scripted import Silent, read
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.connection import Timeouts, UpstreamConnection
from ztoapi.upstream.pool import Origin, Pool
from ztoapi.wire.client import ResponseHead, ResponseHeads
from ztoapi.wire.limits import READ_BUFFER_BYTES

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Switched(Silent):
    """A transport that shows whether it reads, and whose reading is switched only when it changes."""

    reading = True

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


class Counting:
    """A sink that counts, and pauses the connection while ``slow``."""

    def __init__(self) -> None:
        self.connection: UpstreamConnection | None = None
        self.received = 0
        self.slow = False

    def on_head(self, head: ResponseHead) -> None:
        assert head.chunked

    def on_data(self, payload: bytes) -> None:
        self.received += len(payload)
        if self.slow and self.connection is not None:
            self.connection.pause()

    def on_end(self) -> None: ...

    def on_error(self, error: Exception) -> None:
        raise error

    def on_idle(self, seconds: float) -> None: ...


def test_a_full_read_is_the_last_in_its_turn_of_the_loop() -> None:
    loop = asyncio.new_event_loop()

    def turn() -> None:
        loop.call_soon(loop.stop)
        loop.run_forever()

    pool = Pool(Deadlines(), max_idle=1, max_idle_per_origin=1, idle_timeout=1.0)
    connection = UpstreamConnection(loop, pool, memoryview(bytearray(READ_BUFFER_BYTES)), ResponseHeads())
    transport = Switched(connection)
    pool.opened(Origin(False, "127.0.0.1", 1), connection)
    sink = Counting()
    sink.connection = connection
    connection.send("POST", b"", b"", sink, Timeouts(1.0, 1.0, 1.0))
    read(connection, HEAD)
    full = b"%x\r\n%b\r\n" % (READ_BUFFER_BYTES - 8, b"x" * (READ_BUFFER_BYTES - 8))
    assert len(full) == READ_BUFFER_BYTES
    read(connection, b"1\r\nx\r\n" * 1000)
    assert transport.is_reading()
    read(connection, full)
    assert not transport.is_reading()
    turn()
    assert transport.is_reading()
    # A client that is slow meanwhile is waited for as ever.
    sink.slow = True
    read(connection, full)
    turn()
    assert not transport.is_reading()
    connection.resume()
    assert transport.is_reading()
    read(connection, full)
    connection.resume()
    assert not transport.is_reading()
    turn()
    assert transport.is_reading()
    assert sink.received == 1000 + 3 * (READ_BUFFER_BYTES - 8)
    connection.cancel()
    loop.close()
