"""Tool calls of chat.z.ai as OpenAI's deltas."""

import msgspec

from ztoapi.dialects.chunks import FunctionDelta, ToolCallDelta, ToolCallIndexes
from ztoapi.dialects.lenient import decode_part
from ztoapi.dialects.web_errors import value_text

__all__ = ["ToolCalls"]


class _WebFunction(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _WebCall(msgspec.Struct):
    index: object = None
    id: object = None
    function: _WebFunction | None = None


class _FunctionDelta(msgspec.Struct, omit_defaults=True):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(msgspec.Struct, omit_defaults=True):
    index: int
    function: _FunctionDelta
    id: str | None = None
    type: str | None = None


class _Delta(msgspec.Struct):
    tool_calls: list[_CallDelta]


_decode = msgspec.json.Decoder(list[_WebCall]).decode
_encode = msgspec.json.Encoder().encode


class ToolCalls:
    """The tool calls of one response; ``any`` is True once there is one."""

    __slots__ = ("_indexes", "any")

    def __init__(self) -> None:
        self._indexes = ToolCallIndexes()
        self.any = False

    def delta(self, raw: msgspec.Raw) -> bytes:
        """Returns the encoded ``delta`` object for an array of calls. Raises UpstreamError."""
        calls = decode_part(_decode, bytes(raw), "tool calls")
        self.any = True
        return _encode(_Delta([self._call(call, position) for position, call in enumerate(calls)]))

    def _call(self, call: _WebCall, position: int) -> _CallDelta:
        function = call.function or _WebFunction()
        arguments = _arguments(function.arguments)
        part = ToolCallDelta(call.index, call.id, None, FunctionDelta(function.name, arguments))
        return _CallDelta(
            self._indexes.find(part, position),
            _FunctionDelta(function.name, arguments),
            part.call_id or None,
            "function" if part.call_id else None,
        )


def _arguments(raw: msgspec.Raw) -> str | None:
    """Returns the arguments as OpenAI's string of JSON text; chat.z.ai may send an object instead."""
    text = bytes(raw)
    if not text or text == b"null":
        return None
    return value_text(raw) if text.startswith(b'"') else text.decode()
