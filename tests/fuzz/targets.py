"""The parsers of bytes that others write: one function per fuzz target, which takes any bytes.

A target fails with an exception that the parser does not document, or with a result that depends on the pieces in which
the bytes arrive. Its first byte selects where the rest is split, so that a fuzzer can change the place.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.support.relaying import relayed
from ztoapi.config.keyfile import read_key_file
from ztoapi.config.load import load
from ztoapi.config.sources import Problems
from ztoapi.dialects.chunk_writer import ChunkWriter
from ztoapi.dialects.events import events as read_events
from ztoapi.dialects.openai import NO_REWRITE, OpenAIReader, Rewrite
from ztoapi.dialects.reader import Reader
from ztoapi.dialects.request import decode_request
from ztoapi.dialects.zai_web import WebReader
from ztoapi.dialects.zread import ZreadReader
from ztoapi.errors import ApiError, ConfigError, ProtocolError
from ztoapi.wire.buffer import RingOverflow, Rings
from ztoapi.wire.chunked import ChunkDecoder
from ztoapi.wire.client import ClientWire, ResponseHeads
from ztoapi.wire.limits import Limits
from ztoapi.wire.proxy_header import MAX_HEADER_BYTES, read_proxy_header
from ztoapi.wire.server import ServerWire, State
from ztoapi.wire.sse import EventBlocks

__all__ = ["TARGETS"]

_RING_BYTES: Final = 1 << 20


def _split(data: bytes) -> tuple[bytes, list[bytes]]:
    """Returns the bytes after the first one, whole and in two pieces."""
    rest = data[1:]
    at = data[0] * len(rest) // 256 if data else 0
    return rest, [piece for piece in (rest[:at], rest[at:]) if piece]


def head(data: bytes) -> None:
    """Requests of a client: head and body."""
    whole, pieces = _split(data)
    # Of empty lines before a request two are allowed, and each read that begins with them drops them: how many are
    # accepted is the one thing that depends on the pieces.
    if whole.startswith(b"\r\n") or b"\r\n\r\n\r\n" in whole:
        return
    assert _requests([whole]) == _requests(pieces)


def _requests(pieces: list[bytes]) -> tuple[list[object], int]:
    wire = ServerWire(Limits(max_body_bytes=100_000))
    found: list[object] = []
    try:
        for piece in pieces:
            wire.receive_data(piece)
            while _advance(wire, found):
                pass
    except ProtocolError as error:
        # The head of a request with a broken body is seen only if it has arrived before.
        return found[: len(found) // 2 * 2], error.status
    return found, 0


def _advance(wire: ServerWire, found: list[object]) -> bool:
    """Reads one part of a request, and adds it to ``found``. Returns False if it is incomplete."""
    if wire.state is State.BODY and wire.held:
        wire.continue_body()
        return True
    if wire.state is State.COMPLETE:
        found.append(bytes(wire.body))
        wire.next_request()
        return True
    request = wire.next_head() if wire.state is State.HEAD else None
    if request is None:
        return False
    found.append((request.method, request.path, request.query, dict(request.headers)))
    return True


def chunks(data: bytes) -> None:
    """A chunked body."""
    whole, pieces = _split(data)
    assert _chunked([whole]) == _chunked(pieces)


def _chunked(pieces: list[bytes]) -> tuple[bytes, bytes, bool] | int:
    decoder = ChunkDecoder()
    body = b""
    rest = b""
    try:
        for piece in pieces:
            if decoder.done:
                rest += piece
            else:
                body += decoder.decode(piece)
                rest = decoder.rest
    except ProtocolError as error:
        return error.status
    return body, rest, decoder.done


def response(data: bytes) -> None:
    """The response of an upstream: head and body."""
    whole, pieces = _split(data)
    assert _response([whole]) == _response(pieces)


def _response(pieces: list[bytes]) -> tuple[object, ...] | int:
    wire = ClientWire(ResponseHeads())
    body = b""
    try:
        for piece in pieces:
            if wire.head is None:
                if wire.read_head(piece) is None:
                    continue
                piece = wire.rest
            if piece and not wire.complete:
                body += wire.read_body(piece)
    except ProtocolError as error:
        return error.status
    received = None if wire.head is None else (wire.head.status, wire.head.headers)
    return received, body, wire.complete, wire.eof()


def events(data: bytes) -> None:
    """An event stream, cut into blocks of whole events."""
    whole, pieces = _split(data)
    # A further blank line is no event.
    assert read_events(_blocks([whole])) == read_events(_blocks(pieces))


def _blocks(pieces: list[bytes]) -> bytes:
    blocks = EventBlocks(Rings(_RING_BYTES, 1))
    with contextlib.suppress(RingOverflow):
        return b"".join(blocks.feed(piece) for piece in pieces)
    return b"overflow"


def _stream(reader: Callable[[], Reader]) -> Callable[[bytes], None]:
    """Returns the target for the streams of a dialect: the output is whole events with JSON, at every split alike."""

    def target(data: bytes) -> None:
        whole, pieces = _split(data)
        outputs = [relayed(reader(), form) for form in ([whole], pieces)]
        # A malformed chunk is reported, or passed on with those around it: that depends on the pieces.
        if _is_json(whole):
            assert _text(outputs[0]) == _text(outputs[1])

    return target


def _is_json(stream: bytes) -> bool:
    try:
        for _, payload in read_events(stream):
            if payload.strip() != b"[DONE]":
                json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return True


def _text(out: bytes) -> tuple[str, bool]:
    """Returns the texts of a stream of chunks, and whether it is finished."""
    text = ""
    done = False
    for name, payload in read_events(out):
        assert not done
        done = payload == b"[DONE]"
        if not done and name in ("", "message"):
            text += _content(payload)
    return text, done


def _content(payload: bytes) -> str:
    try:
        chunk = json.loads(payload.decode(errors="replace"))
        return "".join(str(choice["delta"]["content"]) for choice in chunk["choices"] if "content" in choice["delta"])
    except (ValueError, TypeError, LookupError):
        # A chunk of a plain server reaches the client as it is, also a malformed one.
        return repr(payload)


def chat_request(data: bytes) -> None:
    """The body of a chat request."""
    with contextlib.suppress(ApiError):
        request = decode_request(data)
        assert isinstance(json.loads(data.decode(errors="replace")), dict)
        assert request.names


def configuration(data: bytes) -> None:
    """``ztoapi.toml``."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "ztoapi.toml").write_bytes(data)
        with contextlib.suppress(ConfigError):
            load({}, environ={}, directory=directory)


