"""Requests, and what the answer to each must be.

Against the simulator the model's name carries settings (docs/simulator.md), so that every answer has a known number of
deltas. A real upstream gets the plain name and ``max_tokens``; how many deltas come is then its own affair.
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
                "properties": {one: {"type": "string"} for one in parameters},
                "required": list(parameters),
            },
        },
    }
    for name, parameters in _PARAMETERS.items()
)
"""What a coding agent brings along with every request."""

_encode = msgspec.json.Encoder().encode


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A request's body, and how to know its answer."""

    body: bytes
    deltas: int | None
    """How many deltas the answer must have; None if that cannot be known."""
    tools: frozenset[str] = frozenset()
    """Names that may be called."""
    must_call: bool = False


class Upstream(msgspec.Struct, frozen=True):
    """Who answers: ``model``, and whether behind it is the simulator or a ``real`` upstream."""

    model: str
    real: bool

    def question(
        self, messages: list[Object], *, tokens: int, settings: str = "", with_tools: bool = False
    ) -> Question:
        """Ask for ``tokens`` tokens. ``settings`` are the simulator's, such as ``itl=10:ttft=50``.

        ``with_tools`` brings :data:`TOOLS` along: the simulator calls one, unless the last message is a tool's result.
        """
        body: Object = {"model": self.model, "stream": True, "messages": messages}
        if with_tools:
            body |= {"tools": TOOLS, "tool_stream": True}
        names = _TOOL_NAMES if with_tools else frozenset()
        if self.real:
            return Question(body=_encode(body | {"max_tokens": tokens}), deltas=None, tools=names)
        body["model"] = ":".join(
            filter(None, (self.model, f"tokens={tokens}", f"reasoning={_REASONING_TOKENS}", settings))
        )
        calls = with_tools and messages[-1]["role"] != "tool"
        deltas = None if calls else tokens + _REASONING_TOKENS
        return Question(body=_encode(body), deltas=deltas, tools=names, must_call=calls)


def text_of(octets: int) -> str:
    """Plain prose of ``octets`` octets."""
    return (_SENTENCE * (octets // len(_SENTENCE) + 1))[:octets]
