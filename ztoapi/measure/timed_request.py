"""One request to one arm, with its reads timed. Both arms get the same bytes from the same client, except for address
and key, so the cost of the client cancels out."""

import asyncio
import re
from collections.abc import Callable
from typing import Final, NamedTuple

import httpx
import msgspec

from ztoapi.errors import Failure, UpstreamError
from ztoapi.upstream.client import NativeClient, UpstreamRequest
from ztoapi.upstream.pool import Origin
from ztoapi.upstream.sink import Sink
from ztoapi.upstream.transport import origin_of
from ztoapi.wire.client import ResponseHead

__all__ = ["Arm", "Timing", "body_of", "time_request"]

_DELTA: Final = re.compile(rb'"(?:reasoning_)?content":\s?"[^"]')
_EXCERPT_BYTES: Final = 200
_UNREACHABLE: Final = (Failure.UNREACHABLE, Failure.CONNECT_TIMEOUT, Failure.TLS_FAILED)
_DONE: Final = re.compile(rb"(?:^|[\r\n])data: *\[DONE\]")


class Arm:
    """A destination of requests: the gateway, or its upstream directly. Raises ValueError for an invalid URL."""

    def __init__(self, name: str, url: str, key: str | None) -> None:
        parsed = httpx.URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise ValueError(f"{url!r} is not an http or https URL")
        self.name = name
        self.url = url
        self._origin: Origin = origin_of(parsed)
        authorization = f"authorization: Bearer {key}\r\n" if key else ""
        self._head = (
            f"POST {parsed.raw_path.decode()} HTTP/1.1\r\nhost: {self._origin.authority}\r\n"
            f"content-type: application/json\r\naccept-encoding: identity\r\n{authorization}content-length: "
        ).encode()

    def request(self, body: bytes) -> UpstreamRequest:
        """Returns the request with ``body``."""
        return UpstreamRequest(self._origin, "POST", self._head + b"%d\r\n\r\n" % len(body), body)


class Timing(NamedTuple):
    """The result of one request: seconds until its end and until its first delta, seconds between deltas of different
    reads, the number of deltas, a description of the failure, or "", and whether no connection was made."""

    seconds: float
    first_seconds: float | None
    gaps: list[float]
    deltas: int
    fault: str
    unreachable: bool = False


class _TimedReads(Sink):
    """Receives the response to one request."""

    def __init__(self, clock: Callable[[], float], done: "asyncio.Future[None]") -> None:
        self._clock = clock
        self.done = done
        self.status = 0
        self.payload = bytearray()
        self.reads: list[float] = []
        self.deltas = 0
        self.error = ""
        self.unreachable = False
        self.end = 0.0

    def on_head(self, head: ResponseHead) -> None:
        self.status = head.status

    def on_data(self, payload: bytes) -> None:
        self.payload += payload
        deltas = len(_DELTA.findall(payload))
        if deltas:
            self.deltas += deltas
            self.reads.append(self._clock())

    def on_end(self) -> None:
        self._finish()

    def on_error(self, error: UpstreamError) -> None:
        self.error = str(error)
        self.unreachable = error.failure in _UNREACHABLE
        self._finish()

    def on_idle(self, seconds: float) -> None:
        """Does nothing: the caller has its own time limit."""

    def _finish(self) -> None:
        self.end = self._clock()
        if not self.done.done():
            self.done.set_result(None)


def body_of(model: str, max_tokens: int, stream: bool) -> bytes:
    """Returns the request body, the same for both arms."""
    messages = [{"role": "user", "content": "Count slowly from one to one hundred, in words."}]
    return msgspec.json.encode({"model": model, "messages": messages, "max_tokens": max_tokens, "stream": stream})


async def time_request(client: NativeClient, arm: Arm, body: bytes, *, stream: bool, timeout_seconds: float) -> Timing:
    """Sends one request to ``arm``. Failures are returned in ``fault``, not raised."""
    loop = asyncio.get_running_loop()
    reader = _TimedReads(loop.time, loop.create_future())
    start = loop.time()
    call = client.send(arm.request(body), reader)
    try:
        async with asyncio.timeout(timeout_seconds):
            await reader.done
    except TimeoutError:
        return Timing(loop.time() - start, None, [], reader.deltas, f"no end within {timeout_seconds:g} s")
    finally:
        call.cancel()
    gaps = [after - before for before, after in zip(reader.reads, reader.reads[1:], strict=False)]
    first = reader.reads[0] - start if reader.reads else None
    return Timing(reader.end - start, first, gaps, reader.deltas, _fault(reader, stream), reader.unreachable)


def _fault(reader: _TimedReads, stream: bool) -> str:
    if reader.error:
        return reader.error
    if reader.status != 200:
        return f"status {reader.status}: {bytes(reader.payload[:_EXCERPT_BYTES]).decode('utf-8', 'replace')}"
    if stream:
        done = _DONE.search(reader.payload) is not None
        if b'"error":' in reader.payload and not done:
            return "an error event in the stream"
        return "" if done else "truncated: no [DONE]"
    return "" if reader.deltas else "no content in the response"