def environment(data: bytes) -> None:
    """``.env``."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / ".env").write_bytes(data)
        with contextlib.suppress(ConfigError):
            load({}, environ={}, directory=directory)


def proxy_header(data: bytes) -> None:
    """The header of the PROXY protocol."""
    try:
        header = read_proxy_header(data)
    except ValueError:
        return
    if header is None:
        assert len(data) < MAX_HEADER_BYTES
        return
    assert header.size <= len(data)
    assert read_proxy_header(data[: header.size]) == header
    assert read_proxy_header(data[: header.size - 1]) is None
    assert header.client is None or (header.client[0].isprintable() and 0 <= header.client[1] < 65536)


def key_file(data: bytes) -> None:
    """The file with the client keys."""
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.write_bytes(data)
        problems = Problems()
        keys = read_key_file(path, problems, [])
        assert len({key.name for key in keys}) == len(keys)


def _writer() -> ChunkWriter:
    return ChunkWriter("c", 1, "m", include_usage=False)


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = MappingProxyType(
    {
        "head": head,
        "chunks": chunks,
        "response": response,
        "events": events,
        "openai": _stream(lambda: OpenAIReader(NO_REWRITE, {}, include_usage=True)),
        "zai": _stream(lambda: OpenAIReader(Rewrite("c", "m", normalise=True), {}, include_usage=False)),
        "zai_web": _stream(lambda: WebReader(_writer(), "reasoning", include_usage=False)),
        "zread": _stream(lambda: ZreadReader(_writer(), "reasoning", include_usage=False)),
        "chat_request": chat_request,
        "configuration": configuration,
        "environment": environment,
        "proxy_header": proxy_header,
        "key_file": key_file,
    }
)
"""The targets by name; a folder of ``corpus`` has the name of each."""
