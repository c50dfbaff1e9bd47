"""An upstream in threads, whose responses are bytes from the test."""

import contextlib
import queue
import socket
import threading
from collections.abc import Callable
from typing import Self

__all__ = ["Play", "RawUpstream", "stream_of", "whole"]

Play = Callable[[socket.socket, int], object]
"""Called after each request with its connection and its number, from 1. If it returns a true value, the connection is
closed."""


def whole(status: str, body: bytes, *fields: str, content_type: str = "application/json") -> bytes:
    """Returns a response with a Content-Length."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


def stream_of(*pieces: bytes, end: bool = True) -> bytes:
    """Returns an event stream with each piece in a separate HTTP chunk."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return head + b"".join(chunks) + (b"0\r\n\r\n" if end else b"")


class RawUpstream:
    """Listens until its context ends. ``play`` is the response to each request, or a function that sends it."""

    def __init__(self, play: bytes | Play) -> None:
        self.play = play
        self.requests = 0
        self.bodies: list[bytes] = []
        """The bodies of these requests."""
        self.closed: queue.Queue[int] = queue.Queue()
        """Numbers of connections that the gateway has closed."""
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.connections: list[socket.socket] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for sock in self.connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections.append(sock)
                threading.Thread(target=self._serve, args=(sock, len(self.connections)), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), sock:
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    read = sock.recv(65536)
                    if not read:
                        self.closed.put(number)
                        return
                    rest += read
                head, _, rest = rest.partition(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
                length = int(fields.get(b"content-length", b"0"))
                while len(rest) < length:
                    rest += sock.recv(65536)
                body, rest = rest[:length], rest[length:]
                with self._lock:
                    self.bodies.append(body)
                    self.requests += 1
                    count = self.requests
                if isinstance(self.play, bytes):
                    sock.sendall(self.play)
                elif self.play(sock, count):
                    return
