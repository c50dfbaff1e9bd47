"""The four calls of a zread.ai question, and their JSON responses.

zread answers questions about one GitHub repository from its generated wiki. A question takes four calls: the ids of the
repository, a page of its wiki, a talk, and a message in the talk, whose response is the stream (``zread.py``). Paths
are relative to ``https://zread.ai/api/v1``. Responses are ``{"code": 0, "msg": "", "data": {...}}``.
"""

import re
from collections.abc import Generator, Mapping
from typing import TypeVar

import msgspec

from ztoapi.dialects.lenient import decode_part
from ztoapi.dialects.reports import Report, presentable
from ztoapi.dialects.request import decode_value
from ztoapi.dialects.web_errors import status_error, value_text
from ztoapi.errors import ApiError, malformed

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
    """The upstream's model and the GitHub repository of a request."""

    model: str
    owner: str
    name: str


class Repository(msgspec.Struct, frozen=True):
    """The ids of a repository."""

    repo_id: str
    wiki_id: str


def choose(fields: Mapping[str, msgspec.Raw], model: str, default: str | None) -> Target:
    """Returns the repository in the request, else the model's ``@owner/name``, else the configured one."""
    model, _, suffix = model.partition("@")
    for field in ("repository", "repo"):
        if field in fields and bytes(fields[field]) != _NULL:
            return _target(model, value_text(fields[field]), field)
    if suffix:
        return _target(model, suffix, "model")
    if default:
        return _target(model, default, "repository")
    raise ApiError(
        "repository is missing: zread answers questions about a GitHub repository; set repository to owner/name, or "
        "model to model@owner/name",
        code="missing_repository",
        param="repository",
    )


def _target(model: str, text: str, param: str) -> Target:
    owner, _, name = text.partition("/")
    if not _OWNER.fullmatch(owner) or not _NAME.fullmatch(name):
        raise ApiError(f"{param} must name a GitHub repository as owner/name", code="invalid_repository", param=param)
    return Target(model, owner, name)


def repository_call(target: Target) -> JSONCall:
    return JSONCall("GET", f"/repo/github/{target.owner}/{target.name}")


def wiki_call(repository: Repository) -> JSONCall:
    return JSONCall("GET", f"/wiki/{repository.wiki_id}")


def talk_call() -> JSONCall:
    return JSONCall("POST", "/talk", b'{"query":" "}')


def message_call(talk_id: str, repository: Repository, page_id: str, query: str, model: str) -> JSONCall:
    """Returns the call whose response is the stream. Its talk is new, so there is no parent message."""
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
_Data = TypeVar("_Data")


def repository_of(body: bytes) -> Repository:
    """Reads the response about the repository. A repository without a wiki is an error of the client."""
    envelope = _envelope(body)
    words = (envelope.msg or "").lower()
    if envelope.code not in (0, "0") and ("index" in words or "not found" in words or "not exist" in words):
        raise _not_indexed()
    data = _data(envelope, _RepositoryData)
    if not data.repo_id or not data.wiki_id:
        raise _not_indexed()
    return Repository(_id(data.repo_id), _id(data.wiki_id))


def page_of(body: bytes) -> str:
    """Returns the id of the wiki's first page, which introduces the repository."""
    data = _data(_envelope(body), _WikiData)
    if not data.pages:
        raise _not_indexed()
    return _id(data.pages[0].page_id)


def talk_of(body: bytes) -> str:
    """Returns the id of a new talk."""
    return _id(_data(_envelope(body), _TalkData).talk_id)


def _envelope(body: bytes) -> _Envelope:
    return decode_part(_decode_envelope, body, "a response")


def _data(envelope: _Envelope, type: type[_Data]) -> _Data:
    if envelope.code not in (0, "0"):
        raise status_error(UPSTREAM, Report((str(envelope.code),), presentable(envelope.msg or "")), 200)
    data = bytes(envelope.data)
    return decode_part(msgspec.json.Decoder(type).decode, b"{}" if data == _NULL else data, "a response")


def _id(value: str | int) -> str:
    """Returns an id for a path; it must be a single segment."""
    text = str(value)
    if not _ID.fullmatch(text):
        raise malformed("an id")
    return text


def _not_indexed() -> ApiError:
    return ApiError(
        "zread.ai has not indexed this repository: open its page on https://zread.ai and wait for its wiki",
        status=404,
        code="repository_not_indexed",
        param="repository",
    )


class _QuestionPart(msgspec.Struct):
    type: str
    text: str = ""


class _QuestionMessage(msgspec.Struct):
    role: str
    content: str | list[_QuestionPart] | None = None


_SPEAKERS = {"user": "User", "assistant": "Assistant", "tool": "Tool", "function": "Tool"}


def query(fields: Mapping[str, msgspec.Raw]) -> str:
    """Returns the question: the instructions, then the previous turns, then the user's last question.

    zread identifies the messages of a conversation by its own ids, which a client with the whole history does not have.
    """
    messages = _messages(fields)
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=-1)
    if last < 0:
        raise ApiError("messages must contain a message of the user", code="no_user_message", param="messages")
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


def _messages(fields: Mapping[str, msgspec.Raw]) -> list[_QuestionMessage]:
    return decode_value(fields, "messages", list[_QuestionMessage]) or []


def _text(message: _QuestionMessage) -> str:
    if not isinstance(message.content, list):
        return message.content or ""
    if any(part.type != "text" for part in message.content):
        raise ApiError("messages must contain only text for zread.ai", code="unsupported_content", param="messages")
    return "".join(part.text for part in message.content)
