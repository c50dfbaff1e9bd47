"""Reads the codes and the message of an upstream's error, in the shapes that servers and relays use.

Shapes: OpenAI and Z.ai ``{"error": {"message", "type", "code", "param"}}``, the same without ``error``, an error that
is a string, FastAPI ``{"detail": text or [{"loc", "msg"}]}``, Gemini ``[{"error": {"code", "status", "message"}}]``,
Anthropic ``{"type": "error", "error": {"type", "message"}}``, NestJS ``{"message": [...], "statusCode"}``, RFC 9457
``{"title", "detail", "status"}``, any of these in ``data``, JSON within a message, plain text, HTML.
"""

import html
import json
import re
from typing import Final, NamedTuple, TypeAlias

from ztoapi.dialects.events import events

__all__ = ["Report", "presentable", "read_report"]

_MESSAGE_CHARACTERS: Final = 2000
"""Longest upstream message that is forwarded."""
_CODE_CHARACTERS: Final = 100
"""Longest upstream code or field name; known ones have fewer than 40 characters."""
_MAX_DEPTH: Final = 6
"""Levels of nested errors. The deepest known shape, the error of a relay as JSON in a message, has five."""
_MAX_ITEMS: Final = 8
"""Messages of one list. FastAPI sends one for each alternative of a union type, which can be dozens."""

_ERRORS: Final = ("error", "errors")
_TEXTS: Final = ("message", "detail", "details", "msg", "errordescription", "errormessage", "errormsg", "raw")
_VAGUE_TEXTS: Final = ("description", "title", "reason", "statusmessage")
"""Read only where there is no other text."""
_CODES: Final = ("code", "errorcode", "errcode", "status", "statuscode", "type", "errortype")
_PHRASES: Final = frozenset(
    ("bad request", "unprocessable entity", "internal server error", "not found", "forbidden", "unauthorized")
)
"""Values of ``error`` that repeat the status and are left out beside a message."""

_TITLE: Final = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_WHOLE_NUMBER: Final = re.compile(r"([+-]?\d+)\.0+")

_Json: TypeAlias = "dict[str, _Json] | list[_Json] | str | int | float | bool | None"


class Report(NamedTuple):
    """An upstream's error, untranslated.

    ``codes`` are the values of fields such as ``code``, ``status`` and ``type``, those of the innermost error first.
    ``text`` is the message, and ``param`` the field of the request that it concerns; a client may see both. ``page``
    is True if the body is HTML, with its title as the text."""

    codes: tuple[str, ...] = ()
    text: str = ""
    param: str | None = None
    page: bool = False


def read_report(body: bytes) -> Report:
    """Returns the report of the body of an error response, or of an error object."""
    text = body.decode("utf-8-sig", "replace").strip()
    if text.startswith("<") or "<html" in text[:1000].lower():
        # The page of a proxy or a firewall.
        title = _TITLE.search(text)
        words = presentable(html.unescape(title[1])) if title is not None else ""
        return Report((), "" if "<" in words else words, page=True)
    if text.startswith(("data:", "event:", ":")):
        # Some servers respond to a streamed request with an error as a stream.
        text = "\n".join(data.decode("utf-8", "replace") for _, data in events(f"{text}\n\n".encode()))
    reading = _Reading()
    value = _parse(text)
    if value is None:
        return Report((), presentable("" if text == "null" else text))
    reading.add(value, 0)
    texts = list(dict.fromkeys(filter(None, map(presentable, reading.texts))))
    # The fallback for an object of an unknown shape is its whole text.
    return Report(tuple(reading.codes), presentable("; ".join(texts) or text), reading.param)


def presentable(text: str) -> str:
    """Returns ``text`` as one line of bounded length without control characters. Every upstream text that a client may
    see passes through this function."""
    cut = text[: 4 * _MESSAGE_CHARACTERS]
    return " ".join("".join(character if character.isprintable() else " " for character in cut).split())[
        :_MESSAGE_CHARACTERS
    ]


