"""The four calls of a zread.ai question, and the readers of their JSON answers.

zread answers questions about one GitHub repository from its generated wiki. A question takes four steps: the
repository's ids, a page of its wiki, a talk, a message in it; the message's answer is the stream (``zread.py``).
Paths are relative to ``https://zread.ai/api/v1``. Answers are ``{"code": 0, "msg": "", "data": {...}}``.
"""

import re
from collections.abc import Generator, Mapping
from typing import TypeVar

import msgspec

from ztoapi.dialects.reports import Report, presentable
from ztoapi.dialects.web_errors import status_error, value_text
from ztoapi.errors import ApiError, UpstreamError, malformed
from ztoapi.wire.sse import BYTE_ORDER_MARK

__all__ = [
    "UPSTREAM",
    "JSONCall",
    "Repository",
    "Target",
    "calls",
    "choose",
    "message_call",
    "page_of",
    "query",
    "repository_call",
    "repository_of",
    "talk_call",
    "talk_of",
    "wiki_call",
]

UPSTREAM = "zread.ai"

# GitHub's rule for an account: letters, digits, single inner hyphens, 39 at most; an enterprise-managed account ends
# in "_" and a short code. For a repository: 100 letters, digits, ".", "-", "_", and neither "." nor "..".
_OWNER = re.compile(r"(?=.{1,39}\Z)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*(?:_[A-Za-z0-9]+)?", re.ASCII)
_NAME = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,100}", re.ASCII)
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_NULL = b"null"

_encode = msgspec.json.Encoder().encode


class JSONCall(msgspec.Struct, frozen=True):
    """An HTTP request; ``path`` begins at the platform's base URL, and ``body`` is JSON or empty."""

    method: str
    path: str
    body: bytes = b""


class Target(msgspec.Struct, frozen=True):
    """What a request is about: the upstream's model and a GitHub repository."""

    model: str
    owner: str
    name: str


class Repository(msgspec.Struct, frozen=True):
    """zread's ids of a repository."""

    repo_id: str
    wiki_id: str


def choose(fields: Mapping[str, msgspec.Raw], model: str, default: str | None) -> Target:
    """Which repository is asked: the one in the request, else the model's ``@owner/name``, else the configured one."""
    model, _, suffix = model.partition("@")
    for field in ("repository", "repo"):
        if field in fields and bytes(fields[field]) != _NULL:
            return _target(model, value_text(fields[field]), field)
    if suffix:
        return _target(model, suffix, "model")
    if default:
        return _target(model, default, "repository")
    raise ApiError(
        "zread answers questions about a GitHub repository: name one in 'repository' (\"owner/name\"), or in the model "
        'as "model@owner/name".',
        code="missing_repository",
        param="repository",
    )


def _target(model: str, text: str, param: str) -> Target:
    owner, _, name = text.partition("/")
    if not _OWNER.fullmatch(owner) or not _NAME.fullmatch(name):
        raise ApiError(
            f"'{param}' must name a GitHub repository as \"owner/name\".", code="invalid_repository", param=param
        )
    return Target(model, owner, name)


def repository_call(target: Target) -> JSONCall:
    return JSONCall("GET", f"/repo/github/{target.owner}/{target.name}")


def wiki_call(repository: Repository) -> JSONCall:
    return JSONCall("GET", f"/wiki/{repository.wiki_id}")


def talk_call() -> JSONCall:
    return JSONCall("POST", "/talk", b'{"query":" "}')


def message_call(talk_id: str, repository: Repository, page_id: str, query: str, model: str) -> JSONCall:
    """The call that is answered by the stream; a talk of its own, so no parent message."""
    body = {
        "parent_message_id": "",
        "query": query,
        "context": {
            "wiki": {"wiki_id": repository.wiki_id, "page_id": page_id},
            "repo": {"repo_id": repository.repo_id},
        },
        "model": model,
    }
    return JSONCall("POST", f"/talk/{talk_id}/message", _encode(body))


def calls(query: str, target: Target) -> Generator[JSONCall, bytes, tuple[str, bytes]]:
    """The calls before a question: receives the body of each response, and returns the path and body of the message
    call. The stream is the response to that call."""
    repository = repository_of((yield repository_call(target)))
    page_id = page_of((yield wiki_call(repository)))
    talk_id = talk_of((yield talk_call()))
    message = message_call(talk_id, repository, page_id, query, target.model)
    return message.path, message.body


