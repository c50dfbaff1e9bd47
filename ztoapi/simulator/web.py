"""The web chat of chat.z.ai: details blocks for reasoning, closed by an edit event.

Errors are ``{"detail": ...}`` with a status, or an event that contains an error. The real server's checks of its
clients are not simulated, only the responses to clients that fail them (faults ``426`` and ``captcha``).
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from ztoapi.simulator.chat import ChatBody, ChatMessage, ChatTool, SimulatedResponse, decoded
from ztoapi.simulator.codes import REFUSALS
from ztoapi.simulator.faults import SimulatedCall, refuse
from ztoapi.simulator.official import CREATED
from ztoapi.simulator.pacer import Pacer
from ztoapi.simulator.text import framed, reasoning_words

__all__ = ["WebChat", "web_models"]

_TAG: Final = '<details type="reasoning"'
_OPENING: Final = f'{_TAG} done="false">\n<summary>Thinking\u2026</summary>\n> '
_CLOSED: Final = ' done="true" duration="2">\n<summary>Thought for 2 seconds</summary>\n> '
_UPSTREAM_IDS: Final = {"GLM-4.6": "GLM-4-6-API-V1", "GLM-4.5": "0727-360B-API", "GLM-4.5-Air": "0727-106B-API"}
Object = dict[str, object]

_encode = msgspec.json.Encoder().encode


class _Features(msgspec.Struct):
    enable_thinking: bool | None = None


class _Params(msgspec.Struct):
    max_tokens: int | None = None


class _WebChatBody(msgspec.Struct):
    messages: list[ChatMessage]
    features: _Features = msgspec.field(default_factory=_Features)
    params: _Params = msgspec.field(default_factory=_Params)
    tools: list[ChatTool] | None = None


_decode = msgspec.json.Decoder(_WebChatBody).decode


class WebChat:
    """The web chat, which always streams."""

    error_event = (
        b'data: {"type":"chat:completion","data":{"error":{"code":429,"detail":"too many requests"},"done":true}}\n\n'
    )

    def error(self, code: str, message: str) -> tuple[int, bytes]:
        # The real server returns 404 for an unknown model.
        status, text = (404, "Not Found") if code == "1211" else (REFUSALS[code].status, message)
        return status, _encode({"detail": text})

    def respond(self, call: SimulatedCall) -> None:
        raw = call.exchange.request_body
        try:
            body = decoded(_decode, raw)
        except msgspec.DecodeError as error:
            refuse(call.exchange, self, "1210", str(error))
            return
        thinks = body.features.enable_thinking is not False
        chat = ChatBody(messages=body.messages, max_tokens=body.params.max_tokens, tools=body.tools)
        reasoning = call.plan.thinking_tokens if thinks else 0
        response = SimulatedResponse(chat, call.plan, raw=raw, reasoning=reasoning)
        last = _event(phase="other", delta_content="", usage=response.usage()) + _event(phase="done", done=True)
        Pacer(call.exchange, call.plan, self, _events(call, response), last).start()


def _event(**fields: object) -> bytes:
    return b"data: %b\n\n" % _encode({"type": "chat:completion", "data": fields})


def _events(call: SimulatedCall, response: SimulatedResponse) -> Iterator[bytes]:
    words = iter(()) if response.calls else response.words()
    if response.reasoning:
        quoted = []
        for word in reasoning_words(call.plan, response.reasoning):
            quoted.append(word.replace("\n", "\n> "))
            yield _event(phase="thinking", delta_content=quoted[-1] if len(quoted) > 1 else _OPENING + quoted[0])
        content = f"{_CLOSED}{''.join(quoted)}\n</details>\n{next(words, '')}"
        yield _event(phase="answer", edit_index=_utf16_units(_TAG), edit_content=content)
    if response.calls:
        calls = [{"index": index, **call} for index, call in enumerate(response.message_calls())]
        yield _event(phase="tool_call", delta_content="", tool_calls=calls)
    before, after = _event(phase="answer", delta_content="@").split(b"@")
    yield from framed(words, before, after, repeated=response.repeats)


def _utf16_units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def web_models() -> bytes:
    """Returns the body of ``GET /api/models``."""
    models = [
        {"id": upstream_id, "name": name, "info": {"is_active": True, "created_at": CREATED}}
        for name, upstream_id in _UPSTREAM_IDS.items()
    ]
    return _encode({"data": models})
