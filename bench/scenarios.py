"""The scenarios that the regression gate counts for ztoapi. Each set-up returns one unit of work and its counters.

``docs/regression-gate.md`` describes the protocol. Transports are in memory; clocks and ids are fixed.
"""

import itertools
from collections import deque
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from unittest.mock import patch

from bench.inmemory import (
    Gateway,
    api_request,
    chunked,
    openai_end,
    request,
    stream_head,
    whole_response,
    zai_end,
    zai_event,
)
from ztoapi.config.model import KeyBudgets, LimitsConfig, TrafficLimits
from ztoapi.dialects.registry import DialectName
from ztoapi.wire.limits import Limits
from ztoapi.wire.server import ServerWire

__all__ = ["SCENARIOS"]

Step = Callable[[], object]
Totals = Callable[[], Mapping[str, int]]

_RECENT_RECORDS = 16
_SECONDS = 1000.0
_TICK_SECONDS = 0.001
"""Step of telemetry's clock at each reading, so that durations are always the same."""
_PROMPT_CHARACTERS = 300_000
"""A long conversation or the code of a repository, which agents send with every turn."""
_EVENTS = 64
_KILOBYTE_CHARACTERS = 800
"""With the JSON around it, about 1 KB."""
_MANY_IN_FLIGHT = 8
"""From here on writes wait for the end of their turn."""
_WIDE = TrafficLimits(
    requests_per_second=10**6, requests_per_minute=10**8, tokens_per_minute=10**9, max_concurrency=1000
)
_BUDGET = KeyBudgets(tokens_per_month=10**12)

_CHAT = request(stream=True)
_MESSAGES = api_request(
    "/v1/messages",
    b'{"model":"glm-4.6","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"hello"}]}',
)
_RESPONSES = api_request("/v1/responses", b'{"model":"glm-4.6","stream":true,"input":"hello"}')


def _gateway(dialect: DialectName = "zai", limits: LimitsConfig | None = None) -> tuple[Gateway, Totals]:
    """Returns a gateway with few recent records, so that they are full after the warm-up and a request keeps no
    memory."""
    gateway = Gateway(dialect, limits)
    ticks = itertools.count(_SECONDS, _TICK_SECONDS).__next__
    for module in ("relay.relay", "server.exchange", "server.protocol", "server.stream", "telemetry.record"):
        # The base may not have all of them, or may read the time elsewhere.
        if find_spec(f"ztoapi.{module}") is not None:
            patch(f"ztoapi.{module}.monotonic", ticks, create=True).start()
    gateway.application.recorder.recent = deque(maxlen=_RECENT_RECORDS)

    def totals() -> Mapping[str, int]:
        return {
            "client_writes": gateway.client.writes,
            "upstream_writes": gateway.upstream.writes,
            "wake_ups": gateway.loop.wake_ups,
        }

    return gateway, totals


def _sure(step: Step, gateway: Gateway, expected: bytes) -> Step:
    """Returns ``step`` after verifying that the client receives ``expected``; an error response would be cheap."""
    step()
    assert expected in gateway.client.last, gateway.client.last
    gateway.count_high()
    return step


def _unary(
    prompt_characters: int, dialect: DialectName = "zai", limits: LimitsConfig | None = None
) -> tuple[Step, Totals]:
    gateway, totals = _gateway(dialect, limits=limits)
    question = request(stream=False, prompt="x" * prompt_characters)
    response = whole_response("x" * _KILOBYTE_CHARACTERS)

    def step() -> None:
        gateway.receive_request(question)
        gateway.receive_response(response)

    return _sure(step, gateway, b" 200 OK"), totals


def _unary_over_new_connection() -> tuple[Step, Totals]:
    """The client opens a connection for each request, with a head that the worker knows."""
    gateway, totals = _gateway("openai")
    question = request(stream=False, prompt="x" * _KILOBYTE_CHARACTERS).replace(b": keep-alive", b": close")
    response = whole_response("x" * _KILOBYTE_CHARACTERS)

    def step() -> None:
        gateway.connect()
        gateway.receive_request(question)
        gateway.receive_response(response)
        gateway.disconnect()
        gateway.end_turn()

    return _sure(step, gateway, b" 200 OK"), totals


def _unary_under_load() -> tuple[Step, Totals]:
    """Both writes wait for the end of their turn."""
    gateway, totals = _gateway("openai")
    gateway.application.context.cork.load = range(_MANY_IN_FLIGHT)
    question = request(stream=False, prompt="x" * _KILOBYTE_CHARACTERS)
    response = whole_response("x" * _KILOBYTE_CHARACTERS)

    def step() -> None:
        gateway.receive_request(question)
        gateway.end_turn()
        gateway.receive_response(response)
        gateway.end_turn()

    return _sure(step, gateway, b" 200 OK"), totals


