"""Applies OpenAI's ``tool_choice`` by removing tools, because Z.ai's API supports only ``auto``.

Shapes: https://platform.openai.com/docs/api-reference/chat/create#chat-create-tool_choice, and those of the Responses
API, in which names are one level higher.
"""

from typing import Final

import msgspec

from ztoapi.dialects.field_errors import excerpt
from ztoapi.dialects.request import decode_value
from ztoapi.errors import ApiError

__all__ = ["chosen_tools"]

Fields = dict[str, msgspec.Raw]
_MODES: Final = ("auto", "required", "none")
_REMEDY: Final = "use auto, none, required, a function, or allowed_tools"


def chosen_tools(fields: Fields, tools: list[Fields]) -> list[Fields] | None:
    """Returns the ``tools`` that the request's ``tool_choice`` allows; None if it allows all. Raises ApiError (400)."""
    choice = decode_value(fields, "tool_choice", object)
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if kind in _MODES:
        return [] if kind == "none" else None
    if not isinstance(choice, dict):
        raise _refused(f"tool_choice {excerpt(choice)} is not supported: {_REMEDY}")
    if kind == "allowed_tools":
        return _allowed(choice, tools)
    if kind not in ("function", None):
        raise _refused(f"tool_choice of the type {excerpt(kind)} is not supported: Z.ai calls functions only")
    return [_find(choice, tools)]


def _allowed(choice: dict[str, object], tools: list[Fields]) -> list[Fields]:
    nested = choice.get("allowed_tools")
    allowed = nested if isinstance(nested, dict) else choice
    mode, entries = allowed.get("mode", "auto"), allowed.get("tools")
    if mode not in ("auto", "required"):
        raise _refused(
            f"tool_choice allows tools in the mode {excerpt(mode)}, which is not supported: use auto or required"
        )
    if not isinstance(entries, list) or not entries:
        raise _refused("tool_choice allows no tool: name some, or use none")
    selection = [_find(entry, tools) for entry in entries]
    # In the order of the request, each once.
    return [tool for tool in tools if any(tool is allowed_tool for allowed_tool in selection)]


def _find(entry: object, tools: list[Fields]) -> Fields:
    """Returns the tool that an ``entry`` of a choice names."""
    kind = entry.get("type", "function") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(kind, str):
        raise _refused(f"tool_choice names a tool by {excerpt(entry)}, which is not supported: use its type and name")
    nested = entry.get(kind)
    name = (nested if isinstance(nested, dict) else entry).get("name")
    for tool in tools:
        if decode_value(tool, "type", object) not in (kind, None):
            continue
        own = decode_value(tool, kind, object)
        # Z.ai's own tools, such as web_search, have no name.
        if kind != "function" or (name is not None and isinstance(own, dict) and own.get("name") == name):
            return tool
    what = f"the function {excerpt(name)}" if kind == "function" else f"a tool of the type {excerpt(kind)}"
    raise _refused(f"tool_choice names {what}, which is not among tools")


def _refused(message: str) -> ApiError:
    return ApiError(message, code="invalid_value", param="tool_choice")
