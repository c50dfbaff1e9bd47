"""Fixtures of the upstream tests: a loop as in production, and clients that must leave nothing behind."""

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest

from tests.upstream.scripted import Native, StillLoop, Upstream, listening, no_task_is_left, no_tls, settle
from ztoapi.config.model import UpstreamConfig
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.client import Client, NativeClient
from ztoapi.upstream.httpx_client import HttpxClient


@contextlib.contextmanager
def collected() -> Iterator[None]:
    """Collects all garbage that is made meanwhile: an unclosed transport warns then, and warnings are errors.

    All objects of this time are in the youngest generation. To look at all others as well would take 40 ms.
    """
    gc.disable()
    try:
        yield
        gc.collect(0)
    finally:
        gc.enable()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Without debug mode, whose stack traces of all callbacks take two thirds of the time of these tests."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
def config() -> UpstreamConfig:
    """A test with a configuration of its own overrides this by ``pytest.mark.parametrize``."""
    return UpstreamConfig()


@pytest.fixture
async def logged(anyio_backend: object) -> list[BaseException]:
    """The calls of the loop's exception handler. Such a call fails a test that does not use this fixture."""
    errors: list[BaseException] = []

    def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        errors.append(context["exception"])

    asyncio.get_running_loop().set_exception_handler(note)
    return errors


@pytest.fixture
async def native(anyio_backend: object, config: UpstreamConfig) -> AsyncIterator[Native]:
    loop = cast("asyncio.AbstractEventLoop", StillLoop())
    with collected():
        deadlines = Deadlines(loop.call_soon)
        client = NativeClient(loop, config, deadlines, tls=no_tls)
        yield Native(client, deadlines)
        await settle(lambda: no_task_is_left() and client.pool.statistics().busy == 0)
        await client.close()
        await settle(lambda: not len(deadlines))


@pytest.fixture(params=["native", "httpx"])
async def client(
    request: pytest.FixtureRequest, anyio_backend: object, config: UpstreamConfig
) -> AsyncIterator[Client]:
    """Both clients, for what they must do alike."""
    loop = asyncio.get_running_loop()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client: Client
    with collected():
        if request.param == "native":
            client = NativeClient(loop, config, Deadlines(loop.call_soon), tls=lambda: tls)
        else:
            client = HttpxClient(loop, config, tls=tls)
        yield client
        await settle(no_task_is_left)
        if isinstance(client, NativeClient):
            pool = client.pool
            await settle(lambda: pool.statistics().busy == 0)
        await client.close()


@pytest.fixture
async def upstream(anyio_backend: object) -> AsyncIterator[Upstream]:
    async with listening() as upstream:
        yield upstream
