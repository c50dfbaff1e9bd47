"""A conversation over the Messages API as its upstream sees it: each request begins with the messages of the last one.

The upstream's cache of prompts, and with it the cost of an agent, depends on this.
"""

import json
import socket
from collections.abc import Iterator
from itertools import pairwise

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stack import Stack
from tests.support.raw_upstream import RawUpstream, stream_of

Fields = dict[str, object]
TOOLS: list[Fields] = [
    {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}},
    {"name": "ToolSearch", "input_schema": {"type": "object"}},
    {"name": "Edit", "input_schema": {"type": "object"}, "defer_loading": True},
]
FOUND: list[Fields] = [{"type": "tool_reference", "tool_name": "Edit"}]
KINDS = ("text", "note", "read", "search", "two")
CALLS = {"read": ["Read"], "search": ["ToolSearch"], "two": ["Read", "Read"]}
"""The tools that the model calls after a user's message of some kinds."""


class _Sent(msgspec.Struct):
    messages: msgspec.Raw
    tools: list[Fields] = []


def chunk(delta: Fields, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: %b\n\n" % json.dumps({"id": "c", "created": 1, "model": "m", "choices": [choice]}).encode()


def reply(calls: list[str], number: int) -> bytes:
    """A response with reasoning, text, and ``calls`` of tools."""
    pieces = [chunk({"reasoning_content": f"thought {number}: "}), chunk({"reasoning_content": "\u00e9"})]
    pieces.append(chunk({"content": f"text {number}"}))
    for index, name in enumerate(calls):
        function = {"name": name, "arguments": '{"path": "a b.py"}'}
        call = {"index": index, "id": f"call_{number}_{index}", "type": "function", "function": function}
        pieces.append(chunk({"tool_calls": [call]}))
    pieces.append(chunk({}, "tool_calls" if calls else "stop") + b"data: [DONE]\n\n")
    return stream_of(*pieces)


class Scripted:
    """An upstream that calls the tools named by the last message of the user."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, sock: socket.socket, number: int) -> bool:
        sock.sendall(reply(self.calls.pop(0), number))
        return False


@pytest.fixture(scope="module", params=["zai", "openai"])
def conversing(request: pytest.FixtureRequest) -> Iterator[tuple[Stack, RawUpstream, Scripted]]:
    script = Scripted()
    with RawUpstream(script) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/v1"
        with Stack(request.param, UPSTREAM_URL=url, ZTOAPI_MAX_TRIES="1") as stack:
            yield stack, upstream, script


def opened(kind: str, number: int) -> list[Fields]:
    """The messages of the client that open a turn."""
    turn: Fields = {"role": "user", "content": [{"type": "text", "text": f"{kind} {number} \u00e9"}]}
    if kind != "note":
        return [turn]
    return [turn, {"role": "system", "content": [{"type": "text", "text": f"note {number}"}]}]


def results(message: Fields) -> list[Fields]:
    """The results of the calls in ``message``, in another order than the calls."""
    blocks = [
        {
            "type": "tool_result",
            "tool_use_id": block["id"],
            "content": FOUND if block["name"] == "ToolSearch" else f"content of {block['id']}",
            "cache_control": {"type": "ephemeral"},
        }
        for block in message["content"]  # type: ignore[attr-defined]
        if block["type"] == "tool_use"
    ]
    return [{"role": "user", "content": blocks[::-1]}] if blocks else []


def ask(stack: Stack, messages: list[Fields], number: int) -> Fields:
    """One request as Claude Code sends it: its billing line differs from request to request."""
    body = {
        "model": "glm-5.3",
        "max_tokens": 1000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "system": [
            {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2; cch={number:05x};"},
            {"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral"}},
        ],
        "messages": messages,
        "tools": TOOLS,
    }
    answer = httpx.post(f"{stack.url}/v1/messages?beta=true", json=body)
    assert answer.status_code == 200, answer.text
    message: Fields = answer.json()
    return {"role": "assistant", "content": message["content"]}


@given(st.lists(st.sampled_from(KINDS), min_size=2, max_size=5))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_request_begins_with_the_messages_of_the_last_one(
    conversing: tuple[Stack, RawUpstream, Scripted], kinds: list[str]
) -> None:
    stack, upstream, script = conversing
    upstream.bodies.clear()
    messages: list[Fields] = []
    count = 0
    for number, kind in enumerate(kinds):
        messages += opened(kind, number)
        script.calls = [CALLS.get(kind, []), []]
        while True:
            count += 1
            messages.append(ask(stack, messages, count))
            answered = results(messages[-1])
            if not answered:
                break
            messages += answered
    sent = [msgspec.json.decode(body, type=_Sent) for body in upstream.bodies]
    assert len(sent) == count
    for before, after in pairwise(sent):
        assert bytes(after.messages).startswith(bytes(before.messages)[:-1] + b",")
    last = bytes(sent[-1].messages)
    assert b"billing" not in last
    # Thinking goes back to the model, and a deferred tool is there once it was found.
    assert last.count(b"thought") == count - 1
    names = [tool["function"]["name"] for tool in sent[-1].tools]  # type: ignore[index]
    assert names == ["Read", "ToolSearch", *(["Edit"] if "search" in kinds else [])]
