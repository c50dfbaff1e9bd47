"""chat.z.ai's stream in, OpenAI's chunks out."""

import datetime
import json
import tracemalloc
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.dialects.chunk_writer import ChunkWriter
from ztoapi.dialects.reader import Reader
from ztoapi.dialects.thinking import ThinkMode
from ztoapi.dialects.zai_web import MESSAGE_MAX_CHARS, WebReader, build, refusal
from ztoapi.errors import ApiError, Ending, UpstreamError

GOLDEN = Path(__file__).parent / "golden"
NOW = datetime.datetime(2026, 1, 1, 8, 5, 9, tzinfo=datetime.UTC)
DONE = b'data: {"type":"chat:completion","data":{"phase":"done","done":true}}\n\n'


def reader(mode: ThinkMode = "reasoning", *, include_usage: bool = False) -> WebReader:
    return WebReader(
        ChunkWriter("chatcmpl-1", 1767225600, "glm-4.6", include_usage=include_usage), mode, include_usage=include_usage
    )


def event(**data: object) -> bytes:
    return b"data: " + json.dumps({"type": "chat:completion", "data": data}).encode() + b"\n\n"


def answer(text: str) -> bytes:
    return event(phase="answer", delta_content=text)


def chunks(out: bytes) -> list[dict[str, object]]:
    payloads = [part.removeprefix(b"data: ") for part in out.split(b"\n\n")[:-1]]
    return [json.loads(payload) for payload in payloads if payload != b"[DONE]"]


def text(out: bytes, field: str = "content") -> str:
    found = ""
    for chunk in chunks(out):
        for choice in chunk["choices"]:  # type: ignore[attr-defined]
            found += choice["delta"].get(field) or ""
    return found


def finish_reasons(out: bytes) -> list[str]:
    reasons = [choice["finish_reason"] for chunk in chunks(out) for choice in chunk["choices"]]  # type: ignore[attr-defined]
    return [reason for reason in reasons if reason]


def failed(one: WebReader) -> UpstreamError:
    assert one.error is not None
    assert not one.done
    return one.error


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def test_golden_thinking_stream() -> None:
    one = reader(include_usage=True)
    assert one.feed(golden("zai_web_thinking.sse")) == golden("zai_web_thinking.expected.sse")
    assert one.done
    assert one.error is None
    assert one.rewrites == 0
    assert one.reparses == 1
    assert one.usage is not None
    assert one.usage.total_tokens == 21
    assert one.eof() == b""


def test_reader_keeps_the_contract() -> None:
    one: Reader = reader()
    assert not one.done


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_line_ending_does_not_matter(ending: bytes) -> None:
    stream = golden("zai_web_thinking.sse").replace(b"\n", ending)
    assert reader(include_usage=True).feed(stream) == golden("zai_web_thinking.expected.sse")


@pytest.mark.parametrize(
    ("mode", "reasoning", "content"),
    [
        ("strip", "", "Four."),
        ("think", "", "<think>Add them.\nEasy.</think>Four."),
        ("reasoning", "Add them.\nEasy.", "Four."),
        (
            "raw",
            "",
            '<details type="reasoning" done="true" duration="2">\n'
            + "<summary>Thought for 2 seconds</summary>\n> Add them.\n> Easy.\n</details>\nFour.",
        ),
    ],
)
def test_mode_of_a_whole_stream(mode: ThinkMode, reasoning: str, content: str) -> None:
    one = reader(mode)
    out = one.feed(golden("zai_web_thinking.sse"))
    assert text(out, "reasoning_content") == reasoning
    assert text(out) == content
    assert one.rewrites == 0


def test_role_comes_just_before_the_first_delta() -> None:
    one = reader("strip")
    assert one.feed(event(phase="thinking", delta_content='<details type="reasoning" done="false">\n> a')) == b""
    first = chunks(one.feed(event(phase="answer", delta_content="\n</details>\nHi")))
    assert [chunk["choices"][0]["delta"] for chunk in first] == [  # type: ignore[index]
        {"role": "assistant", "content": ""},
        {"content": "Hi"},
    ]


def test_defect_01_whitespace_at_delta_boundaries_is_kept() -> None:
    pieces = [" one", " ", "\n", "\n  two ", "\t", "three", " \n"]
    one = reader()
    out = b"".join(one.feed(answer(piece)) for piece in pieces) + one.feed(DONE)
    assert text(out) == "".join(pieces)
    one = reader()
    opening = '<details type="reasoning" done="false">\n<summary>s</summary>\n> '
    thinking = [opening + " one", " ", "\n>  two ", "\t", "\n> \n> three "]
    out = b"".join(one.feed(event(phase="thinking", delta_content=piece)) for piece in thinking) + one.feed(DONE)
    assert text(out, "reasoning_content") == " one \n two \t\n\nthree "


