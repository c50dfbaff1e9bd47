"""The tools of a Responses request as chat functions, and the names that map a call back to the client's tool.

A ``custom`` tool takes free text: it becomes a function with the string argument ``input``. The tools of a
``namespace`` become functions with a joined name. Tools that OpenAI executes itself have no equivalent and are left
out: agents such as Codex list them in every request, and work without them.
Format: https://platform.openai.com/docs/api-reference/responses/create#responses-create-tools
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from ztoapi.dialects.field_errors import excerpt, field_error, missing
from ztoapi.errors import ApiError

__all__ = ["CalledTool", "ToolNames", "choose_tools"]

ChatTool: TypeAlias = dict[str, object]

MAX_NAME_CHARACTERS: Final = 64
"""Longest function name that OpenAI's API accepts."""
_HASH_CHARACTERS: Final = 8
_FORBIDDEN: Final = re.compile(r"[^a-zA-Z0-9_-]")
_WEB_SEARCH: Final = re.compile(r"web_search(_preview)?(_\d{4}_\d\d_\d\d)?")
_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
_FREE_TEXT: Final = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string","description":"The text that the tool takes."}},'
    b'"required":["input"],"additionalProperties":false}'
)
_ZAI_WEB_SEARCH: Final = msgspec.Raw(b'{"enable":true,"search_engine":"search-prime","search_result":true}')
_NULL: Final = msgspec.Raw(b"null")


class CalledTool(msgspec.Struct, frozen=True, gc=False):
    """The client's names of a tool whose chat function has another name or another argument."""

    name: str
    namespace: str | None
    custom: bool


class _ToolType(msgspec.Struct, gc=False):
    type: object = "function"


class _InputFormat(msgspec.Struct, gc=False):
    type: str = "text"
    syntax: str = ""
    definition: str = ""


class _Tool(msgspec.Struct, gc=False):
    name: str = ""
    description: str | None = None
    parameters: msgspec.Raw = _NULL
    format: _InputFormat | None = None
    tools: list[msgspec.Raw] | None = None
    function: msgspec.Raw = _NULL
    """A tool in the shape of the chat API, which some clients send."""


_tool_type = msgspec.json.Decoder(_ToolType).decode
_tool = msgspec.json.Decoder(_Tool).decode


class ToolNames:
    """The chat ``functions`` of a request. ``called`` maps the names of functions to the client's tools, where they
    differ. ``searches``: the upstream's own web search is among the tools."""

    __slots__ = ("_names", "called", "functions", "searches")

    def __init__(self) -> None:
        self.functions: dict[str, ChatTool] = {}
        self.called: dict[str, CalledTool] = {}
        self.searches = False
        self._names: dict[tuple[str | None, str], str] = {}

    def add(self, tools: Iterable[msgspec.Raw], param: str, *, web_search: bool) -> None:
        """Adds the ``tools`` of the field ``param``. ``web_search``: the upstream has a web search of its own, which
        stands in for OpenAI's. Raises ApiError (400)."""
        namespaces: list[tuple[_Tool, str]] = []
        for place, raw in enumerate(tools):
            where = f"{param}[{place}]"
            try:
                type = _tool_type(raw).type
                if type in ("function", "custom"):
                    self._add(raw, None, where, custom=type == "custom")
                elif type == "namespace":
                    namespaces.append((_tool(raw), where))
                elif web_search and isinstance(type, str) and _WEB_SEARCH.fullmatch(type):
                    self.searches = True
            except (msgspec.DecodeError, RecursionError) as error:
                raise field_error(where, error) from error
        # Tools outside a namespace keep their names, wherever they stand.
        for namespace, where in namespaces:
            self._add_namespace(namespace, where)

    def chat_name(self, name: str, namespace: str | None) -> str:
        """Returns the name of the function that stands for a tool, also for one that is no longer listed."""
        chat_name = self._names.get((namespace, name))
        return chat_name or (name if namespace is None else _joined(namespace, name))

    def chat_tools(self) -> list[ChatTool]:
        tools = list(self.functions.values())
        if self.searches:
            tools.append({"type": "web_search", "web_search": _ZAI_WEB_SEARCH})
        return tools

    def _add_namespace(self, namespace: _Tool, where: str) -> None:
        if not namespace.name:
            raise missing(f"{where}.name", "name the tool")
        for place, raw in enumerate(namespace.tools or ()):
            inner = f"{where}.tools[{place}]"
            try:
                self._add(raw, namespace.name, inner, custom=_tool_type(raw).type == "custom")
            except (msgspec.DecodeError, RecursionError) as error:
                raise field_error(inner, error) from error

    def _add(self, raw: msgspec.Raw, namespace: str | None, where: str, *, custom: bool) -> None:
        tool = _tool(raw)
        if tool.function != _NULL and not tool.name:
            tool = _tool(tool.function)
        if not tool.name:
            raise missing(f"{where}.name", "name the tool")
        name = self._unused_name(tool.name, namespace)
        self._names[namespace, tool.name] = name
        if custom or namespace is not None:
            self.called[name] = CalledTool(tool.name, namespace, custom)
        function: dict[str, object] = {"name": name}
        description = _free_text_description(tool) if custom else tool.description
        if description:
            function["description"] = description
        parameters = _NO_PARAMETERS if tool.parameters == _NULL else tool.parameters
        function["parameters"] = _FREE_TEXT if custom else parameters
        self.functions[name] = {"type": "function", "function": function}

    def _unused_name(self, name: str, namespace: str | None) -> str:
        if namespace is None:
            return name
        joined = _joined(namespace, name)
        if joined not in self.functions or self._names.get((namespace, name)) == joined:
            return joined
        return _shortened(joined, f"{namespace}\n{name}")


