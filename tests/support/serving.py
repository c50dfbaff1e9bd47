"""A real server with its event loop in a thread, and raw clients for it."""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import queue
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import NamedTuple, Self, TypeVar

import uvloop

from tests.support.waiting import WAIT_SECONDS, until
from ztoapi.config.listen import Listen
from ztoapi.errors import ApiError
from ztoapi.server.context import Admit, ServerContext, Verdict, admit_all
from ztoapi.server.exchange import Exchange
from ztoapi.server.listener import Server
from ztoapi.server.sockets import bind
from ztoapi.telemetry.record import Recorder, RequestRecord
from ztoapi.wire.limits import Limits

__all__ = ["Answer", "Client", "Serving", "Source"]

T = TypeVar("T")

Handler = Callable[[Exchange], None]


def gated(handler: Handler, gate: Admit | None) -> Admit:
    """Returns an ``admit`` with one gate, or none, and one handler."""
    admit = admit_all(handler)

    def both(exchange: Exchange) -> ApiError | Verdict | None:
        admit(exchange)
        return None if gate is None else gate(exchange)

    return both


class QueueRecorder(Recorder):
    """Also puts each record into a queue."""

    __slots__ = ("filed",)

    def __init__(self) -> None:
        super().__init__()
        self.filed: queue.Queue[RequestRecord] = queue.Queue()

    def submit(self, record: RequestRecord) -> None:
        super().submit(record)
        self.filed.put(record)


@dataclasses.dataclass
class Source:
    """A producer of a response that calls these functions."""

    cancel: Callable[[], None] = lambda: None
    pause: Callable[[], None] = lambda: None
    resume: Callable[[], None] = lambda: None


class Serving:
    """``dispatch`` gets every request. Without it the test takes each exchange from ``held``, and responds."""

    def __init__(
        self,
        dispatch: Handler | None = None,
        *,
        admit: Admit | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
    ) -> None:
        self._held: queue.Queue[Exchange] = queue.Queue()
        self.recorder = QueueRecorder()
        self.loop = loop_factory()
        self.problems: list[dict[str, object]] = []
        self.loop.set_exception_handler(lambda _, problem: self.problems.append(problem))
        self.context = ServerContext(
            self.loop,
            gated(dispatch or self._held.put, admit),
            limits=limits,
            recorder=self.recorder,
            tls=tls,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WAIT_SECONDS)
        return self

    def __exit__(self, *exc: object) -> None:
        self.await_(self.server.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_SECONDS)
        self.loop.close()
        assert not self.problems, self.problems

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        listening = bind("127.0.0.1", 0, backlog=128)
        listening.address = Listen(tls=self.context.tls is not None)
        self.server = Server(self.context, listening)
        self.loop.run_until_complete(self.server.start())
        self._ready.set()
        self.loop.run_forever()

    def await_(self, work: Coroutine[object, object, T]) -> T:
        """Runs a coroutine on the server's loop and returns its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(WAIT_SECONDS)

    def run(self, work: Callable[[], T]) -> T:
        """Calls ``work`` on the server's loop and returns its result."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()

        def call() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
                future.set_exception(error)

        self.loop.call_soon_threadsafe(call)
        return future.result(WAIT_SECONDS)

    def held(self) -> Exchange:
        """Returns the exchange of the next request; waits for it."""
        return self._held.get(timeout=WAIT_SECONDS)

    def nothing_held(self) -> bool:
        return self._held.empty()

    def record(self) -> RequestRecord:
        """Returns the next record; waits for it."""
        return self.recorder.filed.get(timeout=WAIT_SECONDS)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Waits until ``condition`` holds on the server's loop."""
        self.await_(until(condition))

    def gone(self, exchange: Exchange) -> threading.Event:
        """Returns an event that is set when the client of ``exchange`` leaves."""
        event = threading.Event()

        def watch() -> None:
            if exchange.gone:
                event.set()
            exchange.producer = Source(cancel=event.set)

        self.run(watch)
        return event

    def client(self, *, receive_buffer: int | None = None) -> "Client":
        return Client(self.server.port, receive_buffer)


class Answer(NamedTuple):
    """A response. Header names are in lower case; ``complete`` is false if the connection ended within it."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool


class Client:
    """A socket, and enough HTTP to read responses byte by byte."""

    def __init__(self, port: int, receive_buffer: int | None = None) -> None:
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(WAIT_SECONDS)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def get(self, path: str, fields: str = "", *, method: str = "GET", version: str = "1.1") -> None:
        self.send(f"{method} {path} HTTP/{version}\r\nhost: a\r\n{fields}\r\n".encode("latin-1"))

    def post(self, path: str, body: bytes, fields: str = "") -> None:
        head = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n{fields}\r\n"
        self.send(head.encode("latin-1") + body)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def until(self, mark: bytes) -> bytes:
        """Returns all bytes up to and including ``mark``, or all bytes if the connection ends before it."""
        while mark not in self.buffer:
            if not self._more():
                rest, self.buffer = self.buffer, b""
                return rest
        before, _, self.buffer = self.buffer.partition(mark)
        return before + mark

    def exactly(self, count: int) -> bytes:
        while len(self.buffer) < count and self._more():
            pass
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def rest(self) -> bytes:
        """Returns all bytes until the server closes. Raises ConnectionResetError after a reset."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def at_end(self) -> bool:
        """Whether the server closes or resets the connection without sending another byte."""
        with contextlib.suppress(ConnectionResetError):
            return self.rest() == b""
        return True

    def head(self) -> tuple[int, dict[str, str]]:
        head = self.until(b"\r\n\r\n")
        assert head.endswith(b"\r\n\r\n"), head
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(": ")
            assert name not in headers, f"{name} twice"
            headers[name] = value
        protocol, status = first.split(" ")[:2]
        assert protocol == "HTTP/1.1"
        return int(status), headers

    def chunks(self) -> Iterator[bytes]:
        """Yields the chunks of a body. The last is empty; it is missing if the connection ends too early."""
        while True:
            line = self.until(b"\r\n")
            if not line.endswith(b"\r\n"):
                return
            size = int(line, 16)
            data = self.exactly(size + 2)
            if len(data) < size + 2:
                return
            assert data.endswith(b"\r\n")
            yield data[:-2]
            if size == 0:
                return

    def answer(self, method: str = "GET") -> Answer:
        """Returns the next response that is not 1xx."""
        status, headers = self.head()
        while status < 200:
            status, headers = self.head()
        if method == "HEAD" or status == 204:
            return Answer(status, headers, b"", True)
        if headers.get("transfer-encoding") == "chunked":
            chunks = list(self.chunks())
            return Answer(status, headers, b"".join(chunks), chunks[-1:] == [b""])
        if "content-length" in headers:
            length = int(headers["content-length"])
            body = self.exactly(length)
            return Answer(status, headers, body, len(body) == length)
        return Answer(status, headers, self.rest(), True)
