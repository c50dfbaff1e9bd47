"""A plain OpenAI-compatible server that hosts GLM, such as vLLM: ``/v1``.

Every chunk has an ``object``. The role comes once, in the first chunk; the finish reason comes with an empty delta; the
usage comes on request, in a chunk without choices. https://platform.openai.com/docs/api-reference/chat-streaming
"""

from collections.abc import Iterator
from functools import partial

import msgspec

from ztoapi.simulator.chat import ChatBody, SimulatedResponse, read_chat
from ztoapi.simulator.chat_reply import SimulatedChat, send_chat
from ztoapi.simulator.codes import REFUSALS
from ztoapi.simulator.faults import SimulatedCall
from ztoapi.simulator.official import CREATED, delta_events, message_of
from ztoapi.simulator.strictness import Objection

__all__ = ["Plain"]

_DONE = b"data: [DONE]\n\n"
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
Object = dict[str, object]

_encode = msgspec.json.Encoder().encode


class Plain:
    """See the module docstring."""

    error_event = (
        b'data: {"error":{"message":"the engine failed","type":"server_error","param":null,"code":500}}\n\n' + _DONE
    )

    def error(self, code: str, message: str) -> tuple[int, bytes]:
        status = REFUSALS[code].status
        kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
        return status, _encode({"error": {"message": message, "type": kind, "param": None, "code": code}})

    def respond(self, call: SimulatedCall) -> None:
        send_chat(call, self)

    def read(self, call: SimulatedCall, raw: bytes | bytearray) -> SimulatedChat | Objection:
        try:
            body = read_chat(raw)
        except msgspec.DecodeError as error:
            return Objection("1210", str(error))
        reasoning = call.plan.reasoning or 0
        response = SimulatedResponse(body, call.plan, raw=raw, reasoning=reasoning)
        base: Object = {"id": f"chatcmpl-sim{call.number}", "object": "chat.completion.chunk"}
        base |= {"created": CREATED, "model": call.model}
        events = _events(base, call, response)
        last = _last(base, body, response)
        whole = partial(_whole, base, call, response)
        return SimulatedChat(events, last, whole, response.tokens + reasoning, bool(body.stream))


def _event(base: Object, delta: Object, finish: str | None = None) -> bytes:
    return b"data: %b\n\n" % _encode({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _events(base: Object, call: SimulatedCall, response: SimulatedResponse) -> Iterator[bytes]:
    yield _event(base, {"role": "assistant", "content": ""})
    yield from delta_events(partial(_event, base), call.plan, response, fragments=True)


def _last(base: Object, body: ChatBody, response: SimulatedResponse) -> bytes:
    events = _event(base, {}, response.finish_reason)
    if body.stream_options is not None and body.stream_options.include_usage:
        events += b"data: %b\n\n" % _encode({**base, "choices": [], "usage": response.usage()})
    return events + _DONE


def _whole(base: Object, call: SimulatedCall, response: SimulatedResponse) -> bytes:
    message = message_of(call.plan, response, empty=None)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": response.finish_reason}
    return _encode({**base, "object": "chat.completion", "choices": [choice], "usage": response.whole_usage()})
