"""``--transport httpx``: the same interface over plain httpx.

A request takes about ten times the CPU of the native client's, but all kinds of proxies are supported (HTTP_PROXY,
HTTPS_PROXY, ALL_PROXY). https://www.python-httpx.org

The bytes of a response pass :mod:`ztoapi.upstream.httpx_streams` first, so that both transports refuse the same
responses. Four things are missing: ``on_idle`` (so there are no keepalive comments), the second attempt on a reused
connection that the upstream has closed (httpcore tests a connection before each use, which leaves a narrow race), a
total time that excludes pauses of a slow client, and a response before the end of a body that is written in parts:
httpcore reads no response before it has sent the request, or the upstream has closed the connection.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from ztoapi.config.model import UpstreamConfig
from ztoapi.errors import ProtocolError, UpstreamError
from ztoapi.telemetry.samples import Sample
from ztoapi.upstream.bounds import ERROR_SECONDS, REST_SECONDS, ErrorBody, Rest
from ztoapi.upstream.client import UpstreamRequest
from ztoapi.upstream.connection import Timeouts
from ztoapi.upstream.failures import (
    broken_http,
    closed,
    connect_failed,
    connect_timeout,
    fell_silent,
    internal,
    no_byte_in_time,
    took_too_long,
    truncated,
)
from ztoapi.upstream.httpx_streams import check_responses
from ztoapi.upstream.httpx_upload import HttpxUpload
from ztoapi.upstream.sink import Sink, log_failure, report_end, report_error
from ztoapi.wire.client import ResponseHead

__all__ = ["HttpxClient"]


class HttpxClient:
    """One ``httpx.AsyncClient`` for all upstreams."""

    def __init__(self, loop: asyncio.AbstractEventLoop, config: UpstreamConfig, *, tls: ssl.SSLContext) -> None:
        self.loop = loop
        self.config = config
        self._client = httpx.AsyncClient(
            verify=tls,
            limits=httpx.Limits(
                max_connections=None,
                max_keepalive_connections=config.max_idle_connections,
                keepalive_expiry=config.idle_timeout_seconds,
            ),
            follow_redirects=False,
            # A common jar would send the cookies of one user's response with the next user's request.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )
        check_responses(self._client)

    def send(
        self, request: UpstreamRequest, sink: Sink, timeouts: Timeouts | None = None, max_bytes: int = 0
    ) -> "HttpxCall":
        """See Client.send. The timeout for the first byte is httpx's read timeout, which also applies between bytes."""
        return HttpxCall(self, self._client, request, sink, timeouts, max_bytes)

    def samples(self) -> Iterator[Sample]:
        """Yields nothing: httpx does not report its connections."""
        return iter(())

    async def close(self) -> None:
        await self._client.aclose()


