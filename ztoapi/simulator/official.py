"""Z.ai's official API, as described by its documentation and its clients.

There is no ``object``; every delta has the role; reasoning comes first; the last chunk has both the finish reason and
the usage. Requests are validated as strictly as by Z.ai (``strictness.py``).
"""

from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from ztoapi.simulator.chat import SimulatedResponse
from ztoapi.simulator.chat_reply import SimulatedChat, send_chat
from ztoapi.simulator.codes import REFUSALS
from ztoapi.simulator.faults import SimulatedCall
from ztoapi.simulator.plan import ResponsePlan
from ztoapi.simulator.strictness import Objection, check
from ztoapi.simulator.text import framed, reasoning_words

__all__ = ["CREATED", "Official", "delta_events", "message_of"]

CREATED = 1767225600
"""Creation time of every simulated response, so that equal requests get equal responses."""
_DONE = b"data: [DONE]\n\n"
_FRAGMENT_CHARACTERS = 5
_NO_EFFORT = ("none", "minimal")
Object = dict[str, object]

_encode = msgspec.json.Encoder().encode


class Official:
    """See the module docstring."""

    error_event = b'data: {"error":{"code":"1234","message":"Network error, error id: sim-1"}}\n\n'

    def error(self, code: str, message: str) -> tuple[int, bytes]:
        return REFUSALS[code].status, _encode({"error": {"code": code, "message": message}})

    def respond(self, call: SimulatedCall) -> None:
        send_chat(call, self)

    def read(self, call: SimulatedCall, raw: bytes | bytearray) -> SimulatedChat | Objection:
        body = check(raw, call.model)
        if isinstance(body, Objection):
            return body
        thinks = "disabled" != (body.thinking and body.thinking.type) and body.reasoning_effort not in _NO_EFFORT
        reasoning = call.plan.thinking_tokens if thinks else 0
        response = SimulatedResponse(body, call.plan, raw=raw, reasoning=reasoning)
        base: Object = {"id": f"2026{call.number:08d}sim", "created": CREATED, "model": call.model}
        events = delta_events(partial(_event, base), call.plan, response, fragments=bool(body.tool_stream))
        whole = partial(_whole, base, call, response)
        return SimulatedChat(events, _last(base, response), whole, response.tokens + reasoning, bool(body.stream))


def _event(base: Object, delta: Object, finish: str | None = None, **more: object) -> bytes:
    choice: Object = {"index": 0, "delta": {"role": "assistant", **delta}}
    if finish is not None:
        choice["finish_reason"] = finish
    return b"data: %b\n\n" % _encode({**base, "choices": [choice], **more})


def delta_events(
    event: Callable[[Object], bytes], plan: ResponsePlan, response: SimulatedResponse, *, fragments: bool
) -> Iterator[bytes]:
    """Yields the events of reasoning, then of the tool calls or of the content; ``event`` encodes a delta."""
    before, after = event({"reasoning_content": "@"}).rsplit(b"@", 1)
    yield from framed(reasoning_words(plan, response.reasoning), before, after, repeated=response.repeats)
    if response.calls:
        for part in _tool_fragments(response, fragments=fragments):
            yield event({"tool_calls": [part]})
        return
    before, after = event({"content": "@"}).rsplit(b"@", 1)
    yield from framed(response.words(), before, after, repeated=response.repeats)


def message_of(plan: ResponsePlan, response: SimulatedResponse, *, empty: str | None) -> Object:
    """Returns the message of a response that is not streamed. ``empty`` is its content beside tool calls."""
    message: Object = {"role": "assistant", "content": empty}
    if response.reasoning:
        message["reasoning_content"] = "".join(reasoning_words(plan, response.reasoning))
    if response.calls:
        message["tool_calls"] = response.message_calls()
    else:
        message["content"] = "".join(response.words())
    return message


def _last(base: Object, response: SimulatedResponse) -> bytes:
    return _event(base, {"content": ""}, response.finish_reason, usage=response.usage()) + _DONE


def _whole(base: Object, call: SimulatedCall, response: SimulatedResponse) -> bytes:
    message = message_of(call.plan, response, empty="")
    whole: Object = {
        **base,
        "request_id": response.request_id or base["id"],
        "choices": [{"index": 0, "message": message, "finish_reason": response.finish_reason}],
        "usage": response.whole_usage(),
    }
    return _encode(whole)


def _tool_fragments(response: SimulatedResponse, *, fragments: bool) -> Iterator[Object]:
    """Yields each call of ``response``: in one piece, or first its id and name and then fragments of its arguments."""
    for index, call in enumerate(response.calls):
        head: Object = {"index": index, "id": call.id, "type": "function"}
        if not fragments:
            yield {**head, "function": {"name": call.name, "arguments": call.arguments}}
            continue
        yield {**head, "function": {"name": call.name, "arguments": ""}}
        for at in range(0, len(call.arguments), _FRAGMENT_CHARACTERS):
            yield {"index": index, "function": {"arguments": call.arguments[at : at + _FRAGMENT_CHARACTERS]}}
