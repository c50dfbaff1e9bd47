"""Defects of the project that this one succeeds, those that are not tested elsewhere under their number.

Elsewhere: 1, 3, 4 (dialects/test_openai.py, test_zai_web.py), 5 (dialects/test_request.py), 7, 10, 16, 17
(gateway/test_http.py), 8 (dialects/test_collect.py), 9, 12 (config/test_load.py).
"""

import json
import math
import socket

import httpx
import pytest

from tests.stack import Stack
from ztoapi.errors import Ending

MESSAGES = [{"role": "user", "content": "x"}]


def test_defect_02_an_event_longer_than_any_line_buffer_passes(stack: Stack) -> None:
    body = {"model": "glm-4.6:fault=huge:size=300000:tokens=4:reasoning=0", "messages": MESSAGES, "stream": True}
    lines = httpx.post(stack.base_url + "/chat/completions", json=body).text.split("\n\n")
    longest = max(lines, key=len)
    assert len(json.loads(longest[6:])["choices"][0]["delta"]["content"]) >= 300000
    assert "data: [DONE]" in lines


def test_defect_06_sampling_parameters_reach_the_upstream(stack: Stack) -> None:
    sent = {"temperature": 0.25, "top_p": 0.5, "max_tokens": 7, "stop": ["x"], "seed": 3}
    httpx.post(stack.base_url + "/chat/completions", json={"model": "glm-4.6", "messages": MESSAGES, **sent})
    last = stack.stats()["last_request"]
    assert isinstance(last, dict)
    assert {name: last["body"][name] for name in sent} == sent


def test_defect_11_a_disconnect_reaches_the_upstream(stack: Stack) -> None:
    body = {"model": "glm-4.6:itl=5:tokens=100000", "messages": MESSAGES, "stream": True}
    with httpx.stream("POST", stack.base_url + "/chat/completions", json=body) as response:
        next(response.iter_lines())
    stack.wait_for(lambda: stack.simulator.stats.cancels == 1)
    assert stack.record().ending is Ending.CLIENT_DISCONNECT


@pytest.mark.parametrize("path", ["/dashboard/stats", "/dashboard/requests", "/metrics"])
def test_defect_13_nothing_is_shown_without_a_key(path: str) -> None:
    with Stack(ADMIN_KEY="right") as stack:
        assert httpx.get(stack.url + path).status_code == 401


def test_defect_14_every_request_gets_an_answer_of_its_own(stack: Stack) -> None:
    start = "the same first words of two different questions, longer than a hundred characters in all, " * 2
    for ending in ("first", "second"):
        body = {"model": "glm-4.6", "messages": [{"role": "user", "content": start + ending}]}
        httpx.post(stack.base_url + "/chat/completions", json=body)
        last = stack.stats()["last_request"]
        assert isinstance(last, dict)
        assert last["body"]["messages"][0]["content"].endswith(ending)
    assert stack.stats()["requests"] == 2


def test_defect_15_times_are_recorded_on_every_ending_and_finite(stack: Stack) -> None:
    for number, model in enumerate(("glm-4.6", "glm-4.6:fault=1113", "glm-4.6:fault=truncate"), 1):
        body = {"model": model, "messages": MESSAGES, "stream": True}
        try:
            httpx.post(stack.base_url + "/chat/completions", json=body)
        except httpx.RemoteProtocolError:
            pass
        record = stack.record(number)
        assert record.finished is not None
        assert math.isfinite(record.finished - record.started)
        assert record.finished >= record.started


def test_secrets_in_a_malformed_head_are_not_echoed(stack: Stack) -> None:
    with socket.create_connection(("127.0.0.1", stack.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nauthorization : Bearer canary-5521\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"canary" not in answer
