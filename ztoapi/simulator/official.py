"""Z.ai's official API, and a plain OpenAI-compatible server beside it (``/v1``), as ``dialects`` expect them.

The official paths are as strict as GLM is: what its documentation does not allow is refused with code 1210 or 1214.
https://docs.z.ai/api-reference/llm/chat-completion
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from ztoapi.server.exchange import Exchange
from ztoapi.simulator.pacer import Pacer
from ztoapi.simulator.plan import Plan
from ztoapi.simulator.text import answer_words, reasoning_words

__all__ = ["Official", "error_body"]

_CREATED: Final = 1767225600
_REFUSED: Final = (
    "stream_options", "n", "frequency_penalty", "presence_penalty", "logit_bias", "parallel_tool_calls",
    "max_completion_tokens", "logprobs", "enable_thinking",
)  # fmt: skip
_STATUSES: Final = {"1113": 429, "1210": 400, "1211": 400, "1214": 400, "1302": 429, "1305": 429, "1308": 429}
_MESSAGES: Final = {
    "1113": "Insufficient balance or no resource package. Please recharge.",
    "1302": "Rate limit reached for requests",
    "1305": "The service may be temporarily overloaded, please try again later",
    "1308": "Usage limit reached for 5 hour. Your limit will reset at 2026-01-01 00:00:00",
    "529": "The server is overloaded",
    "500": "Internal error",
}
_FINISH_FAULTS: Final = frozenset(("network_error", "sensitive", "model_context_window_exceeded"))
Body = dict[str, Any]


def error_body(code: str, message: str = "") -> bytes:
    """Z.ai's error object: the code is a string."""
    return json.dumps({"error": {"code": code, "message": message or _MESSAGES.get(code, "refused")}}).encode()


