"""zread.ai: repository, wiki, talk, and the message that streams."""

import json
from collections.abc import Iterator
from typing import Final

from ztoapi.server.exchange import Exchange
from ztoapi.simulator.pacer import Pacer
from ztoapi.simulator.plan import Plan
from ztoapi.simulator.text import answer_words, reasoning_words

__all__ = ["PREFIX", "answer_message", "answer_step"]

PREFIX: Final = "/api/v1"
MISSING_OWNER: Final = "missing"
"""Repositories of this owner are not indexed."""


def answer_step(exchange: Exchange, path: str) -> bool:
    """Answer one of the steps before the message; False if ``path`` is none."""
    parts = path.removeprefix(PREFIX).strip("/").split("/")
    match parts:
        case ["repo", "github", owner, _]:
            if owner == MISSING_OWNER:
                _respond(exchange, 40400, "repo not indexed", {})
            else:
                _respond(exchange, 0, "", {"repo_id": "repo-1", "wiki_id": "wiki-1"})
        case ["wiki", _]:
            _respond(exchange, 0, "", {"pages": [{"page_id": "page-1", "slug": "1-overview"}]})
        case ["talk"]:
            _respond(exchange, 0, "", {"talk_id": "talk-1"})
        case _:
            return False
    return True


def answer_message(exchange: Exchange, plan: Plan) -> None:
    """Stream the answer to a question."""
    text: list[str] = []

    def events() -> Iterator[bytes]:
        for word in reasoning_words(plan):
            yield _event("answer", {"id": "m1", "text": "", "reasoning_content": word})
        for word in answer_words(plan, plan.tokens, json_object=False):
            text.append(word)
            yield _event("answer", {"id": "m1", "text": word, "reasoning_content": ""})
        yield _event("round_finish", {"id": "m1", "text": "".join(text)})

    Pacer(exchange, plan, events(), _event("finish", {})).start()


def _respond(exchange: Exchange, code: int, message: str, data: dict[str, object]) -> None:
    exchange.respond(200, json.dumps({"code": code, "msg": message, "data": data}).encode())


def _event(name: str, data: dict[str, object]) -> bytes:
    # No space after the colons: the real one has none either.
    return b"event:%b\ndata:%b\n\n" % (name.encode("ascii"), json.dumps(data, separators=(",", ":")).encode())