def test_defect_02_long_line_is_read_whole() -> None:
    long = "x" * 300_000
    assert text(reader().feed(answer(long))) == long


@pytest.mark.parametrize(
    "block",
    [
        b'data: {"type":"chat:completion","data":{"error":{"code":429,"detail":"too many requests"},"done":true}}\n\n',
        b'data: {"error":{"code":429,"detail":"too many requests"}}\n\n',
        b'data: {"type":"chat:completion","data":{"data":{"error":{"code":"429","detail":"slow"},"done":true}}}\n\n',
        b'data: {"type":"chat:completion","data":{"error":{"detail":"Concurrency limit reached"}}}\n\n',
        b'data: {"type":"chat:completion","data":{"error":"Too many requests"}}\n\n',
        b'data: {"type":"chat:message:error","data":{"error":{"code":429}}}\n\n',
        b'data: {"detail":{"code":429,"message":"slow"}}\n\n',
    ],
)
def test_defect_03_in_stream_error_is_an_error(block: bytes) -> None:
    one = reader()
    assert one.feed(block + DONE) == b""
    error = failed(one)
    assert (error.status, error.code, error.retryable) == (429, "rate_limit_exceeded", True)


def test_defect_03_error_after_text_keeps_the_text_and_never_finishes() -> None:
    one = reader()
    out = one.feed(answer("Fo") + event(error={"code": 500, "detail": "boom"}, done=True) + DONE)
    assert text(out) == "Fo"
    assert finish_reasons(out) == []
    assert b"[DONE]" not in out
    error = failed(one)
    assert (error.status, error.upstream_code, error.retryable) == (502, "500", True)
    assert "boom" in error.message


def test_error_gives_out_what_was_held_back() -> None:
    one = reader()
    out = one.feed(event(phase="thinking", delta_content='<details type="reasoning" done="false">\n> Add'))
    assert out == b""
    assert text(one.feed(event(error="boom")), "reasoning_content") == "Add"


def test_defect_04_usage_is_the_upstreams() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 12,
        "total_tokens": 21,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    one = reader(include_usage=True)
    out = one.feed(answer("Hi") + event(phase="other", usage=usage) + DONE)
    assert chunks(out)[-1]["usage"] == usage
    assert chunks(out)[-1]["choices"] == []
    without = reader(include_usage=True)
    assert all(chunk["usage"] is None for chunk in chunks(without.feed(answer("Hi") + DONE)))
    assert without.usage is None


def test_usage_of_another_shape_is_not_invented() -> None:
    one = reader()
    one.feed(answer("Hi") + event(usage={"prompt_tokens": "many"}) + DONE)
    assert one.done
    assert one.usage is None


def test_defect_16_ids_are_the_callers() -> None:
    out = reader().feed(answer("Hi") + DONE)
    assert {chunk["id"] for chunk in chunks(out)} == {"chatcmpl-1"}
    other = WebReader(
        ChunkWriter("chatcmpl-2", 1767225600, "glm-4.6", include_usage=False), "strip", include_usage=False
    )
    assert {chunk["id"] for chunk in chunks(other.feed(answer("Hi") + DONE))} == {"chatcmpl-2"}


@pytest.mark.parametrize(
    "terminator",
    [
        b"data: [DONE]\n\n",
        b'data: {"type":"chat:completion","data":{"data":"[DONE]"}}\n\n',
        b'data: {"type":"chat:completion","data":"[DONE]"}\n\n',
        b'data: {"type":"chat:completion:finish"}\n\n',
        b'data: {"type":"chat:completion:finish","data":{}}\n\n',
        b'data: {"type":"chat:completion","data":{"done":true}}\n\n',
        b'data: {"type":"chat:completion","data":{"phase":"done"}}\n\n',
    ],
)
def test_terminators(terminator: bytes) -> None:
    one = reader()
    out = one.feed(answer("Hi")) + one.feed(terminator + answer("ignored"))
    assert one.done
    assert text(out) == "Hi"
    assert finish_reasons(out) == ["stop"]
    assert out.endswith(b"data: [DONE]\n\n")


def test_last_event_may_carry_text() -> None:
    assert text(reader().feed(event(phase="answer", delta_content="Hi", done=True))) == "Hi"