class Official:
    """One request. ``glm``: the official API, else the plain server. ``number`` makes its id."""

    def __init__(self, exchange: Exchange, body: Body, model: str, plan: Plan, number: int, *, glm: bool) -> None:
        self._exchange = exchange
        self._body = body
        self._plan = plan
        self._glm = glm
        limit = body.get("max_tokens") or body.get("max_completion_tokens")
        self._tokens = min(plan.tokens, limit) if limit else plan.tokens
        self._cut = limit is not None and limit < plan.tokens
        self._base: Body = {"id": f"2026{number:08d}sim" if glm else f"chatcmpl-sim{number}"}
        if not glm:
            self._base["object"] = "chat.completion.chunk"
        self._base |= {"created": _CREATED, "model": model}

    def answer(self) -> None:
        """Answer, whole or streamed, as the request wants it."""
        code = self._objection()
        if code is not None:
            self._exchange.respond(_STATUSES[code[0]], error_body(*code))
        elif self._body.get("stream"):
            last = self._last_events()
            Pacer(self._exchange, self._plan, self._events(), last + b"data: [DONE]\n\n").start()
        else:
            seconds = (self._plan.ttft + self._plan.itl * self._tokens) / 1000
            self._exchange.loop.call_later(seconds, self._respond_whole)

    def _objection(self) -> tuple[str, str] | None:
        if not self._glm:
            return None
        body = self._body
        for name in _REFUSED:
            if body.get(name) is not None:
                return "1210", f"API parameter error: {name}"
        if (body.get("temperature") or 0) > 1 or body.get("tool_choice", "auto") not in ("auto", None):
            return "1210", "API parameter error"
        if (body.get("response_format") or {}).get("type") == "json_schema":
            return "1210", "API parameter error: response_format"
        roles = {message.get("role") for message in body.get("messages", [])}
        if not roles <= {"system", "user", "assistant", "tool"} or not roles & {"user", "tool"}:
            return "1214", "messages parameter is illegal"
        return None

    @property
    def _thinks(self) -> bool:
        return self._glm and (self._body.get("thinking") or {}).get("type") != "disabled"

    @property
    def _tool(self) -> Body | None:
        tools = self._body.get("tools")
        if not tools or self._body["messages"][-1].get("role") == "tool":
            return None
        function: Body = tools[0].get("function", {})
        return function

    def _finish_reason(self) -> str:
        if self._plan.fault in _FINISH_FAULTS:
            return self._plan.fault
        if self._tool is not None:
            return "tool_calls"
        return "length" if self._cut else "stop"

    def _words(self) -> Iterator[str]:
        wanted = (self._body.get("response_format") or {}).get("type") in ("json_object", "json_schema")
        return answer_words(self._plan, self._tokens, json_object=wanted)

    def _event(self, delta: Body, **more: object) -> bytes:
        choice: Body = {"index": 0, "delta": delta, **more}
        if not self._glm:
            choice.setdefault("finish_reason", None)
        return b"data: %b\n\n" % json.dumps({**self._base, "choices": [choice]}, separators=(",", ":")).encode()

    def _events(self) -> Iterator[bytes]:
        role = {"role": "assistant"}
        if not self._glm:
            yield self._event({**role, "content": ""})
            role = {}
        if self._thinks:
            for word in reasoning_words(self._plan):
                yield self._event({**role, "reasoning_content": word})
        if self._tool is not None:
            yield from (self._event({**role, "tool_calls": [part]}) for part in self._tool_parts(self._tool))
            return
        # One encoded frame for all words: a stream may have a hundred thousand of them.
        before, after = self._event({**role, "content": "@"}).split(b"@")
        for word in self._words():
            yield before + json.dumps(word)[1:-1].encode() + after

    def _tool_parts(self, function: Body) -> Iterator[Body]:
        call = {"index": 0, "id": "call_1", "type": "function"}
        arguments = json.dumps(_arguments(function))
        if self._glm and not self._body.get("tool_stream"):
            yield {**call, "function": {"name": function.get("name"), "arguments": arguments}}
            return
        yield {**call, "function": {"name": function.get("name"), "arguments": ""}}
        for at in range(0, len(arguments), 5):
            yield {"index": 0, "function": {"arguments": arguments[at : at + 5]}}

    def _usage(self) -> Body:
        reasoning = self._plan.reasoning if self._thinks else 0
        prompt = len(json.dumps(self._body.get("messages", []))) // 4
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self._tokens + reasoning,
            "total_tokens": prompt + self._tokens + reasoning,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def _last_events(self) -> bytes:
        finish = {"finish_reason": self._finish_reason()}
        if not self._glm:
            event = self._event({}, **finish)
            if (self._body.get("stream_options") or {}).get("include_usage"):
                usage = {**self._base, "choices": [], "usage": self._usage()}
                event += b"data: %b\n\n" % json.dumps(usage, separators=(",", ":")).encode()
            return event
        event = self._event({"role": "assistant", "content": ""}, **finish)
        usage_json = json.dumps(self._usage(), separators=(",", ":")).encode()
        return event.replace(b"}\n\n", b',"usage":%b}\n\n' % usage_json)

    def _respond_whole(self) -> None:
        message: Body = {"role": "assistant", "content": "".join(self._words())}
        if self._thinks:
            message["reasoning_content"] = "".join(reasoning_words(self._plan))
        if self._tool is not None:
            function = {"name": self._tool.get("name"), "arguments": json.dumps(_arguments(self._tool))}
            message |= {"content": "", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
        answer = {
            **self._base,
            "choices": [{"index": 0, "message": message, "finish_reason": self._finish_reason()}],
            "usage": self._usage(),
        }
        if not self._glm:
            answer["object"] = "chat.completion"
        self._exchange.respond(200, json.dumps(answer, separators=(",", ":")).encode())


def _arguments(function: Body) -> Body:
    """Arguments that fit the function's schema."""
    samples: Body = {"string": "sample", "integer": 2, "number": 2.5, "boolean": True, "array": [], "object": {}}
    properties: dict[str, Body] = function.get("parameters", {}).get("properties", {})
    return {
        name: schema["enum"][0] if schema.get("enum") else samples.get(str(schema.get("type")), "sample")
        for name, schema in properties.items()
    }
