"""A streaming pass-through with aiohttp on both sides: ``python aiohttp_proxy.py PORT UPSTREAM_PORT``."""

import sys
from collections.abc import AsyncIterator

import aiohttp
import uvloop
from aiohttp import web

HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}


async def relay(request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
    session, upstream = request.app["session"], request.app["upstream"]
    async with session.post(upstream + request.path, data=await request.read(), headers=headers) as upstream_response:
        kept = {name: value for name, value in upstream_response.headers.items() if name.lower() not in HOP_BY_HOP}
        if "chunked" not in upstream_response.headers.get("transfer-encoding", ""):
            return web.Response(status=upstream_response.status, headers=kept, body=await upstream_response.read())
        response = web.StreamResponse(status=upstream_response.status, headers=kept)
        await response.prepare(request)
        async for part in upstream_response.content.iter_any():
            await response.write(part)
        await response.write_eof()
        return response


async def session(app: web.Application) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=75)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as app["session"]:
        yield


if __name__ == "__main__":
    uvloop.install()
    app = web.Application(client_max_size=20 * 1024 * 1024)
    app["upstream"] = f"http://127.0.0.1:{sys.argv[2]}"
    app.cleanup_ctx.append(session)
    app.router.add_post("/v1/chat/completions", relay)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
