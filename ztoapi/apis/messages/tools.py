"""Tools of a Messages request as tools of a chat request.

A deferred tool is sent once a ``tool_reference`` in the conversation names it: until then the model knows only a tool
that searches. Deferred tools come last, in the order of their references, so that the prompt's head stays the same.
Tools that Anthropic's servers execute have a versioned type and no schema; no upstream can run them.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from ztoapi.dialects.chunks import ABSENT
from ztoapi.dialects.field_errors import missing
from ztoapi.errors import ApiError

__all__ = ["ToolDefinition", "Tools"]

_WEB_SEARCH: Final = "web_search_"
_TOOL_SEARCH: Final = "tool_search_"
"""Tools that find deferred tools on Anthropic's side, where all deferred tools are therefore sent."""
_NULL: Final = msgspec.Raw(b"null")
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


class ToolDefinition(msgspec.Struct):
    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = ABSENT
    defer_loading: bool | None = None
    allowed_domains: list[str] | None = None

    @property
    def is_function(self) -> bool:
        return self.has_schema or self.type in (None, "custom")

    @property
    def has_schema(self) -> bool:
        return self.input_schema not in (ABSENT, _NULL)


class ToolChoice(msgspec.Struct):
    type: str = ""
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Tools:
    """The tools of one request. ``web_search`` is whether Z.ai's web search stands for Anthropic's."""

    def __init__(self, definitions: list[ToolDefinition], *, web_search: bool) -> None:
        self._definitions = definitions
        self._web_search = web_search
        self.dropped: list[str] = []
        for at, tool in enumerate(definitions):
            if not tool.name:
                raise missing(f"tools.{at}.name", "name the tool")
            if tool.is_function and not tool.has_schema:
                raise missing(f"tools.{at}.input_schema", "send the JSON Schema of the tool's input")

    def reference(self, name: str) -> str:
        """Returns a deferred tool as text, for the model that searched for it."""
        for tool in self._definitions:
            if tool.name == name and tool.has_schema:
                lines = [f"Tool: {name}", tool.description or "", f"Input schema: {_text(tool.input_schema)}"]
                return "\n".join(filter(None, lines))
        return f"Tool: {name}"

    def fields(self, choice: ToolChoice | None, referenced: Iterable[str]) -> dict[str, object]:
        """Returns ``tools``, ``tool_choice`` and ``parallel_tool_calls`` of the chat request."""
        sent = self._sent(referenced)
        fields: dict[str, object] = {}
        if choice is not None:
            chosen = self._choice(choice, sent)
            if sent:
                fields["tool_choice"] = chosen
                if choice.disable_parallel_tool_use:
                    fields["parallel_tool_calls"] = False
        if sent:
            fields["tools"] = [_search(tool) if not tool.is_function else _function(tool) for tool in sent]
        return fields

    def _sent(self, referenced: Iterable[str]) -> list[ToolDefinition]:
        sent: list[ToolDefinition] = []
        deferred: dict[str, ToolDefinition] = {}
        searched = any((tool.type or "").startswith(_TOOL_SEARCH) for tool in self._definitions)
        for tool in self._definitions:
            if tool.is_function and tool.defer_loading and not searched:
                deferred.setdefault(tool.name, tool)
            elif tool.is_function or (self._web_search and (tool.type or "").startswith(_WEB_SEARCH)):
                sent.append(tool)
            else:
                self.dropped.append(f"tool {tool.name}: {tool.type} is executed by Anthropic's servers only")
        return sent + [deferred[name] for name in dict.fromkeys(referenced) if name in deferred]

    def _choice(self, choice: ToolChoice, sent: list[ToolDefinition]) -> object:
        if choice.type in _CHOICES:
            return _CHOICES[choice.type]
        if choice.type != "tool":
            raise ApiError(
                f"tool_choice.type: {choice.type!r} is not supported; use auto, any, tool or none",
                code="invalid_value",
                param="tool_choice.type",
            )
        for tool in sent:
            if tool.name == choice.name:
                if not tool.is_function:
                    return {"type": "web_search"}
                return {"type": "function", "function": {"name": tool.name}}
        reason = next((reason for reason in self.dropped if reason.startswith(f"tool {choice.name}:")), None)
        reason = reason or f"{choice.name!r} is not among tools"
        raise ApiError(f"tool_choice.name: {reason}", code="invalid_value", param="tool_choice.name")


def _function(tool: ToolDefinition) -> dict[str, object]:
    function: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.input_schema
    return {"type": "function", "function": function}


def _search(tool: ToolDefinition) -> dict[str, object]:
    """Z.ai's web search: https://docs.z.ai/guides/tools/web-search."""
    search: dict[str, object] = {"enable": True, "search_result": True}
    if tool.allowed_domains:
        search["search_domain_filter"] = tool.allowed_domains[0]
    return {"type": "web_search", "web_search": search}


def _text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode()