def _one_read(
    dialect: DialectName, events: int, question: bytes = _CHAT, expected: bytes = b'"content":" word"'
) -> tuple[Step, Totals]:
    gateway, totals = _gateway(dialect)
    gateway.receive_request(question)
    gateway.receive_response(stream_head() + chunked(zai_event("The")))
    feed = gateway.feeder(b"".join(chunked(zai_event(" word")) for _ in range(events)))
    return _sure(feed, gateway, expected), totals


def _whole_stream(dialect: DialectName) -> tuple[Step, Totals]:
    gateway, totals = _gateway(dialect)
    question = request(stream=True)
    start = stream_head() + chunked(zai_event("The"))
    end = chunked(zai_end()) + b"0\r\n\r\n"

    def step() -> None:
        gateway.receive_request(question)
        gateway.receive_response(start)
        gateway.receive_response(end)

    return _sure(step, gateway, b"[DONE]"), totals


def _stream_with_end_apart() -> tuple[Step, Totals]:
    """The finish, the usage and the end mark arrive one by one, as from vLLM and OpenAI."""
    gateway, totals = _gateway("openai")
    question = request(stream=True)
    start = stream_head() + chunked(zai_event("The"))
    finish, usage = openai_end()
    end = chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"

    def step() -> None:
        gateway.receive_request(question)
        gateway.receive_response(start)
        gateway.receive_response(chunked(finish))
        gateway.receive_response(chunked(usage))
        gateway.receive_response(end)

    return _sure(step, gateway, b"[DONE]"), totals


def _stream_in_one_read(dialect: DialectName) -> tuple[Step, Totals]:
    """The gateway is slower than an upstream that sends a whole response at once."""
    gateway, totals = _gateway(dialect)
    question = request(stream=True)
    response = stream_head() + chunked(zai_event(" word")) * _EVENTS + chunked(zai_end()) + b"0\r\n\r\n"

    def step() -> None:
        gateway.receive_request(question)
        gateway.receive_response(response)

    return _sure(step, gateway, b"[DONE]"), totals


def _new_head() -> Step:
    """Alternates between two heads, because a connection caches its last head."""
    wire = ServerWire(Limits())
    requests = itertools.cycle([request(stream=True), request(stream=True).replace(b"x64", b"arm64")])

    def step() -> None:
        wire.receive_data(next(requests))
        wire.next_head()
        wire.next_request()

    return step


def _refusal() -> tuple[Step, Totals]:
    gateway, totals = _gateway()
    question = request(stream=True).replace(b"Bearer key", b"Bearer unknown")
    return _sure(lambda: gateway.receive_request(question), gateway, b" 401 "), totals


SCENARIOS: dict[str, Callable[[], Step | tuple[Step, Totals]]] = {
    "unary-1kb": lambda: _unary(_KILOBYTE_CHARACTERS),
    "unary-300kb-prompt": lambda: _unary(_PROMPT_CHARACTERS),
    "unary-1kb-all-limits": lambda: _unary(
        _KILOBYTE_CHARACTERS, limits=LimitsConfig(everybody=_WIDE, key=_WIDE, model=_WIDE, address=_WIDE)
    ),
    "unary-1kb-budget": lambda: _unary(_KILOBYTE_CHARACTERS, limits=LimitsConfig(budget=_BUDGET)),
    "openai-unary-1kb": lambda: _unary(_KILOBYTE_CHARACTERS, "openai"),
    "openai-unary-1kb-under-load": _unary_under_load,
    "openai-unary-1kb-new-connection": _unary_over_new_connection,
    "zai-chunk": lambda: _one_read("zai", 1),
    "zai-burst-of-8": lambda: _one_read("zai", 8),
    "zai-start-and-end": lambda: _whole_stream("zai"),
    "zai-stream-of-64-in-one-read": lambda: _stream_in_one_read("zai"),
    "messages-chunk": lambda: _one_read("zai", 1, _MESSAGES, b'"text":" word"'),
    "responses-chunk": lambda: _one_read("zai", 1, _RESPONSES, b'"delta":" word"'),
    "openai-chunk": lambda: _one_read("openai", 1),
    "openai-burst-of-8": lambda: _one_read("openai", 8),
    "openai-start-and-end": lambda: _whole_stream("openai"),
    "openai-end-apart": _stream_with_end_apart,
    "openai-stream-of-64-in-one-read": lambda: _stream_in_one_read("openai"),
    "new-head": _new_head,
    "auth-refusal": _refusal,
}
