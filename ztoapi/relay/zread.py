"""The steps that a zread.ai question takes before its answer streams: repository, wiki page, talk."""

from collections.abc import Callable

import httpx

from ztoapi.dialects import zread, zread_request
from ztoapi.dialects.zread_request import Target, ZreadCall
from ztoapi.errors import Ending, Fault, UpstreamError
from ztoapi.relay.retry_after import retry_after

__all__ = ["prepare"]


async def prepare(
    client: httpx.AsyncClient,
    clock: Callable[[], float],
    base: str,
    query: str,
    target: Target,
    headers: dict[str, str],
) -> tuple[str, bytes]:
    """Path and body of the message call that asks the question, with the credential in ``headers``, which owns the
    talk; ``base`` is the platform's base URL, ``clock`` returns Unix seconds. Raises UpstreamError."""

    async def answer(call: ZreadCall) -> bytes:
        try:
            response = await client.request(
                call.method,
                base + call.path,
                content=call.body,
                headers={**headers, "content-type": "application/json"},
            )
        except httpx.TimeoutException as error:
            raise UpstreamError(
                f"zread.ai did not answer in time: {error}",
                status=504,
                code="upstream_timeout",
                ending=Ending.UPSTREAM_TIMEOUT,
                fault=Fault.UPSTREAM,
            ) from error
        except httpx.TransportError as error:
            raise UpstreamError(
                f"zread.ai cannot be reached: {error}", code="upstream_unreachable", fault=Fault.UPSTREAM
            ) from error
        if not response.is_success:
            fields = {name.lower(): value for name, value in response.headers.raw}
            raise zread.refusal(response.status_code, response.content, retry_after(fields, clock()))
        return response.content

    repository = zread_request.repository_of(await answer(zread_request.repository_call(target)))
    page = zread_request.page_of(await answer(zread_request.wiki_call(repository)))
    talk = zread_request.talk_of(await answer(zread_request.talk_call()))
    message = zread_request.message_call(talk, repository, page, query, target.model)
    return message.path, message.body
