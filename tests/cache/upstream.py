"""An upstream whose test decides what it sends, and when."""

import socket
from types import TracebackType
from typing import Self

from tests.support.waiting import WAIT_SECONDS

__all__ = ["Upstream", "UpstreamCall", "event"]

STOPPED_SECONDS = 1.0
"""Who has taken nothing for so long has stopped reading. A slow machine may be taken for one that has."""
_CLOSE = b"connection: close\r\n\r\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n" + _CLOSE
_LAST = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},'
    b'"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}\n\n'
    b"data: [DONE]\n\n"
)
_WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"%b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}'
)


def event(text: str) -> bytes:
    """The bytes of one word as a client receives them."""
    return (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
        b'"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % text.encode()
    )


class UpstreamCall:
    """One request that the gateway has made, on a connection of its own."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.settimeout(WAIT_SECONDS)
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(65536)
        self.head, _, body = head.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in self.head.split(b"\r\n")[1:])
        while len(body) < int(fields[b"content-length"]):
            body += sock.recv(65536)

    def start(self) -> None:
        self._sock.sendall(_STREAM_HEAD)

    def say(self, text: str) -> None:
        self._chunk(event(text))

    def _chunk(self, data: bytes) -> None:
        self._sock.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        self._chunk(_LAST)
        self._sock.sendall(b"0\r\n\r\n")
        self._sock.close()

    def answer(self, text: str) -> None:
        body = _WHOLE % text.encode()
        self.refuse(b"200 OK", body)

    def refuse(self, status: bytes, body: bytes = b'{"error":{"message":"no","type":"x","code":"x"}}') -> None:
        self._sock.sendall(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%b%b"
            % (status, len(body), _CLOSE, body)
        )
        self._sock.close()

    def break_off(self) -> None:
        self._sock.close()

    def has_been_left(self) -> bool:
        """Waits until the gateway closes the connection."""
        try:
            return self._sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def takes_no_more(self) -> None:
        """Say words until the gateway has stopped reading."""
        data = event("x" * 8000)
        data = b"%x\r\n%b\r\n" % (len(data), data)
        self._sock.settimeout(STOPPED_SECONDS)
        self._unsent = b""
        try:
            while True:
                self._unsent = self._unsent or data
                self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except TimeoutError:
            self._sock.settimeout(WAIT_SECONDS)

    def finish_later(self) -> None:
        """The rest of what the gateway had not read, and the end."""
        self._sock.sendall(self._unsent)
        self.finish()


class Upstream:
    """Listens while the context lasts; ``url`` is where."""

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(WAIT_SECONDS)
        self._accepted: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        for sock in self._accepted:
            sock.close()

    def call(self) -> UpstreamCall:
        """The next request."""
        sock, _ = self._listening.accept()
        self._accepted.append(sock)
        return UpstreamCall(sock)

    def is_asked_no_more(self) -> bool:
        """Whether every connection has been accepted."""
        self._listening.setblocking(False)
        try:
            self._listening.accept()
        except BlockingIOError:
            return True
        finally:
            self._listening.settimeout(WAIT_SECONDS)
        return False