def test_end_without_a_terminator_is_truncated() -> None:
    one = reader()
    out = one.feed(answer("Hi <"))
    out += one.eof()
    assert text(out) == "Hi "
    error = failed(one)
    assert (error.ending, error.code, error.retryable) == (Ending.TRUNCATED, "upstream_truncated", False)


@pytest.mark.parametrize("stream", [b"", b": keepalive\n\n", b'data: {"type":"chat:title","data":{}}\n\n'])
def test_empty_stream_is_an_error_worth_another_try(stream: bytes) -> None:
    one = reader()
    assert one.feed(stream) + one.eof() == b""
    assert (failed(one).code, failed(one).retryable) == ("upstream_empty", True)


def test_finish_without_an_answer_is_an_error() -> None:
    one = reader()
    assert one.feed(DONE) == b""
    assert (failed(one).code, failed(one).retryable) == ("upstream_empty", True)


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"[1",
        b'{"type":"chat:completion","data":[1]}',
        b'{"data":{"edit_index":-1}}',
        b'{"data":7}',
        b'{"type":"chat:title","data":{"phase":',
        b'{"type":"chat:completion","data":{"tool_calls":7}}',
    ],
)
def test_malformed_event_is_an_error(payload: bytes) -> None:
    one = reader()
    assert one.feed(b"data: %b\n\n" % payload + DONE) == b""
    assert failed(one).code == "upstream_malformed"


@table(
    "payload",
    [
        b"12",
        b'"text"',
        b"null",
        b"[1]",
        b'{"type":"chat:title","data":{"phase":"answer","delta_content":"Title"}}',
        b'{"type":"chat:tags","data":["a","b"]}',
        b'{"type":"source","data":{"phase":7}}',
        b'{"type":"chat:completion","data":{"phase":"search","results":[{"title":"x"}],"sources":[]}}',
        b'{"type":"chat:completion","data":{"phase":"tool_call","delta_content":"{\\"query\\":1}"}}',
        b'{"type":"chat:completion","data":null}',
        b'{"type":"chat:completion","data":{"error":null,"usage":null}}',
    ],
)
def test_what_is_not_the_answer_is_skipped(payload: bytes) -> None:
    one = reader()
    out = one.feed(answer("a") + b"data: %b\n\n" % payload + answer("b") + DONE)
    assert text(out) == "ab"
    assert one.done


def test_tool_block_never_reaches_the_answer() -> None:
    one = reader()
    block = '<glm_block tool_call_name="search">{"a":"<b>"}'
    out = one.feed(answer("Look: "))
    out += one.feed(event(phase="tool_call", edit_index=6, edit_content=block))
    out += one.feed(event(phase="tool_call", edit_index=6 + 31, edit_content='{"result":[]}</glm_block>'))
    out += one.feed(answer("found.") + DONE)
    assert text(out) == "Look: found."
    assert one.rewrites == 0


def test_two_rounds_of_thinking() -> None:
    one = reader()
    first = '<details type="reasoning" done="true" duration="1">\n<summary>s</summary>\n> a\n</details>\n'
    out = one.feed(event(phase="thinking", delta_content='<details type="reasoning" done="false">\n> a'))
    out += one.feed(event(phase="tool_call", edit_index=25, edit_content=first[25:] + "<glm_block>{}</glm_block>"))
    out += one.feed(event(phase="thinking", delta_content='<details type="reasoning" done="false">\n> b'))
    out += one.feed(event(phase="answer", edit_content=first + first.replace("> a", "> b") + "c") + DONE)
    assert text(out, "reasoning_content") == "a\n\nb"
    assert text(out) == "c"
    assert one.rewrites == 0


def test_absent_index_is_the_start_and_an_empty_edit_without_one_is_nothing() -> None:
    one = reader()
    out = one.feed(event(phase="answer", edit_content="abc") + event(edit_content="") + event(content=""))
    assert text(out + one.feed(event(edit_content="abcd") + DONE)) == "abcd"
    assert one.rewrites == 0


def test_content_gives_the_message_whole() -> None:
    one = reader()
    out = one.feed(event(content="ab") + event(content="abc") + event(content="abX") + DONE)
    assert text(out) == "abcX"
    assert one.rewrites == 1


def test_edit_may_be_json_in_a_string() -> None:
    out = reader().feed(event(edit_content=json.dumps("line\nnext \u00e9")) + DONE)
    assert text(out) == "line\nnext \u00e9"


