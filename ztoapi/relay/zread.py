"""Runs the calls that precede a chat request, such as those of zread.ai: repository, wiki page, talk."""

from collections.abc import Callable

import httpx

from ztoapi.dialects.translate import Translation
from ztoapi.dialects.zread_request import JSONCall
from ztoapi.errors import UpstreamError
from ztoapi.relay.retry_after import retry_after

__all__ = ["prepare"]


async def prepare(
    client: httpx.AsyncClient,
    clock: Callable[[], float],
    base: str,
    translation: Translation,
    headers: dict[str, str],
) -> tuple[str, bytes]:
    """Return the path and the body of the chat request, after the calls of the translation's preparation.

    ``base`` is the platform's base URL, ``clock`` returns Unix seconds, and ``headers`` contain the credential. Raises
    UpstreamError, or ApiError if the request is at fault.
    """

    async def send(call: JSONCall) -> bytes:
        try:
            response = await client.request(
                call.method,
                base + call.path,
                content=call.body,
                headers={**headers, "content-type": "application/json"},
            )
        except httpx.TransportError as error:
            # ClientTransport translates the gateway's own error for httpx, and chains it.
            if isinstance(error.__cause__, UpstreamError):
                raise error.__cause__ from None
            raise
        if not response.is_success:
            fields = {name.lower(): value for name, value in response.headers.raw}
            raise translation.refusal(response.status_code, response.content, retry_after(fields, clock()))
        return response.content

    preparation = translation.prepare()
    try:
        call = next(preparation)
        while True:
            call = preparation.send(await send(call))
    except StopIteration as end:
        path, body = end.value
        return path, body
