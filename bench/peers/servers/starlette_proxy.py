"""A streaming pass-through with Starlette on uvicorn and httpx: ``python starlette_proxy.py PORT UPSTREAM_PORT``."""

import contextlib
import sys
from collections.abc import AsyncIterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=512)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{sys.argv[2]}", limits=limits, timeout=60, trust_env=False
    ) as app.state.client:
        yield


async def relay(request: Request) -> Response:
    client = request.app.state.client
    headers = {name: value for name, value in request.headers.items() if name not in HOP_BY_HOP}
    question = client.build_request("POST", request.url.path, content=await request.body(), headers=headers)
    response = await client.send(question, stream=True)
    kept = {name: value for name, value in response.headers.items() if name not in HOP_BY_HOP}
    if "chunked" not in response.headers.get("transfer-encoding", ""):
        return Response(await response.aread(), response.status_code, kept)
    return StreamingResponse(
        response.aiter_raw(), response.status_code, kept, background=BackgroundTask(response.aclose)
    )


if __name__ == "__main__":
    app = Starlette(routes=[Route("/v1/chat/completions", relay, methods=["POST"])], lifespan=lifespan)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), loop="uvloop", http="httptools", log_level="error")