@pytest.mark.parametrize("quoted", ['"Hello"', '"', '"a" and "b\\d"'])
def test_answer_in_quotation_marks_keeps_them(quoted: str) -> None:
    assert text(reader().feed(event(edit_content=quoted) + DONE)) == quoted


def test_message_without_a_bound_is_refused() -> None:
    one = reader()
    one.feed(answer("x" * MESSAGE_MAX_CHARS))
    assert one.error is None
    one.feed(answer("x"))
    assert failed(one).code == "upstream_response_too_large"


def test_tool_calls_are_deltas() -> None:
    calls = [
        {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": {"a": 2}}},
        {"id": "call_2", "type": "function", "function": {"name": "sub", "arguments": '{"b":'}},
    ]
    one = reader()
    out = one.feed(event(phase="answer", tool_calls=calls))
    out += one.feed(event(tool_calls=[{"id": "call_2", "function": {"arguments": "3}"}}]))
    out += one.feed(event(tool_calls=[{"index": 1, "function": {"arguments": " "}}]) + DONE)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(out)]  # type: ignore[index]
    assert deltas[1] == {
        "tool_calls": [
            {
                "index": 0,
                "id": "call_1",
                "type": "function",
                "function": {"name": "add", "arguments": json.dumps({"a": 2})},
            },
            {"index": 1, "id": "call_2", "type": "function", "function": {"name": "sub", "arguments": '{"b":'}},
        ]
    }
    assert deltas[2]["tool_calls"][0]["index"] == 1
    assert deltas[3] == {"tool_calls": [{"index": 1, "function": {"arguments": " "}}]}
    assert finish_reasons(out) == ["tool_calls"]


def test_two_readers_share_nothing() -> None:
    one, other = reader(), reader("think")
    parts = golden("zai_web_thinking.sse").split(b"\n\n")[:-1]
    outs = [b"", b""]
    for part in parts:
        outs[0] += one.feed(part + b"\n\n")
        outs[1] += other.feed(part + b"\n\n")
    assert outs[0] == reader().feed(golden("zai_web_thinking.sse"))
    assert outs[1] == reader("think").feed(golden("zai_web_thinking.sse"))


