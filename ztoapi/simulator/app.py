"""The simulator: which path speaks which dialect, and the faults that come before the first byte."""

import asyncio
import hmac
import json
from collections.abc import Callable
from typing import Any

import msgspec

from ztoapi.errors import ApiError
from ztoapi.server.context import ServerContext
from ztoapi.server.exchange import Exchange
from ztoapi.simulator import zread
from ztoapi.simulator.official import Official, error_body
from ztoapi.simulator.pacer import reset
from ztoapi.simulator.plan import Options, Plan, read_plan
from ztoapi.simulator.stats import Stats
from ztoapi.simulator.web import WebChat

__all__ = ["Options", "Simulator"]

_OFFICIAL = ("/api/paas/v4", "/api/coding/paas/v4")
_MODELS = ("glm-4.6", "glm-4.7", "glm-4.5-air", "glm-5")
_HTML = b"<!DOCTYPE html><html><head><title>405</title></head><body>blocked by the edge</body></html>"
Answer = Callable[[], None]


class Simulator:
    """One worker's simulator; ``context`` goes to the server, ``stats`` is what ``/sim/stats`` shows."""

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop) -> None:
        self.options = options
        self.stats = Stats()
        self.context = ServerContext(loop, self.dispatch)

    async def close(self) -> None:
        """Nothing is left open."""

    def dispatch(self, exchange: Exchange) -> None:
        """Answer one request."""
        request = exchange.request
        path = request.path.rstrip("/")
        if path == "/sim/stats":
            exchange.respond(200, _shown(self.stats))
        elif path == "/sim/reset":
            self.stats.reset()
            exchange.respond(200, b"{}")
        elif not self._authorised(request.headers.get(b"authorization", b"")):
            exchange.respond(401, error_body("1000", "Authentication Failed"))
        elif path.endswith("/models"):
            exchange.respond(200, _models(path))
        elif request.method == "GET" or path == zread.PREFIX + "/talk":
            if not zread.answer_step(exchange, path):
                raise ApiError("no such path", status=404, code="not_found")
        elif path.startswith(zread.PREFIX + "/talk/") and path.endswith("/message"):
            self._chat(exchange, lambda _body, _name, plan, _n: lambda: zread.answer_message(exchange, plan))
        elif path in ("/api/chat/completions", "/api/v2/chat/completions"):
            self._chat(exchange, lambda body, _name, plan, _n: WebChat(exchange, body, plan).answer)
        elif path == "/v1/chat/completions":
            self._chat(exchange, lambda body, name, plan, n: Official(exchange, body, name, plan, n, glm=False).answer)
        elif path in [base + "/chat/completions" for base in _OFFICIAL]:
            self._chat(exchange, lambda body, name, plan, n: Official(exchange, body, name, plan, n, glm=True).answer)
        else:
            raise ApiError("no such path", status=404, code="not_found")

    def _authorised(self, header: bytes) -> bool:
        key = self.options.api_key
        return key is None or hmac.compare_digest(header, b"Bearer " + key.encode("utf-8"))

    def _chat(self, exchange: Exchange, make: Callable[[dict[str, Any], str, Plan, int], Answer]) -> None:
        body: dict[str, Any] = json.loads(bytes(exchange.request.body))
        model = str(body.get("model", ""))
        name, plan = read_plan(model, self.options)
        times = self.stats.begin(exchange, model)
        if plan.fault_times and times > plan.fault_times:
            plan.fault = ""
        if not _befalls(exchange, plan):
            make(body, name, plan, self.stats.requests)()


def _befalls(exchange: Exchange, plan: Plan) -> bool:
    """The faults before the first byte; True if there is no answer to give any more."""
    fault = plan.fault
    if fault == "refuse":
        exchange.abort()
    elif fault == "reset":
        reset(exchange)
    elif fault == "hang":
        pass
    elif fault == "garbage":
        exchange.transport.write(b"\x00\x01 this is not HTTP\r\n\r\n")
        exchange.abort()
    elif fault == "bad_head":
        exchange.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
        exchange.abort()
    elif fault == "html":
        exchange.respond(405, _HTML, content_type=b"text/html")
    elif fault == "empty":
        exchange.start_stream()
        exchange.end()
    elif fault == "426":
        exchange.respond(426, b'{"detail":"client version outdated, please refresh"}')
    elif fault == "captcha":
        exchange.respond(403, b'{"detail":{"code":"FRONTEND_CAPTCHA_REQUIRED"}}')
    elif fault.isdigit():
        headers = b"retry-after: %d\r\n" % plan.retry_after if plan.retry_after else b""
        status = int(fault) if len(fault) == 3 else 400 if fault in ("1210", "1211") else 429
        exchange.respond(status, error_body(fault), headers=headers)
    else:
        return False
    return True


def _models(path: str) -> bytes:
    owner = "z-ai" if path.startswith("/api/") else "simulator"
    models = [{"id": name, "object": "model", "created": 1767225600, "owned_by": owner} for name in _MODELS]
    return json.dumps({"object": "list", "data": models}).encode()


def _shown(stats: Stats) -> bytes:
    return msgspec.json.encode(stats.shown())
