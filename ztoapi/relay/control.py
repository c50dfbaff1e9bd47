"""Control calls: small requests of the gateway itself, such as for a list of models, over an ``httpx.AsyncClient``."""

import httpx
import msgspec

from ztoapi.dialects.reports import presentable
from ztoapi.errors import UpstreamError, unexpected_coding
from ztoapi.relay.bodies import plain_text
from ztoapi.upstream.failures import broken_http
from ztoapi.wire.client import ResponseHead
from ztoapi.wire.sse import BYTE_ORDER_MARK

__all__ = ["ControlResponse", "control_call"]


class ControlResponse(msgspec.Struct, frozen=True):
    """A whole response. Header names are lower-case; ``body`` has no byte order mark."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


async def control_call(
    client: httpx.AsyncClient, method: str, url: str, headers: dict[str, str], body: bytes = b""
) -> ControlResponse:
    """Returns the response to a request. Raises UpstreamError for every other result, including a success with a
    content coding: httpx would decompress it, to any size."""
    try:
        async with client.stream(method, url, headers=headers, content=body) as response:
            parts = [part async for part in response.aiter_raw()]
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict) as error:
        # ClientTransport translates the gateway's own error for httpx, and chains it.
        if isinstance(error.__cause__, UpstreamError):
            raise error.__cause__ from None
        raise broken_http("it cannot be read") from error
    head = ResponseHead(response.status_code, {name.lower(): value for name, value in response.headers.raw}, True)
    whole = b"".join(parts)
    if head.coding:
        if response.is_success:
            raise unexpected_coding(presentable(head.coding))
        whole = plain_text(whole, head.coding)
    return ControlResponse(head.status, head.headers, whole.removeprefix(BYTE_ORDER_MARK))
