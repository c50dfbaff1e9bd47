"""Tools of a Messages request as tools of a chat request.

A deferred tool is sent once a ``tool_reference`` in the conversation names it: until then the model has only a tool
that searches. Deferred tools come last, in the order of their references, so that the prompt's head stays the same.
Tools that Anthropic's servers execute have a versioned type and no schema; no upstream can run them.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from ztoapi.dialects.chunks import ABSENT
from ztoapi.dialects.field_errors import excerpt, missing
from ztoapi.errors import ApiError

__all__ = ["ToolDefinition", "Tools"]

_WEB_SEARCH: Final = "web_search_"
_TOOL_SEARCH: Final = "tool_search_"
"""Tools that find deferred tools on Anthropic's side, where all deferred tools are therefore sent."""
_NULL: Final = msgspec.Raw(b"null")
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}


class ToolDefinition(msgspec.Struct, gc=False):
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


class ToolChoice(msgspec.Struct, gc=False):
    type: str = ""
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Tools:
    """The tools of one request. ``web_search`` is whether Z.ai's web search replaces Anthropic's."""

    def __init__(self, definitions: list[ToolDefinition], *, web_search: bool) -> None:
        self._definitions = definitions
        self._web_search = web_search
        self._undescribed: dict[str, ToolDefinition] = {}
        """Tools with a schema, by name, that no text has described yet."""
        self.dropped: list[str] = []
        for at, tool in enumerate(definitions):
            # Some of the tools that Anthropic's servers execute have no name.
            if not tool.name and (tool.is_function or tool.type == "function"):
                raise missing(f"tools.{at}.name", "name the tool")
            if tool.is_function and not tool.has_schema:
                raise missing(f"tools.{at}.input_schema", "send the JSON Schema of the tool's input")
            if tool.has_schema:
                self._undescribed.setdefault(tool.name, tool)

    def reference(self, name: str) -> str:
        """Returns a deferred tool as text, for the model that searched for it. Only the first reference has the
        description and the schema: a few bytes of a request could otherwise become many megabytes of the next one."""
        lines = [f"Tool: {name}"]
        tool = self._undescribed.pop(name, None)
        if tool is not None:
            if tool.description:
                lines.append(tool.description)
            lines.append(f"Input schema: {_text(tool.input_schema)}")
        return "\n".join(lines)

    def fields(self, choice: ToolChoice | None, referenced: Iterable[str]) -> dict[str, object]:
        """Returns ``tools``, ``tool_choice`` and ``parallel_tool_calls`` of the chat request."""
        sent = self._sent(referenced)
        fields: dict[str, object] = {}
        if choice is not None:
            selection = self._choice(choice, sent)
            if sent:
                fields["tool_choice"] = selection
                if choice.disable_parallel_tool_use:
                    fields["parallel_tool_calls"] = False
        if sent:
            fields["tools"] = [_search(tool) if not tool.is_function else _function(tool) for tool in sent]
        return fields

    def _sent(self, referenced: Iterable[str]) -> list[ToolDefinition]:
        sent: list[ToolDefinition] = []
        deferred: dict[str, ToolDefinition] = {}
        searched = any((tool.type or "").startswith(_TOOL_SEARCH) for tool in self._definitions)
        for at, tool in enumerate(self._definitions):
            if tool.is_function and tool.defer_loading and not searched:
                deferred.setdefault(tool.name, tool)
            elif tool.is_function or (self._web_search and (tool.type or "").startswith(_WEB_SEARCH)):
                sent.append(tool)
            else:
                self.dropped.append(f"tool {tool.name or at}: {tool.type} is executed by Anthropic's servers only")
        return sent + [deferred[name] for name in dict.fromkeys(referenced) if name in deferred]

    def _choice(self, choice: ToolChoice, sent: list[ToolDefinition]) -> object:
        if choice.type in _CHOICES:
            return _CHOICES[choice.type]
        if choice.type != "tool":
            raise ApiError(
                f"tool_choice.type: {excerpt(choice.type)} is not supported; use auto, any, tool or none",
                code="invalid_value",
                param="tool_choice.type",
            )
        for tool in sent:
            if tool.name == choice.name:
                if not tool.is_function:
                    return {"type": "web_search"}
                return {"type": "function", "function": {"name": tool.name}}
        reason = next((reason for reason in self.dropped if reason.startswith(f"tool {choice.name}:")), None)
        if reason is None and any(tool.name == choice.name for tool in self._definitions):
            reason = f"{excerpt(choice.name)} has defer_loading, and no tool_reference in messages names it yet"
        reason = reason or f"{excerpt(choice.name)} is not among tools"
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