def choose_tools(
    choice: object, names: ToolNames, tools: list[ChatTool]
) -> tuple[list[ChatTool], str | ChatTool | None]:
    """Returns the tools and the chat ``tool_choice`` that the ``tool_choice`` of a request leaves of ``tools``.

    ``allowed_tools`` removes the other tools: that works with every upstream. Raises ApiError (400).
    """
    if choice is None or not tools:
        return tools, None
    if isinstance(choice, str):
        if choice not in ("auto", "none", "required"):
            raise _invalid_choice(choice)
        return tools, choice
    kind = choice.get("type") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(kind, str):
        raise _invalid_choice(choice)
    if kind == "allowed_tools":
        return _allowed(choice, names, tools)
    if kind in ("function", "custom"):
        return tools, {"type": "function", "function": {"name": _chosen(choice, names)}}
    if names.searches and _WEB_SEARCH.fullmatch(kind):
        return tools, "auto"
    raise ApiError(
        f"tool_choice of the type {excerpt(kind)} is not supported: the gateway has no such tool; use auto, none, "
        "required, a function, a custom tool, or allowed_tools",
        code="invalid_value",
        param="tool_choice",
    )


def _allowed(
    choice: dict[object, object], names: ToolNames, tools: list[ChatTool]
) -> tuple[list[ChatTool], str | ChatTool | None]:
    mode, entries = choice.get("mode", "auto"), choice.get("tools")
    if mode not in ("auto", "required") or not isinstance(mode, str) or not isinstance(entries, list):
        raise ApiError(
            "tool_choice of the type allowed_tools needs a mode, auto or required, and a list of tools",
            code="invalid_value",
            param="tool_choice",
        )
    allowed: set[str] = set()
    searches = False
    for entry in entries:
        kind = entry.get("type", "function") if isinstance(entry, dict) else None
        if kind in ("function", "custom") and isinstance(entry, dict):
            allowed.add(_chosen(entry, names))
        elif isinstance(kind, str):
            searches = searches or _WEB_SEARCH.fullmatch(kind) is not None
        else:
            raise _invalid_choice(entry)
    selection = [tool for name, tool in names.functions.items() if name in allowed]
    if searches and names.searches:
        selection += tools[len(names.functions) :]
    return selection, mode if selection else None


def _chosen(choice: dict[object, object], names: ToolNames) -> str:
    """The name of the function that ``choice`` names."""
    nested = choice.get("function")
    name = (nested if isinstance(nested, dict) else choice).get("name")
    namespace = choice.get("namespace")
    if isinstance(name, str) and (namespace is None or isinstance(namespace, str)):
        function = names.chat_name(name, namespace)
        if function in names.functions:
            return function
    raise ApiError(
        f"tool_choice names {excerpt(name)}, which is not among tools", code="invalid_value", param="tool_choice"
    )


def _invalid_choice(choice: object) -> ApiError:
    return ApiError(
        f"tool_choice {excerpt(choice)} is not supported: use auto, none, required, a function, a custom tool, or "
        "allowed_tools",
        code="invalid_value",
        param="tool_choice",
    )


def _joined(namespace: str, name: str) -> str:
    joined = _FORBIDDEN.sub("_", f"{namespace}__{name}")
    return joined if len(joined) <= MAX_NAME_CHARACTERS else _shortened(joined, f"{namespace}\n{name}")


def _shortened(joined: str, identity: str) -> str:
    """``joined`` with a hash of the tool's identity: the same tool has the same name in every request."""
    digest = hashlib.sha256(identity.encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{joined[: MAX_NAME_CHARACTERS - _HASH_CHARACTERS - 1]}_{digest}"


def _free_text_description(tool: _Tool) -> str:
    """The grammar goes into the description: chat functions cannot constrain text."""
    format = tool.format
    if format is None or format.type != "grammar":
        return tool.description or ""
    grammar = f"The input must match this {format.syntax} grammar:\n{format.definition}"
    return f"{tool.description}\n\n{grammar}" if tool.description else grammar
