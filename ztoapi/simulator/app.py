"""The simulator: routes of each dialect, authentication, and counting."""

import asyncio
import hmac
import re
from typing import Final

import msgspec

from ztoapi.config.catalogue import Catalogue, zai_models
from ztoapi.errors import ApiError
from ztoapi.server.context import ServerContext, admit_all
from ztoapi.server.exchange import Exchange
from ztoapi.simulator import zread
from ztoapi.simulator.chat import decoded
from ztoapi.simulator.embeddings import EmbeddingsEndpoint
from ztoapi.simulator.faults import SimulatedCall, SimulatedDialect, apply_fault, refuse
from ztoapi.simulator.native import MessagesEndpoint, ResponsesEndpoint
from ztoapi.simulator.official import CREATED, Official
from ztoapi.simulator.plain import Plain
from ztoapi.simulator.plan import Options, read_plan
from ztoapi.simulator.stats import Connections, SimulatorStats
from ztoapi.simulator.web import WebChat, web_models

__all__ = ["Options", "Simulator"]

_OFFICIAL: Final = Official()
_PLAIN: Final = Plain()
_WEB: Final = WebChat()
_ZREAD: Final = zread.Zread()
_CHATS: Final[dict[str, SimulatedDialect]] = {
    "/api/paas/v4/chat/completions": _OFFICIAL,
    "/api/coding/paas/v4/chat/completions": _OFFICIAL,
    "/v1/chat/completions": _PLAIN,
    "/api/chat/completions": _WEB,
    "/api/v2/chat/completions": _WEB,
}
_MODEL_LISTS: Final = frozenset(("/api/paas/v4/models", "/api/coding/paas/v4/models", "/v1/models", "/api/models"))
_ZREAD_TALK: Final = zread.PREFIX + "/talk"
_ZREAD_MESSAGE: Final = re.compile(re.escape(_ZREAD_TALK) + "/[^/]+/message")
_ZREAD_PAGE: Final = re.compile(re.escape(zread.PREFIX) + "/(repo/github/[^/]+/[^/]+|wiki/[^/]+)")

_encode = msgspec.json.Encoder().encode


class _NamedModel(msgspec.Struct):
    model: str = ""


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_named = msgspec.json.Decoder(_NamedModel).decode


class Simulator:
    """The simulator of one worker. ``context`` is for the server; ``/sim/stats`` shows ``stats``."""

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop, stats: SimulatorStats | None = None) -> None:
        self.options = options
        self._models = tuple(zai_models())
        zai = Catalogue({}).capabilities("zai")
        self._dialects = {
            **_CHATS,
            "/api/anthropic/v1/messages": MessagesEndpoint(_OFFICIAL, zai),
            "/api/v1/responses": ResponsesEndpoint(_OFFICIAL, zai),
            "/api/paas/v4/embeddings": EmbeddingsEndpoint(_OFFICIAL),
            "/v1/embeddings": EmbeddingsEndpoint(_PLAIN),
            "/v1/messages": MessagesEndpoint(_PLAIN, None),
            "/v1/responses": ResponsesEndpoint(_PLAIN, None),
        }
        self.stats = stats or SimulatorStats()
        self.context = ServerContext(loop, admit_all(self.dispatch))
        self.context.connections = Connections(self.stats)

    async def start(self) -> None:
        """Does nothing; required by the server."""

    async def close(self) -> None:
        """Does nothing; required by the server."""

    def dispatch(self, exchange: Exchange) -> None:
        """Responds to one request."""
        path = exchange.request.path.rstrip("/")
        if path == "/sim/stats":
            _allow(exchange, "GET")
            exchange.respond(200, _encode(self.stats.figures()))
        elif path == "/sim/reset":
            _allow(exchange, "POST")
            self.stats.reset()
            exchange.respond(200, b"{}")
        elif (dialect := self._dialect(path)) is None:
            raise ApiError("no such path", status=404, code="not_found")
        elif self._admit(exchange, dialect):
            self._respond(exchange, dialect, path)

    def _dialect(self, path: str) -> SimulatedDialect | None:
        """Returns the dialect of ``path``."""
        if path in _MODEL_LISTS:
            return _CHATS[path.removesuffix("models") + "chat/completions"]
        if path == _ZREAD_TALK or _ZREAD_MESSAGE.fullmatch(path) or _ZREAD_PAGE.fullmatch(path):
            return _ZREAD
        return self._dialects.get(path)

    def _admit(self, exchange: Exchange, dialect: SimulatedDialect) -> bool:
        key = self.options.api_key
        header = exchange.request.headers.get(b"authorization", b"")
        if key is None or hmac.compare_digest(header, b"Bearer " + key.encode("utf-8")):
            return True
        refuse(exchange, dialect, "1001" if dialect is _OFFICIAL and not header else "1000")
        return False

    def _respond(self, exchange: Exchange, dialect: SimulatedDialect, path: str) -> None:
        if path in _MODEL_LISTS or _ZREAD_PAGE.fullmatch(path):
            _allow(exchange, "GET")
            if not zread.respond_to_get(exchange, path):
                exchange.respond(200, web_models() if dialect is _WEB else _models(dialect, self._models))
            return
        _allow(exchange, "POST")
        if path == _ZREAD_TALK:
            zread.open_talk(exchange)
        else:
            self._chat(exchange, dialect)

    def _chat(self, exchange: Exchange, dialect: SimulatedDialect) -> None:
        try:
            model = decoded(_decode_named, exchange.request_body).model
        except msgspec.DecodeError as error:
            self.stats.begin(exchange, "", decodable=_is_json(exchange.request_body))
            refuse(exchange, dialect, "1210", str(error))
            return
        model += _token_settings(exchange)
        visit = self.stats.begin(exchange, model)
        name, plan = read_plan(model, self.options)
        if plan.fault_times and visit.times > plan.fault_times:
            plan.fault = ""
        if (field := _refused_field(exchange, plan.refuse)) is not None:
            refuse(exchange, dialect, "1210", f"API parameter error: {field}")
            return
        call = SimulatedCall(exchange, name, plan, visit.number)
        if not apply_fault(call, dialect):
            dialect.respond(call)


def _token_settings(exchange: Exchange) -> str:
    """Returns the settings in the token, in the form of those in a model name; they take precedence."""
    token = exchange.request.headers.get(b"authorization", b"").removeprefix(b"Bearer ").decode("latin-1")
    _, colon, settings = token.partition(":")
    return colon + settings


def _refused_field(exchange: Exchange, refused: str) -> str | None:
    """Returns the first field of the request that is to be refused."""
    if not refused:
        return None
    fields = decoded(_decode_fields, exchange.request_body)
    return next((name for name in refused.split("+") if name in fields), None)


def _is_json(data: bytes | bytearray) -> bool:
    """Returns whether a body is JSON. The first decoding error may be anywhere, so the whole body is decoded."""
    try:
        decoded(msgspec.json.decode, data)
    except msgspec.DecodeError:
        return False
    return True


def _allow(exchange: Exchange, method: str) -> None:
    requested = exchange.request.method
    if requested != method and (requested, method) != ("HEAD", "GET"):
        raise ApiError(f"{requested} is not allowed, use {method}", status=405, code="method_not_allowed")


def _models(dialect: SimulatedDialect, names: tuple[str, ...]) -> bytes:
    owner = "z-ai" if dialect is _OFFICIAL else "simulator"
    models = [{"id": name, "object": "model", "created": CREATED, "owned_by": owner} for name in names]
    return _encode({"object": "list", "data": models})
