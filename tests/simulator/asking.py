"""Requests of the simulator's tests, and readers of the responses."""

import json
import socket
from typing import Any

import httpx

from tests.support.waiting import WAIT_SECONDS

__all__ = ["MESSAGES", "TOOLS", "ask", "events", "raw_request", "read_to_the_end"]

MESSAGES: list[dict[str, object]] = [{"role": "user", "content": "x"}]
TOOLS: list[dict[str, object]] = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "parameters": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "order": {"enum": ["new", "old"]},
                    "limit": {"type": ["integer", "null"]},
                    "where": {"type": "object", "properties": {"exact": {"type": "boolean"}}},
                    "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
                },
            },
        },
    }
]
ARGUMENTS = {"text": "sample", "order": "new", "limit": 2, "where": {"exact": True}, "tags": ["sample"]}


def ask(origin: str, path: str, model: str = "glm-4.6", **fields: object) -> httpx.Response:
    return httpx.post(origin + path, json={"model": model, "messages": MESSAGES, **fields})


def events(text: str) -> list[dict[str, Any]]:
    """The JSON of a stream's events, without [DONE]."""
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]


def raw_request(path: str, model: str, *, stream: bool = True) -> bytes:
    body = json.dumps(
        {"model": model, "messages": MESSAGES, "stream": stream, "query": "x"}, separators=(",", ":")
    ).encode()
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def read_to_the_end(port: int, request: bytes) -> tuple[bytes, bool]:
    """The bytes that the server sends until it closes, and whether it closed with a reset."""
    parts: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS) as client:
        client.sendall(request)
        try:
            while part := client.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            return b"".join(parts), True
    return b"".join(parts), False
