"""``--transport httpx``: the same contract over plain httpx.

About ten times dearer for each request than the native client, but it knows proxies (HTTP_PROXY, HTTPS_PROXY,
ALL_PROXY), and it is the honest comparison in the benchmarks. https://www.python-httpx.org

What it does not do: ``on_idle`` (so no keepalive comments), the retry on a reused connection that turns out dead
(httpcore looks at a connection before it uses it, which leaves the narrow race), and a total time that stands still
while the client is slow.
"""

import asyncio
import ssl
from collections.abc import Callable
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from ztoapi.config.model import UpstreamConfig
from ztoapi.errors import Ending, Fault, UpstreamError
from ztoapi.upstream.client import UpstreamRequest
from ztoapi.upstream.connection import Sink, Timeouts
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
            # One jar for all would send what one user's answer set with the next user's request.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    def send(
        self, request: UpstreamRequest, sink: Sink, timeouts: Timeouts | None = None, most_bytes: int = 0
    ) -> "HttpxCall":
        """See Client.send. A time limit for the first byte is httpx's read timeout here, as the one between bytes."""
        return HttpxCall(self, self._client, request, sink, timeouts, most_bytes)

    async def close(self) -> None:
        await self._client.aclose()


class HttpxCall:
    """One request: a task that feeds the sink."""

    __slots__ = ("_cancelled", "_client", "_config", "_loop", "_most_bytes", "_resume", "_sink", "_task")

    def __init__(
        self,
        owner: HttpxClient,
        client: httpx.AsyncClient,
        request: UpstreamRequest,
        sink: Sink,
        timeouts: Timeouts | None,
        most_bytes: int,
    ) -> None:
        self._client = client
        self._config = owner.config
        self._loop = owner.loop
        self._sink = sink
        self._most_bytes = most_bytes
        self._cancelled = False
        self._resume = asyncio.Event()
        self._resume.set()
        self._task = owner.loop.create_task(self._run(request, timeouts))

    def cancel(self) -> None:
        # The task only hears of it where it waits next, which may be after more callbacks.
        self._cancelled = True
        self._task.cancel()

    def pause(self) -> None:
        self._resume.clear()

    def resume(self) -> None:
        self._resume.set()

    def divert(self, take: Callable[[bytes], bool]) -> None:
        """httpx takes the chunks apart."""

    async def _run(self, request: UpstreamRequest, timeouts: Timeouts | None) -> None:
        total = timeouts.total if timeouts is not None else self._config.total_timeout_seconds
        try:
            async with asyncio.timeout(total):
                await self._relay(self._request(request, timeouts))
        except UpstreamError as error:
            self._fail(error)
        except TimeoutError:
            self._fail(_late(f"the upstream's answer took longer than {total:g} s", Fault.REQUEST))
        except Exception as error:  # noqa: BLE001 - the last frame of the task: a callback of the sink has raised
            self._loop.call_exception_handler(
                {"message": "the sink of an upstream answer failed", "exception": error, "task": self._task}
            )
            self._fail(UpstreamError("internal error", status=500, code="internal", ending=Ending.INTERNAL_ERROR))

    def _fail(self, error: UpstreamError) -> None:
        if not self._cancelled:
            self._sink.on_error(error)

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
                headers: dict[bytes, bytes] = {}
                for name, value in response.headers.raw:
                    name = name.lower()
                    headers[name] = headers[name] + b", " + value if name in headers else value
                self._sink.on_head(ResponseHead(response.status_code, headers, True))
                await self._relay_body(response)
            finally:
                await response.aclose()
        except httpx.ConnectTimeout as error:
            raise _unreachable(f"cannot connect to the upstream {request.url.host} in time", 504) from error
        except httpx.TimeoutException as error:
            raise _late("the upstream fell silent") from error
        except (httpx.ConnectError, httpx.ProxyError, UnicodeError) as error:
            if answering:
                raise
            # UnicodeError: a host name that IDNA cannot encode.
            failure = _unreachable(f"cannot connect to the upstream {request.url.host}: {error}", 502)
            failure.retryable = not _is_tls(error)
            raise failure from error
        except httpx.TransportError as error:
            raise _broken_off(error, answering) from error
        if not self._cancelled:
            self._sink.on_end()

    async def _relay_body(self, response: httpx.Response) -> None:
        await self._resume.wait()
        async for part in response.aiter_raw():
            most = self._most_bytes or len(part)
            for at in range(0, len(part), most):
                # Once it is cancelled, httpx hears of it in the next wait, and closes the connection.
                if not self._cancelled:
                    self._sink.on_data(part[at : at + most])
                await self._resume.wait()


def _is_tls(error: BaseException) -> bool:
    """Whether TLS is the reason, which httpx only says by the chain of causes."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _broken_off(error: httpx.TransportError, answering: bool) -> UpstreamError:
    # httpx has one class for an upstream that goes away and for one that breaks HTTP; h11 and httpcore word it so.
    gone = not isinstance(error, httpx.RemoteProtocolError) or str(error).startswith(("peer closed", "Server disc"))
    if not gone:
        return UpstreamError(
            f"the upstream's answer breaks HTTP: {error}", code="upstream_protocol_error", fault=Fault.UPSTREAM
        )
    if answering:
        return UpstreamError(
            "the upstream closed the connection in the middle of its answer",
            code="upstream_truncated",
            ending=Ending.TRUNCATED,
            fault=Fault.UPSTREAM,
        )
    return UpstreamError(
        "the upstream closed the connection without an answer", code="upstream_closed", fault=Fault.UPSTREAM
    )


def _unreachable(message: str, status: int) -> UpstreamError:
    return UpstreamError(
        message,
        status=status,
        code="upstream_timeout" if status == 504 else "upstream_unreachable",
        ending=Ending.UPSTREAM_TIMEOUT if status == 504 else Ending.UPSTREAM_ERROR,
        retryable=True,
        fault=Fault.UPSTREAM,
    )


def _late(message: str, fault: Fault = Fault.UPSTREAM) -> UpstreamError:
    return UpstreamError(message, status=504, code="upstream_timeout", ending=Ending.UPSTREAM_TIMEOUT, fault=fault)