class HttpxCall:
    """One request: a task that feeds the sink."""

    __slots__ = ("_client", "_config", "_loop", "_max_bytes", "_resume", "_sink", "_task", "_timeout", "_upload")

    def __init__(
        self,
        owner: HttpxClient,
        client: httpx.AsyncClient,
        request: UpstreamRequest,
        sink: Sink,
        timeouts: Timeouts | None,
        max_bytes: int,
    ) -> None:
        self._client = client
        self._config = owner.config
        self._loop = owner.loop
        self._sink: Sink | None = sink
        self._max_bytes = max_bytes
        self._resume = asyncio.Event()
        self._resume.set()
        self._upload = None if request.upload is None else HttpxUpload(request.upload)
        total = timeouts.total if timeouts is not None else owner.config.total_timeout_seconds
        self._timeout = asyncio.timeout(total)
        self._task = owner.loop.create_task(self._run(request, timeouts, total))

    def cancel(self) -> None:
        # The task is cancelled at its next wait, which may be after more callbacks.
        self._sink = None
        self._task.cancel()

    def cut(self) -> None:
        """Ends the response here, as if it were complete, and closes the connection."""
        sink = self._sink
        self.cancel()
        if sink is not None:
            report_end(self._loop, sink)

    def finish(self) -> None:
        if self._sink is not None:
            self._hand_over(Rest(self), REST_SECONDS)

    def pause(self) -> None:
        self._resume.clear()

    def resume(self) -> None:
        self._resume.set()

    def write(self, part: bytes | bytearray, *, last: bool) -> None:
        if self._upload is not None and self._sink is not None:
            self._upload.write(part, last=last)

    def offer_raw_reads(self, take: Callable[[bytes], bytes]) -> None:
        """httpx removes the framing."""

    def _hand_over(self, sink: Sink, seconds: float) -> None:
        """Passes the rest of this response to ``sink``; it has ``seconds`` to end, else an error follows."""
        self._sink = sink
        self._resume.set()
        self._timeout.reschedule(self._loop.time() + seconds)

    async def _run(self, request: UpstreamRequest, timeouts: Timeouts | None, total: float) -> None:
        try:
            async with self._timeout:
                await self._relay(self._request(request, timeouts))
        except UpstreamError as error:
            self._fail(error)
        except TimeoutError:
            self._fail(took_too_long(total))
        except Exception as error:  # noqa: BLE001 - the last frame of the task
            log_failure(self._loop, error)
            self._fail(internal())

    def _fail(self, error: UpstreamError) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:
            report_error(self._loop, sink, error)

    def _sink_failed(self, sink: Sink, error: Exception) -> None:
        """A callback of ``sink`` has raised. Unless it has cancelled the call, raises CancelledError, which closes the
        connection."""
        log_failure(self._loop, error)
        cancelled, self._sink = self._sink is None, None
        report_error(self._loop, sink, internal())
        if not cancelled:
            raise asyncio.CancelledError from error

    def _request(self, request: UpstreamRequest, timeouts: Timeouts | None) -> httpx.Request:
        lines = request.head.split(b"\r\n")
        target = lines[0].split(b" ")[1]
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:] if line)]
        config = self._config
        origin = request.origin
        read = timeouts.first_byte if timeouts is not None else config.first_byte_timeout_seconds
        return self._client.build_request(
            request.method,
            httpx.URL(f"{'https' if origin.tls else 'http'}://{origin.authority}{target.decode('ascii')}"),
            headers=headers,
            content=bytes(request.body) if self._upload is None else self._upload.content(),
            timeout=httpx.Timeout(read, connect=config.connect_timeout_seconds, pool=None),
        )

    async def _relay(self, request: httpx.Request) -> None:
        responding = False
        authority = request.url.netloc.decode("ascii")
        try:
            response = await self._client.send(request, stream=True)
            try:
                responding = True
                self._take_head(response)
                await self._relay_body(response)
            finally:
                await response.aclose()
        except ProtocolError as error:
            raise broken_http(error.message) from error
        except httpx.ConnectTimeout as error:
            raise connect_timeout(authority, self._config.connect_timeout_seconds, error) from error
        except httpx.TimeoutException as error:
            seconds: float = request.extensions["timeout"]["read"]
            raise (fell_silent(seconds) if responding else no_byte_in_time(seconds)) from error
        except (httpx.ConnectError, httpx.ProxyError, UnicodeError) as error:
            if responding:
                raise
            raise connect_failed(authority, error) from error
        except httpx.TransportError as error:
            raise _broken_off(error, responding) from error
        sink, self._sink = self._sink, None
        if sink is not None:
            report_end(self._loop, sink)

    def _take_head(self, response: httpx.Response) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in response.headers.raw:
            name = name.lower()
            headers[name] = headers[name] + b", " + value if name in headers else value
        sink = self._sink
        if sink is None:
            return
        if not 200 <= response.status_code < 300:
            self._hand_over(ErrorBody(self, sink), ERROR_SECONDS)
        try:
            sink.on_head(ResponseHead(response.status_code, headers, True))
        except Exception as error:  # noqa: BLE001 - the last frame of the sink
            self._sink_failed(sink, error)

    async def _relay_body(self, response: httpx.Response) -> None:
        await self._resume.wait()
        async for part in response.aiter_raw():
            size = self._max_bytes or len(part)
            for at in range(0, len(part), size):
                # Without a sink the call is cancelled: httpx closes the connection at the next wait.
                sink = self._sink
                if sink is not None:
                    try:
                        sink.on_data(part[at : at + size])
                    except Exception as error:  # noqa: BLE001 - the last frame of the sink
                        self._sink_failed(sink, error)
                await self._resume.wait()


def _broken_off(error: httpx.TransportError, responding: bool) -> UpstreamError:
    # httpx has one class for a closed connection and for broken HTTP; these are the messages of h11 and httpcore.
    if isinstance(error, httpx.RemoteProtocolError) and not str(error).startswith(("peer closed", "Server disc")):
        # The text of the exception may quote the response.
        return broken_http("it is malformed")
    return truncated(error) if responding else closed(error)
