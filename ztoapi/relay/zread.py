"""The steps that a zread.ai question takes before its answer streams: repository, wiki page, talk."""

import httpx

from ztoapi.dialects import zread, zread_request
from ztoapi.dialects.request import ChatRequest
from ztoapi.dialects.zread_request import Call, Target
from ztoapi.errors import Ending, UpstreamError
from ztoapi.relay.platforms import Upstream

__all__ = ["prepare"]


async def prepare(
    client: httpx.AsyncClient, upstream: Upstream, request: ChatRequest, target: Target
) -> tuple[str, bytes]:
    """Path and body of the message call that asks the question. Raises ApiError."""
    query = zread_request.query(request.fields)
    headers = upstream.headers()
    base = upstream.platform.base_url

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
            ) from error
        except httpx.TransportError as error:
            raise UpstreamError(f"zread.ai cannot be reached: {error}", code="upstream_unreachable") from error
        if response.status_code != 200:
            wait = response.headers.get("retry-after", "")
            raise zread.refusal(
                response.status_code,
                response.headers.get("content-type", "").encode("latin-1"),
                response.content,
                float(wait) if wait.isdigit() else None,
            )
        return response.content

    repository = zread_request.repository_of(await answer(zread_request.repository_call(target)))
    page = zread_request.page_of(await answer(zread_request.wiki_call(repository)))
    talk = zread_request.talk_of(await answer(zread_request.talk_call()))
    message = zread_request.message_call(talk, repository, page, query, target.model)
    return message.path, message.body
