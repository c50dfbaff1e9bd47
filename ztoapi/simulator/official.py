"""Z.ai's official API, as described by its documentation and its clients.

There is no ``object``; every delta has the role; reasoning comes first; the last chunk has both the finish reason and
the usage. Requests are validated as strictly as by Z.ai (``strictness.py``).
"""

from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from ztoapi.simulator.chat import SimulatedAnswer
from ztoapi.simulator.chat_reply import SimulatedChat, send_chat
from ztoapi.simulator.codes import REFUSALS
from ztoapi.simulator.faults import SimulatedCall
from ztoapi.simulator.plan import ResponsePlan
from ztoapi.simulator.strictness import Objection, check
from ztoapi.simulator.text import framed, reasoning_words

__all__ = ["CREATED", "Official", "delta_events"]

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
        answer = SimulatedAnswer(body, call.plan, raw=raw, reasoning=reasoning)
        base: Object = {"id": f"2026{call.number:08d}sim", "created": CREATED, "model": call.model}
        events = delta_events(partial(_event, base), call.plan, answer, fragments=bool(body.tool_stream))
        whole = partial(_whole, base, call, answer)
        return SimulatedChat(events, _last(base, answer), whole, answer.tokens + reasoning, bool(body.stream))


def _event(base: Object, delta: Object, finish: str | None = None, **more: object) -> bytes:
    choice: Object = {"index": 0, "delta": {"role": "assistant", **delta}}
    if finish is not None:
        choice["finish_reason"] = finish
    return b"data: %b\n\n" % _encode({**base, "choices": [choice], **more})


def delta_events(
    event: Callable[[Object], bytes], plan: ResponsePlan, answer: SimulatedAnswer, *, fragments: bool
) -> Iterator[bytes]:
    """Yields the events of reasoning, then of the tool calls or of the content; ``event`` encodes a delta."""
    before, after = event({"reasoning_content": "@"}).rsplit(b"@", 1)
    yield from framed(reasoning_words(plan, answer.reasoning), before, after, repeated=answer.repeats)
    if answer.calls:
        for part in _tool_fragments(answer, fragments=fragments):
            yield event({"tool_calls": [part]})
        return
    before, after = event({"content": "@"}).rsplit(b"@", 1)
    yield from framed(answer.words(), before, after, repeated=answer.repeats)


def _last(base: Object, answer: SimulatedAnswer) -> bytes:
    return _event(base, {"content": ""}, answer.finish_reason, usage=answer.usage()) + _DONE


def _whole(base: Object, call: SimulatedCall, answer: SimulatedAnswer) -> bytes:
    message: Object = {"role": "assistant", "content": ""}
    if answer.reasoning:
        message["reasoning_content"] = "".join(reasoning_words(call.plan, answer.reasoning))
    if answer.calls:
        message["tool_calls"] = answer.message_calls()
    else:
        message["content"] = "".join(answer.words())
    whole: Object = {
        **base,
        "request_id": answer.request_id or base["id"],
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish_reason}],
        "usage": answer.whole_usage(),
    }
    return _encode(whole)


def _tool_fragments(answer: SimulatedAnswer, *, fragments: bool) -> Iterator[Object]:
    """Yields each call of ``answer``: in one piece, or first its id and name and then fragments of its arguments."""
    for index, call in enumerate(answer.calls):
        head: Object = {"index": index, "id": call.id, "type": "function"}
        if not fragments:
            yield {**head, "function": {"name": call.name, "arguments": call.arguments}}
            continue
        yield {**head, "function": {"name": call.name, "arguments": ""}}
        for at in range(0, len(call.arguments), _FRAGMENT_CHARACTERS):
            yield {"index": index, "function": {"arguments": call.arguments[at : at + _FRAGMENT_CHARACTERS]}}
