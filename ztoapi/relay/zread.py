"""The steps that a zread.ai question takes before its answer streams: repository, wiki page, talk."""

import httpx

from ztoapi.dialects import zread, zread_request
from ztoapi.dialects.zread_request import Call, Target
from ztoapi.errors import Ending, Fault, UpstreamError

__all__ = ["prepare"]


async def prepare(
    client: httpx.AsyncClient, base: str, query: str, target: Target, headers: dict[str, str]
) -> tuple[str, bytes]:
    """Path and body of the message call that asks the question, with the credential in ``headers``, whose the talk
    is; ``base`` is the platform's base URL. Raises UpstreamError."""

    async def answer(call: Call) -> bytes:
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
        if response.status_code != 200:
            wait = response.headers.get("retry-after", "")
            raise zread.refusal(
                response.status_code,
                response.content,
                float(wait) if wait.isdigit() else None,
            )
        return response.content

    repository = zread_request.repository_of(await answer(zread_request.repository_call(target)))
    page = zread_request.page_of(await answer(zread_request.wiki_call(repository)))
    talk = zread_request.talk_of(await answer(zread_request.talk_call()))
    message = zread_request.message_call(talk, repository, page, query, target.model)
    return message.path, message.body
