"""An upstream on a loopback port that sends prepared responses, byte for byte."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import httpx

from tests.stack import BASES, Stack
from tests.support.waiting import WAIT_SECONDS

__all__ = [
    "COMPLETION",
    "DONE",
    "FIN",
    "FIRST",
    "GOOD",
    "SECOND",
    "WEB",
    "Replies",
    "Reply",
    "ask",
    "chunk",
    "event",
    "streamed",
    "text_of",
    "whole",
]

CHAT = "/v1/chat/completions"

Reply = bytes | Sequence[bytes]
"""One response. Several pieces are sent one by one: the gateway may read them separately or together."""


def event(delta: dict[str, object], finish: str | None = None) -> bytes:
    choices = [{"index": 0, "delta": delta, "finish_reason": finish}]
    fields = {"id": "u1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m", "choices": choices}
    return b"data: %b\n\n" % json.dumps(fields, separators=(",", ":")).encode()


FIRST = event({"role": "assistant", "content": "Good"})
SECOND = event({"content": " day"})
FIN = event({}, "stop")
DONE = b"data: [DONE]\n\n"
GOOD = (FIRST, SECOND, FIN, DONE)
WEB = tuple(
    b'data: {"type":"chat:completion","data":{%b}}\n\n' % data
    for data in (
        b'"phase":"answer","delta_content":"Good"',
        b'"phase":"answer","delta_content":" day"',
        b'"phase":"done","done":true',
    )
)
COMPLETION = (
    b'{"id":"u1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Good day"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
)


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def streamed(
    *pieces: bytes, status: bytes = b"200 OK", fields: bytes = b"content-type: text/event-stream\r\n"
) -> Reply:
    head = b"HTTP/1.1 %b\r\n%btransfer-encoding: chunked\r\nconnection: close\r\n\r\n" % (status, fields)
    return [head, *map(chunk, pieces), b"0\r\n\r\n"]


def whole(body: bytes, status: bytes = b"200 OK", fields: bytes = b"content-type: application/json\r\n") -> Reply:
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (status, fields, len(body), body)


class Replies:
    """Listens while the context lasts. ``reply`` returns the response for a request body; bodies are kept."""

    def __init__(self, reply: Callable[[dict[str, Any]], Reply]) -> None:
        self.reply = reply
        self.bodies: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(WAIT_SECONDS)
        self.origin = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A connection that sends nothing ends the thread, which waits for the next one.
        socket.create_connection(self._listening.getsockname()).close()
        self._thread.join(WAIT_SECONDS)
        self._listening.close()

    def stack(self, platform: str = "openai", **variables: str) -> Stack:
        """A gateway in front of it with three credentials, one of which every stack has."""
        url = self.origin + BASES[platform]
        return Stack(platform, options=None, UPSTREAM_URL=url, UPSTREAM_TOKENS="one|two", **variables)

    def _serve(self) -> None:
        while True:
            sock, _ = self._listening.accept()
            # The gateway may close the connection in the middle of a response.
            with sock, contextlib.suppress(ConnectionError):
                sock.settimeout(WAIT_SECONDS)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                body = self._read(sock)
                if body is None:
                    return
                self.bodies.append(body)
                reply = self.reply(body)
                # The gateway closes the connection where the response is broken.
                with contextlib.suppress(ConnectionError):
                    for piece in [reply] if isinstance(reply, bytes) else reply:
                        sock.sendall(piece)

    @staticmethod
    def _read(sock: socket.socket) -> dict[str, Any] | None:
        raw = b""
        while b"\r\n\r\n" not in raw:
            more = sock.recv(65536)
            if not more:
                return None
            raw += more
        head, _, body = raw.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields[b"content-length"]):
            body += sock.recv(65536)
        decoded: dict[str, Any] = json.loads(body)
        return decoded


def ask(stack: Stack, *, stream: bool = True, model: str = "glm-4.6", **fields: object) -> httpx.Response:
    messages = [{"role": "user", "content": "hi"}]
    return httpx.post(stack.url + CHAT, json={"model": model, "messages": messages, "stream": stream, **fields})


def text_of(response: httpx.Response) -> str:
    """The answer's text, of a complete stream or a whole answer."""
    assert response.status_code == 200, response.text
    if "event-stream" not in response.headers["content-type"]:
        content: str = response.json()["choices"][0]["message"]["content"]
        return content
    lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
