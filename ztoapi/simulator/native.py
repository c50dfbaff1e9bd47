"""The endpoints of the Messages and the Responses API, beside those for chat.

Requests are translated to chat and responses from it, by the code of the gateway. As at Z.ai, ``message_start`` reports
no tokens, the type of an error is its code, and no error has a retry-after of its own.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from ztoapi.apis.messages.fold import fold
from ztoapi.apis.messages.request import decode
from ztoapi.apis.messages.writer import MessageWriter
from ztoapi.apis.responses.events import ResponseWriter
from ztoapi.apis.responses.request import ResponsesRequest
from ztoapi.apis.writing import EventWriter
from ztoapi.dialects import zai_request
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities
from ztoapi.dialects.request import ChatRequest, decode_request
from ztoapi.simulator.chat_reply import ChatDialect, SimulatedChat
from ztoapi.simulator.codes import REFUSALS
from ztoapi.simulator.faults import SimulatedCall, refuse
from ztoapi.simulator.official import CREATED
from ztoapi.simulator.pacer import Pacer, send_whole
from ztoapi.simulator.strictness import Objection

__all__ = ["MessagesEndpoint", "ResponsesEndpoint"]

_OVERLOADED: Final = frozenset(("1305", "1312", "503", "529"))
_STREAM: Final = {"stream": True, "stream_options": {"include_usage": True}}
_encode = msgspec.json.Encoder().encode


class _SimulatedEndpoint:
    """Serves an API by ``chat``. The models of Z.ai have ``capabilities``; None if the server is a plain one."""

    error_event: bytes

    def __init__(self, chat: ChatDialect, capabilities: Mapping[str, ModelCapabilities] | None) -> None:
        self._chat = chat
        self._capabilities = capabilities

    def translate(self, call: SimulatedCall, model: ModelCapabilities) -> tuple[ChatRequest, EventWriter, bool]:
        """Returns the chat request, the writer of the response, and whether the client wants a stream."""
        raise NotImplementedError

    def whole(self, writer: EventWriter, written: bytes) -> bytes:
        """Returns the whole response with the content of ``written``, the events of ``writer``."""
        raise NotImplementedError

    def error(self, code: str, message: str) -> tuple[int, bytes]:
        raise NotImplementedError

    def respond(self, call: SimulatedCall) -> None:
        capabilities = self._capabilities
        model = UNKNOWN if capabilities is None else capabilities.get(call.model.lower(), UNKNOWN)
        request, writer, stream = self.translate(call, model)
        body: bytes | bytearray = _encode({**request.fields, "model": call.model, **_STREAM})
        if capabilities is not None:
            body = zai_request.build(
                decode_request(body), model=call.model, stream=True, thinking=None, capabilities=model
            )
        chat = self._chat.read(call, body)
        if isinstance(chat, Objection):
            refuse(call.exchange, self, chat.code, chat.message)
            return
        written = _written(writer, chat, cut=call.plan.fault == "no_done")
        if stream:
            Pacer(call.exchange, call.plan, self, written, b"").start()
            return
        events = b"".join(written)
        if writer.error is not None:
            refuse(call.exchange, self, "1234")
            return
        send_whole(call.exchange, call.plan, self, self.whole(writer, events), chat.tokens)


class MessagesEndpoint(_SimulatedEndpoint):
    """``/v1/messages``."""

    error_event = b'event: error\ndata: {"type":"error","error":{"type":"1234","message":"Network error"}}\n\n'

    def translate(self, call: SimulatedCall, model: ModelCapabilities) -> tuple[ChatRequest, EventWriter, bool]:
        request, context = decode(call.exchange.request_body, lambda _: model)
        context = msgspec.structs.replace(context, model=call.model)
        writer = MessageWriter(context, f"msg_sim{call.number}", 0, call.exchange.request_id)
        return request, writer, bool(request.stream)

    def whole(self, writer: EventWriter, written: bytes) -> bytes:
        return fold(written)

    def error(self, code: str, message: str) -> tuple[int, bytes]:
        status = 529 if code in _OVERLOADED else REFUSALS[code].status
        return status, _encode({"type": "error", "error": {"type": code, "message": message}})


class ResponsesEndpoint(_SimulatedEndpoint):
    """``/v1/responses``."""

    error_event = b'event: error\ndata: {"type":"error","code":"1234","message":"Network error","param":null}\n\n'

    def translate(self, call: SimulatedCall, model: ModelCapabilities) -> tuple[ChatRequest, EventWriter, bool]:
        response = ResponsesRequest(call.exchange.request_body)
        request, context = response.chat(model)
        context = msgspec.structs.replace(context, model=call.model)
        return request, ResponseWriter(context, f"sim{call.number}", lambda: CREATED), response.stream

    def whole(self, writer: EventWriter, written: bytes) -> bytes:
        assert isinstance(writer, ResponseWriter)
        return writer.response

    def error(self, code: str, message: str) -> tuple[int, bytes]:
        return REFUSALS[code].status, _encode({"error": {"code": code, "message": message}})


def _written(writer: EventWriter, chat: SimulatedChat, *, cut: bool) -> Iterator[bytes]:
    """Yields the events of the API, without the last one if ``cut``."""
    for event in chat.events:
        if written := writer.feed(event):
            yield written
    last = writer.feed(chat.last)
    if last:
        yield last[: last.rindex(b"event: ")] if cut else last
