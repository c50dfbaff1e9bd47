"""Runs the calls that precede a chat request, such as those of zread.ai: repository, wiki page, talk."""

from collections.abc import Callable

import httpx

from ztoapi.dialects.translate import Translation
from ztoapi.dialects.zread_request import JSONCall
from ztoapi.relay.control import control_call
from ztoapi.relay.retry_after import retry_after

__all__ = ["prepare"]


async def prepare(
    client: httpx.AsyncClient,
    clock: Callable[[], float],
    base: str,
    translation: Translation,
    headers: dict[str, str],
) -> tuple[str, bytes]:
    """Returns the path and the body of the chat request, after the calls of the translation's preparation.

    ``base`` is the platform's base URL, ``clock`` returns Unix seconds, and ``headers`` contain the credential. Raises
    UpstreamError, or ApiError if the request is at fault.
    """

    async def send(call: JSONCall) -> bytes:
        fields = {**headers, "content-type": "application/json"}
        response = await control_call(client, call.method, base + call.path, fields, call.body)
        if not response.is_success:
            raise translation.refusal(response.status, response.body, retry_after(response.headers, clock()))
        return response.body

    preparation = translation.prepare()
    try:
        call = next(preparation)
        while True:
            call = preparation.send(await send(call))
    except StopIteration as end:
        path, body = end.value
        return path, body
