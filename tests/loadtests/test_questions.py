"""Requests of the load tests: the simulator accepts them, and its responses have the requested number of deltas."""

import json
import time

import httpx
import pytest

from loadtests.questions import Object, Question, Upstream, text_of
from loadtests.sse import Stream
from tests.stack import Stack

ASKS: list[Object] = [{"role": "user", "content": "x"}]
CALL: Object = {"id": "call_1", "type": "function", "function": {"name": "search", "arguments": "{}"}}
RESULT: list[Object] = [
    *ASKS,
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "y"},
]
SIMULATED = Upstream("glm-4.6", real=False)


def answer(stack: Stack, question: Question) -> Stream:
    stream = Stream()
    with httpx.stream("POST", f"{stack.base_url}/chat/completions", content=question.body) as response:
        for line in response.iter_lines():
            stream.take(line.encode() + b"\n", time.perf_counter())
    return stream


@pytest.mark.parametrize("messages", [ASKS, RESULT], ids=["asks", "result"])
@pytest.mark.parametrize("with_tools", [False, True], ids=["plain", "tools"])
def test_the_simulator_answers_as_announced(messages: list[Object], with_tools: bool) -> None:
    question = SIMULATED.question(messages, tokens=7, settings="itl=0:ttft=0", with_tools=with_tools)
    calls = with_tools and messages is ASKS
    with Stack() as stack:
        stream = answer(stack, question)
    assert stream.fault(question) == ""
    assert (len(stream.calls) == 1) is calls
    assert question.deltas == (None if calls else 11)
    assert stream.deltas == (question.deltas or stream.deltas)


def test_a_real_upstream_gets_a_plain_name_and_a_limit() -> None:
    question = Upstream("glm-4.6", real=True).question(ASKS, tokens=7, settings="itl=0", with_tools=True)
    body = json.loads(question.body)
    assert (body["model"], body["max_tokens"], question.deltas, question.must_call) == ("glm-4.6", 7, None, False)


@pytest.mark.parametrize("size", [0, 1, 95, 300_000])
def test_text_has_the_requested_length(size: int) -> None:
    assert len(text_of(size).encode()) == size
