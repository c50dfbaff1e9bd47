"""Scripts: the tool calls and the answer that a prompt prescribes, turn by turn.

    [simulate: Read {"path": "a.py"} > Bash {"command": "ls"} + Bash {"command": "pwd"} > "Done: $result"]

A ``>`` separates turns and a ``+`` parallel calls; a string is the final answer, in which ``$result`` is the last tool
result. Without arguments a call gets those that fit the schema of its tool.
"""

import json
import re
from typing import Final, NamedTuple

from ztoapi.errors import ApiError

__all__ = ["MARKER", "Script", "ScriptedCall", "read_script"]

MARKER: Final = "[simulate:"
_NAME: Final = re.compile(r"[A-Za-z0-9_.:/-]+")
_BLANKS: Final = re.compile(r"\s*")

_decode_at = json.JSONDecoder().raw_decode


class ScriptedCall(NamedTuple):
    """One tool call; ``arguments`` is None if the schema of the tool decides them."""

    name: str
    arguments: dict[str, object] | None


class Script(NamedTuple):
    """The calls of each turn, and the final answer, None for the usual one."""

    turns: tuple[tuple[ScriptedCall, ...], ...]
    answer: str | None


def read_script(text: str) -> Script | None:
    """Reads the last script in ``text``; None if there is none. Raises ApiError if it is malformed."""
    start = text.rfind(MARKER)
    if start < 0:
        return None
    turns: list[tuple[ScriptedCall, ...]] = []
    calls: list[ScriptedCall] = []
    at = start + len(MARKER)
    while True:
        at = _skip(text, at)
        if text.startswith('"', at):
            answer, at = _json(text, at)
            if calls or text[_skip(text, at) :][:1] != "]":
                raise _malformed(text, at, "the answer must be the last turn")
            return Script(tuple(turns), str(answer))
        call, at = _call(text, at)
        calls.append(call)
        at = _skip(text, at) + 1
        separator = text[at - 1 : at]
        if separator in (">", "]"):
            turns.append(tuple(calls))
            calls = []
        elif separator != "+":
            raise _malformed(text, at - 1, "expected one of > + ]")
        if separator == "]":
            return Script(tuple(turns), None)


def _call(text: str, at: int) -> tuple[ScriptedCall, int]:
    name = _NAME.match(text, at)
    if name is None:
        raise _malformed(text, at, "expected the name of a tool, or a string")
    at = _skip(text, name.end())
    if not text.startswith("{", at):
        return ScriptedCall(name[0], None), at
    arguments, at = _json(text, at)
    assert isinstance(arguments, dict)
    return ScriptedCall(name[0], arguments), at


def _json(text: str, at: int) -> tuple[object, int]:
    try:
        return _decode_at(text, at)
    except ValueError as error:
        raise _malformed(text, at, str(error)) from error


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    assert blanks is not None
    return blanks.end()


def _malformed(text: str, at: int, reason: str) -> ApiError:
    return ApiError(
        f"malformed script of the simulator before {text[at : at + 20]!r}: {reason}",
        code="invalid_value",
        param="messages",
    )
