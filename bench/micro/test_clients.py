"""Both upstream clients over a real socket, in batches of coroutines on one loop.

The server responds from memory in the same loop, so the difference is the cost of the clients.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import cast

import httpx
import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.pieces import note
from ztoapi.config.model import UpstreamConfig
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.client import NativeClient
from ztoapi.upstream.connection import Timeouts
from ztoapi.upstream.transport import ClientTransport

BATCH = 50
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
SECONDS = 30.0
_CLOSING_SECONDS = 0.05
"""Time for both ends to close, outside the measured part."""


class Answering(asyncio.Protocol):
    """Responds to each request at the end of its body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"{}"):
            self.transport.write(ANSWER)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.get_loop()


@pytest.mark.parametrize("transport", ["native", "httpcore"])
def test_batch_through_httpx(benchmark: BenchmarkFixture, loop: asyncio.AbstractEventLoop, transport: str) -> None:
    def run(work: Coroutine[object, object, object]) -> object:
        return loop.run_until_complete(work)

    server = loop.run_until_complete(loop.create_server(Answering, "127.0.0.1", 0))
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    own = NativeClient(loop, UpstreamConfig(), Deadlines(loop.call_soon), tls=httpx.create_ssl_context)
    timeouts = Timeouts(SECONDS, SECONDS, SECONDS)
    client = httpx.AsyncClient(
        transport=ClientTransport(own, timeouts) if transport == "native" else None, trust_env=False
    )

    async def batch() -> list[httpx.Response]:
        return await asyncio.gather(*(client.post(url, content=b"{}") for _ in range(BATCH)))

    note(benchmark, "upstream clients", requests=BATCH)
    responses = benchmark(lambda: run(batch()))
    assert {response.status_code for response in responses} == {200}
    run(client.aclose())
    run(own.close())
    server.close()
    run(asyncio.sleep(_CLOSING_SECONDS))
