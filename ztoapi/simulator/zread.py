"""zread.ai: repository, wiki, talk, and the message, which streams.

Responses are ``{"code": 0, "msg": "", "data": {...}}``; another code is an error. Every name denotes the same
repository, with one wiki and one talk; repositories of the owner ``missing`` are not indexed.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from ztoapi.server.exchange import Exchange
from ztoapi.simulator.chat import decoded
from ztoapi.simulator.codes import REFUSALS
from ztoapi.simulator.faults import SimulatedCall, refuse
from ztoapi.simulator.pacer import Pacer
from ztoapi.simulator.text import answer_words, reasoning_words

__all__ = ["PREFIX", "Zread", "open_talk", "respond_to_get"]

PREFIX: Final = "/api/v1"
_MISSING_OWNER: Final = "missing"
_REPOSITORY, _WIKI, _PAGE, _TALK = "repo-1", "wiki-1", "page-1", "talk-1"
_NOT_FOUND: Final = 40400
_BAD_REQUEST: Final = 40000

_encode = msgspec.json.Encoder().encode


class _Wiki(msgspec.Struct):
    wiki_id: str = _WIKI
    page_id: str = _PAGE


class _RepositoryContext(msgspec.Struct):
    repo_id: str = _REPOSITORY


class _Context(msgspec.Struct):
    wiki: _Wiki = msgspec.field(default_factory=_Wiki)
    repo: _RepositoryContext = msgspec.field(default_factory=_RepositoryContext)


class _TalkMessage(msgspec.Struct):
    query: str
    context: _Context = msgspec.field(default_factory=_Context)


_decode_message = msgspec.json.Decoder(_TalkMessage).decode


class Zread:
    """The message of a talk. The functions below serve the requests that precede it."""

    error_event = b'event:error\ndata:{"code":500,"msg":"Internal error"}\n\n'

    def error(self, code: str, message: str) -> tuple[int, bytes]:
        return REFUSALS[code].status, _envelope(int(code), message, None)

    def respond(self, call: SimulatedCall) -> None:
        exchange = call.exchange
        talk = exchange.request.path.rstrip("/").split("/")[-2]
        try:
            message = decoded(_decode_message, exchange.request_body)
        except msgspec.DecodeError as error:
            refuse(exchange, self, "1210", str(error))
            return
        if talk != _TALK or message.context != _Context():
            exchange.respond(200, _envelope(_NOT_FOUND, "no such talk, repository or page", None))
        elif not message.query.strip():
            exchange.respond(200, _envelope(_BAD_REQUEST, "query is empty", None))
        else:
            Pacer(exchange, call.plan, self, _events(call), _event("finish", {})).start()


def _events(call: SimulatedCall) -> Iterator[bytes]:
    plan = call.plan
    text = []
    for word in reasoning_words(plan, plan.thinking_tokens):
        yield _event("answer", {"id": "m1", "text": "", "reasoning_content": word})
    for word in answer_words(plan, plan.tokens, whole=True):
        text.append(word)
        yield _event("answer", {"id": "m1", "text": word, "reasoning_content": ""})
    yield _event("round_finish", {"id": "m1", "text": "".join(text)})


def _event(name: str, fields: dict[str, object]) -> bytes:
    # As on the real server, there is no space after the colons.
    return b"event:%b\ndata:%b\n\n" % (name.encode("ascii"), _encode(fields))


def _envelope(code: int, message: str, data: dict[str, object] | None) -> bytes:
    return _encode({"code": code, "msg": message, "data": data})


def respond_to_get(exchange: Exchange, path: str) -> bool:
    """Responds with a repository or a wiki. Returns False for any other path."""
    match path.removeprefix(PREFIX).strip("/").split("/"):
        case ["repo", "github", owner, _]:
            if owner == _MISSING_OWNER:
                exchange.respond(200, _envelope(_NOT_FOUND, "repo not indexed", None))
            else:
                exchange.respond(200, _envelope(0, "", {"repo_id": _REPOSITORY, "wiki_id": _WIKI}))
        case ["wiki", wiki]:
            pages: list[object] = [{"page_id": _PAGE, "slug": "1-overview"}]
            exists = wiki == _WIKI
            exchange.respond(
                200, _envelope(0, "", {"pages": pages}) if exists else _envelope(_NOT_FOUND, "no wiki", None)
            )
        case _:
            return False
    return True


def open_talk(exchange: Exchange) -> None:
    """Responds to ``POST /talk``."""
    exchange.respond(200, _envelope(0, "", {"talk_id": _TALK}))
