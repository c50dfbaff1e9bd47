"""Which requests may be answered from the cache: what the client says, and whether the answer is bound to be the same.

An answer is taken for repeatable where the request leaves nothing to chance: temperature 0, ``do_sample`` false (GLM's
own way to say it), or a seed, by which a client asks for just that. A tool that the upstream uses by itself, such as a
web search, makes an answer depend on the moment; functions are called by the client, and their calls are an answer like
any other.
"""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from ztoapi.dialects.request import ChatRequest

__all__ = ["REQUEST_HEADER", "Use", "use_of"]

REQUEST_HEADER: Final = b"x-ztoapi-cache"
"""With the value ``on`` the client takes an answer again that need not be the same."""
_NO_CACHE: Final = frozenset((b"no-cache", b"max-age=0"))


class Use(enum.Enum):
    """How a request may use the cache."""

    NONE = enum.auto()
    FRESH = enum.auto()
    """It wants an answer of its own, which others may be given afterwards."""
    FULL = enum.auto()


class _Tool(msgspec.Struct):
    type: str = "function"


_tools = msgspec.json.Decoder(list[_Tool] | None).decode


def use_of(request: ChatRequest, headers: Mapping[bytes, bytes], *, repeatable: bool) -> Use:
    """``repeatable`` says whether the upstream gives the same answer again when nothing is left to chance."""
    control = headers.get(b"cache-control")
    asked = () if control is None else {one.strip() for one in control.lower().split(b",")}
    if b"no-store" in asked:
        return Use.NONE
    if headers.get(REQUEST_HEADER, b"").lower() != b"on" and not (repeatable and _leaves_nothing_to_chance(request)):
        return Use.NONE
    return Use.FULL if _NO_CACHE.isdisjoint(asked) else Use.FRESH


def _leaves_nothing_to_chance(request: ChatRequest) -> bool:
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
