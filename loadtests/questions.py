"""Requests, each with the expectations of its response.

For the simulator the model name contains settings (docs/simulator.md), so every response has a known number of deltas.
A real upstream gets the plain name and ``max_tokens``, and may send any number of deltas.
"""

from typing import Final

import msgspec

__all__ = ["TOOLS", "Object", "Question", "Upstream", "text_of"]

Object = dict[str, object]

_SENTENCE: Final = "The gateway relays what has come, looks only where it must, and keeps nothing it need not keep. "
_REASONING_TOKENS: Final = 4
_PARAMETERS: Final = {
    "read_file": ("path",),
    "edit_file": ("path", "old_text", "new_text"),
    "run_command": ("command",),
    "search": ("pattern", "path"),
}
_TOOL_NAMES: Final = frozenset(_PARAMETERS)
TOOLS: Final[tuple[Object, ...]] = tuple(
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {parameter: {"type": "string"} for parameter in parameters},
                "required": list(parameters),
            },
        },
    }
    for name, parameters in _PARAMETERS.items()
)
"""Tools that a coding agent sends with every request."""

_encode = msgspec.json.Encoder().encode


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request body, and the expectations of its response."""

    body: bytes
    deltas: int | None
    """The expected number of deltas; None if unknown."""
    tools: frozenset[str] = frozenset()
    """Names of the tools that may be called."""
    must_call: bool = False


class Upstream(msgspec.Struct, frozen=True):
    """The target: a ``model`` of the simulator or of a ``real`` upstream, and the client API of the requests."""

    model: str
    real: bool
    api: str = "chat"

    def question(
        self, messages: list[Object], *, tokens: int, settings: str = "", with_tools: bool = False
    ) -> Question:
        """Returns a request for ``tokens`` tokens. ``settings`` are those of the simulator, such as ``itl=10:ttft=50``.

        ``with_tools`` adds :data:`TOOLS`, for chat only: the simulator calls one, unless the last message is a tool
        result.
        """
        body = _body(self.api, messages)
        if with_tools:
            body |= {"tools": TOOLS, "tool_stream": True}
        names = _TOOL_NAMES if with_tools else frozenset()
        limit = "max_output_tokens" if self.api == "responses" else "max_tokens"
        if self.real:
            return Question(body=_encode(body | {"model": self.model, limit: tokens}), deltas=None, tools=names)
        body["model"] = ":".join(
            filter(None, (self.model, f"tokens={tokens}", f"reasoning={_REASONING_TOKENS}", settings))
        )
        if self.api == "messages":
            body |= {limit: tokens + _REASONING_TOKENS}  # the API requires it
        calls = with_tools and messages[-1]["role"] != "tool"
        # The other APIs show reasoning only to clients that request it.
        deltas = None if calls else tokens + (_REASONING_TOKENS if self.api == "chat" else 0)
        return Question(body=_encode(body), deltas=deltas, tools=names, must_call=calls)


def _body(api: str, messages: list[Object]) -> Object:
    """Returns the request for a stream, without its model."""
    if api == "responses":
        return {"stream": True, "input": messages}
    if api == "messages":
        system = [str(message["content"]) for message in messages if message["role"] == "system"]
        turns = [message for message in messages if message["role"] != "system"]
        return {"stream": True, "messages": turns} | ({"system": "\n".join(system)} if system else {})
    return {"stream": True, "messages": messages}


def text_of(size: int) -> str:
    """Returns text of ``size`` bytes."""
    return (_SENTENCE * (size // len(_SENTENCE) + 1))[:size]
