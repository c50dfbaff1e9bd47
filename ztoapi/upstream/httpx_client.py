"""``--transport httpx``: the same contract over plain httpx.

About ten times dearer for each request than the native client, but it knows proxies (HTTP_PROXY, HTTPS_PROXY,
ALL_PROXY), and it is the honest comparison in the benchmarks. https://www.python-httpx.org
"""

import asyncio
import ssl

import httpx

from ztoapi.config.model import UpstreamConfig
from ztoapi.errors import Ending, UpstreamError
from ztoapi.upstream.client import UpstreamRequest
from ztoapi.upstream.connection import Sink, Timeouts
from ztoapi.wire.buffer import Ring, RingOverflow
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
        )

    def send(self, request: UpstreamRequest, sink: Sink, timeouts: Timeouts | None = None) -> "HttpxCall":
        """See Client.send. A time limit for the first byte is httpx's read timeout here, as the one between bytes."""
        return HttpxCall(self, self._client, request, sink, timeouts)

    async def close(self) -> None:
        await self._client.aclose()


class HttpxCall:
    """One request: a task that feeds the sink."""

    __slots__ = ("_client", "_config", "_resume", "_sink", "_task")

    def __init__(
        self,
        owner: HttpxClient,
        client: httpx.AsyncClient,
        request: UpstreamRequest,
        sink: Sink,
        timeouts: Timeouts | None,
    ) -> None:
        self._client = client
        self._config = owner.config
        self._sink = sink
        self._resume = asyncio.Event()
        self._resume.set()
        self._task = owner.loop.create_task(self._run(request, timeouts))

    def cancel(self) -> None:
        self._task.cancel()

    def pause(self) -> None:
        self._resume.clear()

    def resume(self) -> None:
        self._resume.set()

    async def _run(self, request: UpstreamRequest, timeouts: Timeouts | None) -> None:
        total = timeouts.total if timeouts is not None else self._config.total_timeout_seconds
        try:
            async with asyncio.timeout(total):
                await self._relay(self._request(request, timeouts))
        except UpstreamError as error:
            self._sink.on_error(error)
        except TimeoutError:
            self._sink.on_error(_late(f"the upstream's answer took longer than {total:g} s"))
        except RingOverflow:
            size = self._config.max_event_bytes
            self._sink.on_error(
                UpstreamError(f"the upstream sent an event larger than {size} bytes", code="upstream_event_too_large")
            )

    def _request(self, request: UpstreamRequest, timeouts: Timeouts | None) -> httpx.Request:
        lines = request.head.split(b"\r\n")
        target = lines[0].split(b" ")[1]
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:] if line)]
        config, origin = self._config, request.origin
        read = timeouts.first_byte if timeouts is not None else config.first_byte_timeout_seconds
        return self._client.build_request(
            request.method,
            httpx.URL(f"{'https' if origin.tls else 'http'}://{origin.authority}{target.decode('ascii')}"),
            headers=headers,
            content=bytes(request.body),
            timeout=httpx.Timeout(read, connect=config.connect_timeout_seconds, pool=None),
        )

    async def _relay(self, request: httpx.Request) -> None:
        answering = False
        try:
            response = await self._client.send(request, stream=True)
            try:
                answering = True
                headers = {name.lower(): value for name, value in response.headers.raw}
                self._sink.on_head(ResponseHead(response.status_code, headers, True))
                await self._relay_body(response)
            finally:
                await response.aclose()
        except httpx.ConnectTimeout as error:
            raise _unreachable(f"cannot connect to the upstream {request.url.host} in time", 504) from error
        except httpx.TimeoutException as error:
            raise _late("the upstream fell silent") from error
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise _unreachable(f"cannot connect to the upstream {request.url.host}: {error}", 502) from error
        except httpx.TransportError as error:
            if answering:
                raise UpstreamError(
                    "the upstream closed the connection in the middle of its answer",
                    code="upstream_truncated",
                    ending=Ending.TRUNCATED,
                ) from error
            raise UpstreamError(
                "the upstream closed the connection without an answer", code="upstream_closed"
            ) from error
        self._sink.on_end()

    async def _relay_body(self, response: httpx.Response) -> None:
        ring = Ring(limit=self._config.max_event_bytes)
        async for part in response.aiter_raw():
            offset = 0
            while offset < len(part):
                space = ring.writable()
                count = min(len(space), len(part) - offset)
                space[:count] = part[offset : offset + count]
                ring.wrote(count)
                ring.decoded_all()
                offset += count
                self._sink.on_data(ring)
            await self._resume.wait()


def _unreachable(message: str, status: int) -> UpstreamError:
    return UpstreamError(
        message,
        status=status,
        code="upstream_timeout" if status == 504 else "upstream_unreachable",
        ending=Ending.UPSTREAM_TIMEOUT if status == 504 else Ending.UPSTREAM_ERROR,
        retryable=True,
    )


def _late(message: str) -> UpstreamError:
    return UpstreamError(message, status=504, code="upstream_timeout", ending=Ending.UPSTREAM_TIMEOUT)
