"""Tool calls as chat.z.ai gives them, sometimes, and as OpenAI's deltas want them."""

import msgspec

from ztoapi.dialects.web_errors import value_text
from ztoapi.errors import UpstreamError

__all__ = ["ToolCalls"]


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: msgspec.Raw = msgspec.Raw()


class _Call(msgspec.Struct):
    index: object = None
    id: object = None
    function: _Function | None = None


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


_decode = msgspec.json.Decoder(list[_Call]).decode
_encode = msgspec.json.Encoder().encode


class ToolCalls:
    """Numbers the calls of one answer; ``any`` says that there were some."""

    __slots__ = ("_indexes", "any")

    def __init__(self) -> None:
        self._indexes: dict[str, int] = {}
        self.any = False

    def delta(self, raw: msgspec.Raw) -> bytes:
        """The encoded ``delta`` object for an array of calls."""
        try:
            calls = _decode(raw)
        except msgspec.DecodeError as error:
            raise UpstreamError(
                f"The upstream sent tool calls that cannot be read: {error}", code="upstream_malformed"
            ) from error
        self.any = True
        return _encode(_Delta([self._call(call, at) for at, call in enumerate(calls)]))

    def _call(self, call: _Call, at: int) -> _CallDelta:
        function = call.function or _Function()
        call_id = None if call.id in (None, "") else str(call.id)
        return _CallDelta(
            self._index(call.index, call_id, at),
            _FunctionDelta(function.name, _arguments(function.arguments)),
            call_id,
            "function" if call_id else None,
        )

    def _index(self, index: object, call_id: str | None, at: int) -> int:
        """The call's own number, or the one its id has had, or its place."""
        if isinstance(index, int | float):
            return int(index)
        if call_id is None:
            return at
        return self._indexes.setdefault(call_id, len(self._indexes))


def _arguments(raw: msgspec.Raw) -> str | None:
    """OpenAI's arguments are a string that holds JSON; an object is put into one."""
    text = bytes(raw)
    if not text or text == b"null":
        return None
    return value_text(raw) if text.startswith(b'"') else text.decode()