def test_long_answer_costs_no_copy_of_itself() -> None:
    one = reader()
    for _ in range(100):
        one.feed(answer("x" * 10_000))
    tracemalloc.start()
    try:
        one.feed(answer("y"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000
    assert one.reparses == 0


@given(
    st.sampled_from(["strip", "think", "raw", "reasoning"]),
    st.lists(st.text(st.sampled_from("ab <>\n/\u00e9\U0001f600"), min_size=1, max_size=8), max_size=8),
    st.data(),
)
def test_grouping_of_events_does_not_matter(mode: ThinkMode, texts: list[str], data: st.DataObject) -> None:
    parts = golden("zai_web_thinking.sse").split(b"\n\n")[:-1]
    parts[4:4] = [answer(piece).removesuffix(b"\n\n") for piece in texts]
    one = reader(mode)
    out = b""
    while parts:
        size = data.draw(st.integers(1, len(parts)))
        out += one.feed(b"".join(part + b"\n\n" for part in parts[:size]))
        del parts[:size]
    assert one.done
    if mode == "strip":
        # Nothing in the alphabet makes a whole marker.
        assert text(out) == "Four." + "".join(texts)
    whole = reader(mode).feed(out_stream(texts))
    assert (text(out), text(out, "reasoning_content")) == (text(whole), text(whole, "reasoning_content"))


def out_stream(texts: list[str]) -> bytes:
    parts = golden("zai_web_thinking.sse").split(b"\n\n")[:-1]
    parts[4:4] = [answer(piece).removesuffix(b"\n\n") for piece in texts]
    return b"".join(part + b"\n\n" for part in parts)


@table(
    ("status", "body", "expected"),
    [
        (
            426,
            b'{"detail":"Your client version is outdated"}',
            (502, "upstream_client_check", False),
        ),
        (426, b"", (502, "upstream_client_check", False)),
        (400, b'{"detail":"client check failed"}', (502, "upstream_client_check", False)),
        (401, b'{"detail":"Client verification failed"}', (502, "upstream_client_check", False)),
        (403, b'{"detail":{"code":"FRONTEND_CAPTCHA_REQUIRED"}}', (502, "upstream_client_check", False)),
        (200, b'{"error":{"code":"FRONTEND_CAPTCHA_REQUIRED"}}', (502, "upstream_client_check", False)),
        (405, b"<!doctype html><title>405</title>", (502, "upstream_client_check", False)),
        (502, b"<html>Bad gateway", (502, "upstream_error", True)),
        (401, b'{"detail":"token expired"}', (502, "upstream_auth_error", False)),
        (403, b'{"detail":"no"}', (403, "upstream_forbidden", False)),
        (404, b'{"detail":"Not Found"}', (404, "model_not_found", False)),
        (429, b'{"detail":"slow down"}', (429, "rate_limit_exceeded", True)),
        (400, b'{"detail":"concurrency exceeded"}', (429, "rate_limit_exceeded", True)),
        (400, b'{"detail":"bad model"}', (400, "invalid_request", False)),
        (500, b'{"detail":"boom"}', (502, "upstream_error", True)),
        (503, b"", (503, "upstream_overloaded", True)),
        (418, b"teapot", (502, "upstream_error", False)),
    ],
)
def test_refusal(status: int, body: bytes, expected: tuple[int, str, bool]) -> None:
    error = refusal(status, body)
    assert (error.status, error.code, error.retryable) == expected


def test_a_refused_client_gets_a_hint_to_the_official_api() -> None:
    error = refusal(426, b"{}")
    assert "https://api.z.ai" in error.message
    assert "API key" in error.message
    assert error.upstream_code == "426"


def test_refusal_in_a_stream() -> None:
    one = reader()
    one.feed(event(error={"code": "FRONTEND_CAPTCHA_REQUIRED", "detail": "captcha"}, done=True))
    assert failed(one).code == "upstream_client_check"


def test_refusal_keeps_retry_after_and_a_bounded_message() -> None:
    error = refusal(429, json.dumps({"detail": "a\nb " * 500}).encode(), 7.0)
    assert error.retry_after == 7.0
    assert len(error.message) < 400
    assert "\n" not in error.message


def fields(**values: object) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in values.items()}


def request(thinking: bool | None = None, **values: object) -> dict[str, object]:
    body = build(fields(**values), model="GLM-4-6-API-V1", thinking=thinking, chat_id="c1", message_id="m1", now=NOW)
    decoded = json.loads(body)
    assert isinstance(decoded, dict)
    return decoded


def test_request_body() -> None:
    body = request(
        thinking=True,
        messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "2+2?", "name": "ann"}],
        temperature=0.2,
        max_completion_tokens=64,
        top_p=None,
        tools=[{"type": "function", "function": {"name": "add"}}],
        stream=False,
        user="someone",
    )
    assert body["stream"] is True
    assert body["model"] == "GLM-4-6-API-V1"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2+2?", "name": "ann"},
    ]
    assert body["params"] == {"temperature": 0.2, "max_tokens": 64}
    assert body["features"]["enable_thinking"] is True  # type: ignore[index]
    assert (body["chat_id"], body["id"]) == ("c1", "m1")
    assert body["tools"] == [{"type": "function", "function": {"name": "add"}}]
    assert "tool_choice" not in body
    assert "user" not in body
    variables = body["variables"]
    assert variables["{{CURRENT_DATETIME}}"] == "2026-01-01 08:05:09"  # type: ignore[index]
    assert variables["{{CURRENT_WEEKDAY}}"] == "Thursday"  # type: ignore[index]
    assert variables["{{CURRENT_TIMEZONE}}"] == "UTC"  # type: ignore[index]


def test_request_leaves_thinking_to_the_upstream() -> None:
    assert "enable_thinking" not in request(messages=[])["features"]  # type: ignore[operator]


def test_defect_05_array_content_is_accepted() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    body = request(
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
            {"role": "user", "content": [{"type": "text", "text": "see"}, image]},
            {"role": "assistant", "content": None},
        ]
    )
    assert [message["content"] for message in body["messages"]] == [  # type: ignore[attr-defined]
        "one two",
        [{"type": "text", "text": "see"}, image],
        None,
    ]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ("text", "messages"),
        ([1], "messages[0]"),
        ([{"role": "user", "content": [1]}], "messages[0].content[0]"),
        (
            [{"role": "user"}, {"role": "user", "content": [{"type": "text"}, {"text": 1}]}],
            "messages[1].content[1].text",
        ),
    ],
)
def test_request_with_wrong_messages_is_refused(messages: object, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        request(messages=messages)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_request_carries_no_credentials_and_no_client_proofs() -> None:
    body = json.dumps(request(messages=[])).lower()
    assert not any(word in body for word in ("token", "signature", "captcha", "fingerprint"))