class _Envelope(msgspec.Struct):
    code: int | str = 0
    msg: str | None = None
    data: msgspec.Raw = msgspec.Raw(_NULL)


class _RepositoryData(msgspec.Struct):
    repo_id: str | int | None = None
    wiki_id: str | int | None = None


class _Page(msgspec.Struct):
    page_id: str | int


class _WikiData(msgspec.Struct):
    pages: list[_Page] | None = None


class _TalkData(msgspec.Struct):
    talk_id: str | int


_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_Answer = TypeVar("_Answer")


def repository_of(body: bytes) -> Repository:
    """Read the repository's answer. A repository without a wiki is the client's matter, not a failure."""
    envelope = _envelope(body)
    words = (envelope.msg or "").lower()
    if envelope.code not in (0, "0") and ("index" in words or "not found" in words or "not exist" in words):
        raise _not_indexed()
    data = _data(envelope, _RepositoryData)
    if not data.repo_id or not data.wiki_id:
        raise _not_indexed()
    return Repository(_id(data.repo_id), _id(data.wiki_id))


def page_of(body: bytes) -> str:
    """Read the wiki's answer: its first page, which introduces the repository."""
    data = _data(_envelope(body), _WikiData)
    if not data.pages:
        raise _not_indexed()
    return _id(data.pages[0].page_id)


def talk_of(body: bytes) -> str:
    """Read the talk's answer: its id."""
    return _id(_data(_envelope(body), _TalkData).talk_id)


def _envelope(body: bytes) -> _Envelope:
    try:
        return _decode_envelope(body.removeprefix(BYTE_ORDER_MARK))
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(error) from error


def _data(envelope: _Envelope, type: type[_Answer]) -> _Answer:
    if envelope.code not in (0, "0"):
        raise status_error(UPSTREAM, Report((str(envelope.code),), presentable(envelope.msg or "")), 200)
    try:
        return msgspec.json.decode(b"{}" if bytes(envelope.data) == _NULL else envelope.data, type=type)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _unreadable(error) from error


def _id(value: str | int) -> str:
    """An id that goes into a path: whatever the upstream says, it stays one segment."""
    text = str(value)
    if not _ID.fullmatch(text):
        raise malformed("an id")
    return text


def _unreadable(error: Exception) -> UpstreamError:
    return malformed("a response", error)


def _not_indexed() -> ApiError:
    return ApiError(
        "zread.ai has not indexed this repository yet: open its page on https://zread.ai once and wait for its wiki.",
        status=404,
        code="repository_not_indexed",
        param="repository",
    )


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None


_decode_messages = msgspec.json.Decoder(list[_Message]).decode
_SPEAKERS = {"user": "User", "assistant": "Assistant", "tool": "Tool", "function": "Tool"}


def query(fields: Mapping[str, msgspec.Raw]) -> str:
    """The one question that goes up: instructions, then the turns so far, then the last question of the user.

    zread keeps a conversation by its own message ids, which a client that sends its whole history does not have.
    """
    messages = _messages(fields)
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    if last < 0:
        raise ApiError("There is no user message to ask.", code="no_user_message", param="messages")
    instructions: list[str] = []
    turns: list[str] = []
    for at, message in enumerate(messages):
        text = _text(message)
        if message.role in {"system", "developer"}:
            instructions.append(text)
        elif at != last and text:
            turns.append(f"{_SPEAKERS.get(message.role, 'User')}: {text}")
    question = _text(messages[last])
    if turns:
        turns.insert(0, "Conversation so far:")
        question = f"Question: {question}"
    return "\n\n".join([*instructions, *turns, question])


def _messages(fields: Mapping[str, msgspec.Raw]) -> list[_Message]:
    try:
        return _decode_messages(fields.get("messages", b"[]"))
    except msgspec.DecodeError as error:
        raise ApiError(
            f"'messages' must be an array of messages: {error}", code="invalid_type", param="messages"
        ) from error


def _text(message: _Message) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    if any(part.type != "text" for part in message.content):
        raise ApiError("zread.ai takes text only.", code="unsupported_content", param="messages")
    return "".join(part.text for part in message.content)
