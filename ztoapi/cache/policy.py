"""The requests that may use the cache: those with the client's consent, or with a repeatable response.

A response counts as repeatable if the request has no randomness: temperature 0, ``do_sample`` false (GLM's own option),
or a seed. A tool that the upstream runs itself, such as a web search, makes a response depend on the moment. Functions
are called by the client, and a function call is a response like any other.
"""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from ztoapi.dialects.request import ChatRequest

__all__ = ["REQUEST_HEADER", "Use", "use_of"]

REQUEST_HEADER: Final = b"x-ztoapi-cache"
"""With the value ``on`` the client accepts a stored response to a request that is not repeatable."""
_NO_CACHE: Final = frozenset((b"no-cache", b"max-age=0"))


class Use(enum.Enum):
    """How a request may use the cache."""

    NONE = enum.auto()
    FRESH = enum.auto()
    """The request needs a new response, which is then stored."""
    FULL = enum.auto()


class _RequestedTool(msgspec.Struct):
    type: str = "function"


_tools = msgspec.json.Decoder(list[_RequestedTool] | None).decode


def use_of(request: ChatRequest, headers: Mapping[bytes, bytes], *, repeatable: bool) -> Use:
    """Returns the use of a request. ``repeatable``: the upstream repeats its response to a request without
    randomness."""
    control = headers.get(b"cache-control")
    directives = () if control is None else {part.strip() for part in control.lower().split(b",")}
    if b"no-store" in directives:
        return Use.NONE
    if headers.get(REQUEST_HEADER, b"").lower() != b"on" and not (repeatable and _is_deterministic(request)):
        return Use.NONE
    return Use.FULL if _NO_CACHE.isdisjoint(directives) else Use.FRESH


def _is_deterministic(request: ChatRequest) -> bool:
    fields = request.fields
    tools = fields.get("tools")
    if "web_search_options" in fields or (tools is not None and not _are_functions(tools)):
        return False
    return (
        bytes(fields.get("do_sample", b"")) == b"false"
        or _is_zero(bytes(fields.get("temperature", b"")))
        or bytes(fields.get("seed", b"")).removeprefix(b"-").isdigit()
    )


def _is_zero(number: bytes) -> bool:
    return number.startswith((b"0", b"-0")) and not number.strip(b"-0.")


def _are_functions(tools: msgspec.Raw) -> bool:
    try:
        return all(tool.type == "function" for tool in _tools(tools) or ())
    except msgspec.DecodeError:
        return False
