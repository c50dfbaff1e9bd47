"""The calls that precede a zread.ai request fail as the request itself does."""

import asyncio

import httpx
import pytest

from tests.upstream.scripted import FailingClient
from ztoapi.dialects.registry import DIALECTS
from ztoapi.dialects.request import decode_request
from ztoapi.dialects.translate import TranslationContext
from ztoapi.errors import Failure, UpstreamError
from ztoapi.relay.zread import prepare
from ztoapi.upstream.connection import Timeouts
from ztoapi.upstream.transport import ClientTransport

CONTEXT = TranslationContext(lambda: "id", lambda: 0.0, "glm-4.6", True, None, "strip", {}, True, "a/b")
TIMEOUTS = Timeouts(1.0, 1.0, 1.0)


@pytest.mark.parametrize("failure", [Failure.TIMEOUT, Failure.UNREACHABLE, Failure.CLOSED, Failure.BROKEN_HTTP])
def test_a_failed_call_is_the_failure_of_the_transport(failure: Failure) -> None:
    error = UpstreamError("it failed", failure)
    request = decode_request(b'{"model":"m","messages":[{"role":"user","content":"Why?"}]}')
    translation = DIALECTS["zread"].translate(request, CONTEXT)

    async def run() -> None:
        transport = ClientTransport(FailingClient(error), TIMEOUTS)
        async with httpx.AsyncClient(transport=transport) as client:
            await prepare(client, lambda: 0.0, "http://zread", translation, {})

    with pytest.raises(UpstreamError) as caught:
        asyncio.run(run())
    assert caught.value is error