def _parse(text: str) -> _Json:
    """Returns the JSON value; None if ``text`` is not JSON. The standard library's parser accepts lone surrogates,
    which some servers send because they cut a message between two code units."""
    try:
        value: _Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value


class _Reading:
    """The codes and texts collected from one error."""

    __slots__ = ("codes", "param", "texts")

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.texts: list[str] = []
        self.param: str | None = None

    def add(self, value: _Json, depth: int) -> None:
        """Reads ``value``: an error, or a list of errors."""
        if depth > _MAX_DEPTH:
            return
        if isinstance(value, str):
            self._add_text(value, depth)
        elif isinstance(value, list):
            for item in value[:_MAX_ITEMS]:
                self.add(item, depth + 1)
        elif isinstance(value, dict):
            fields = {name.lower().replace("_", "").replace("-", ""): item for name, item in value.items()}
            self._add_object(fields, depth)

    def _add_text(self, text: str, depth: int) -> None:
        if text.lstrip()[:1] in ("{", "["):
            # The message of a relay is often its own upstream's error as JSON.
            count = len(self.texts)
            self.add(_parse(text), depth + 1)
            if len(self.texts) > count:
                return
        self.texts.append(text)

    def _add_object(self, fields: dict[str, _Json], depth: int) -> None:
        first = len(self.texts)
        for name in _ERRORS:
            error = fields.get(name)
            if name == "errors" and isinstance(error, dict):
                # ASP.NET and Laravel: messages by field.
                error = [{"loc": [field], "msg": item} for field, item in error.items()]
            if isinstance(error, dict | list):
                self.add(error, depth + 1)
        for name in _TEXTS:
            self.add(fields.get(name), depth + 1)
        metadata = fields.get("metadata")
        if isinstance(metadata, dict):
            # OpenRouter: the error of the provider.
            self.add(metadata.get("raw"), depth + 1)
        if len(self.texts) == first and isinstance(fields.get("data"), dict):
            self.add(fields["data"], depth + 1)
        self.codes += filter(None, (_code(fields.get(name)) for name in _CODES))
        self._add_plain_error(fields, depth, beside=len(self.texts) > first)
        if len(self.texts) == first:
            for name in _VAGUE_TEXTS:
                self.add(fields.get(name), depth + 1)
        self._add_location(fields, first)

    def _add_plain_error(self, fields: dict[str, _Json], depth: int, *, beside: bool) -> None:
        """Reads an ``error`` that is a string: a message, or a code ``beside`` a message."""
        for name in _ERRORS:
            error = fields.get(name)
            if isinstance(error, str):
                if len(error) <= _CODE_CHARACTERS:
                    self.codes.append(_storable(error))
                if not beside or (" " in error and error.lower() not in _PHRASES):
                    self._add_text(error, depth)

    def _add_location(self, fields: dict[str, _Json], first: int) -> None:
        """Reads FastAPI's ``loc`` or OpenAI's ``param``: the field that the texts since ``first`` concern."""
        location = fields.get("loc")
        if isinstance(location, list):
            parts = [str(part) for part in location[:_MAX_DEPTH] if isinstance(part, str | int)]
            param = presentable(".".join(parts[1:] if parts[:1] == ["body"] else parts))[:_CODE_CHARACTERS]
            if param:
                self.texts[first:] = [f"{param}: {text}" for text in self.texts[first:]]
        else:
            name = fields.get("param")
            param = presentable(name)[:_CODE_CHARACTERS] if isinstance(name, str) else ""
        self.param = self.param or param or None


def _code(value: _Json) -> str:
    """Returns a code as text, ``""`` if it is none: 429, 429.0, "429" and "429.0" are equal."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = _storable(str(value))
    whole = _WHOLE_NUMBER.fullmatch(text)
    return whole[1] if whole is not None else text


def _storable(code: str) -> str:
    """Returns a code as it is recorded: short, and without lone surrogates."""
    return code.strip()[:_CODE_CHARACTERS].encode("utf-8", "replace").decode()
