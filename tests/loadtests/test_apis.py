"""The streams of each client API, as several servers write them."""

import json

import pytest

from loadtests.apis import APIS, error_message, path_of
from loadtests.questions import Object, Question, Upstream
from loadtests.sse import Stream

ANY = Question(body=b"", deltas=None)
HELLO: list[Object] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
MESSAGES = [
    b'data: {"type":"message_start","message":{"usage":{"input_tokens":1}}}',
    b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Hm"}}',
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}',
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}',
    b'data: {"type":"message_stop"}',
]
RESPONSES = [
    b'data: {"type":"response.created","response":{"status":"in_progress","error":null}}',
    b'data: {"type":"response.reasoning_summary_text.delta","delta":"Hm"}',
    b'data: {"type":"response.output_text.delta","delta":"Hi"}',
    b'data: {"type":"response.output_text.done","text":"Hi"}',
    b'data: {"type":"response.completed","response":{"status":"completed","error":null}}',
]
VLLM = [
    b'data: {"id":"1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}',
    b'data: {"id":"1","choices":[{"index":0,"delta":{"reasoning":"Hm"},"finish_reason":null}]}',
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null,"token_ids":null}]}',
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop","stop_reason":null}]}',
    b'data: {"id":"1","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}',
    b"data: [DONE]",
]
LLAMA_CPP = [
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"created":1}',
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"reasoning_content":"Hm"}}],"created":1}',
    b'data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}],"created":1}',
    b'data: {"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"timings":{"predicted_ms":3.1}}',
    b"data: [DONE]",
]


def read(api: str, lines: list[bytes]) -> Stream:
    stream = APIS[api].stream()
    for number, line in enumerate(lines):
        stream.take(line + b"\n", float(number))
    return stream


@pytest.mark.parametrize(
    ("api", "lines"),
    [("messages", MESSAGES), ("responses", RESPONSES), ("chat", VLLM), ("chat", LLAMA_CPP)],
    ids=["messages", "responses", "vllm", "llama.cpp"],
)
def test_a_stream_is_whole_only_with_its_end(api: str, lines: list[bytes]) -> None:
    stream = read(api, lines)
    assert (stream.fault(ANY), stream.deltas, stream.text[-1]) == ("", 2, "Hi")
    cut = read(api, lines[:-1])
    assert cut.truncated and cut.fault(ANY).startswith(f"truncated: no {stream.end_mark}")


@pytest.mark.parametrize(
    ("api", "line", "fault"),
    [
        (
            "messages",
            b'data: {"type":"error","error":{"type":"overloaded_error","message":"m"}}',
            "overloaded_error: m",
        ),
        ("responses", b'data: {"type":"error","code":"server_error","message":"m"}', "server_error: m"),
        ("responses", b'data: {"type":"response.failed","response":{"error":{"code":"c","message":"m"}}}', "c: m"),
        ("chat", b'data: {"error":{"code":500,"message":"m","type":"server_error"}}', "500: m"),
    ],
)
def test_error_events_are_failures_and_no_truncation(api: str, line: bytes, fault: str) -> None:
    stream = read(api, [line])
    assert (stream.fault(ANY), stream.truncated) == (f"in-band error {fault}", False)


def test_requests_have_the_format_of_their_api() -> None:
    bodies = {api: json.loads(Upstream("m", real=True, api=api).question(HELLO, tokens=5).body) for api in APIS}
    assert bodies == {
        "chat": {"model": "m", "stream": True, "messages": HELLO, "max_tokens": 5},
        "messages": {"model": "m", "stream": True, "messages": HELLO[1:], "system": "Be brief.", "max_tokens": 5},
        "responses": {"model": "m", "stream": True, "input": HELLO, "max_output_tokens": 5},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("base_url", "chat", "messages"),
    [
        ("http://h:1", "/v1/chat/completions", "/v1/messages"),
        ("http://h:1/", "/v1/chat/completions", "/v1/messages"),
        ("http://h:1/v1", "/chat/completions", "/messages"),
        ("http://h:1/v1/", "/chat/completions", "/messages"),
        ("https://api.z.ai/api/paas/v4", "/chat/completions", "/v1/messages"),
        ("https://api.z.ai/api/anthropic", "/chat/completions", "/v1/messages"),
    ],
)
def test_a_base_url_may_have_the_version_or_lack_it(base_url: str, chat: str, messages: str) -> None:
    assert (path_of(APIS["chat"], base_url), path_of(APIS["messages"], base_url)) == (chat, messages)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"error":{"message":"' + "m" * 500 + '","type":"invalid_request_error","code":"x"}}', "m" * 500),
        ('{"type":"error","error":{"type":"not_found_error","message":"no"},"request_id":"r"}', "no"),
        ('{"object":"error","message":"of vLLM","code":404}', '{"object":"error","message":"of vLLM","code":404}'),
        ('{"error":{"code":1}}', '{"error":{"code":1}}'),
        ('{"detail":"Not Found"}', '{"detail":"Not Found"}'),
        ("<html>" + "x" * 500, "<html>" + "x" * 114),
        ("", ""),
    ],
)
def test_the_message_of_an_error_is_whole_and_another_body_is_shortened(text: str, message: str) -> None:
    assert error_message(text) == message
