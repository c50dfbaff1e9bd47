"""zread's calls and its stream: bytes in, OpenAI's chunks out."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.dialects import zread_request
from ztoapi.dialects.chunk_writer import ChunkWriter
from ztoapi.dialects.collect import Collector
from ztoapi.dialects.reader import Reader
from ztoapi.dialects.thinking import ThinkMode
from ztoapi.dialects.zread import ZreadReader, refusal
from ztoapi.dialects.zread_request import Repository, Target, choose, query
from ztoapi.errors import ApiError, Ending, UpstreamError

GOLDEN = Path(__file__).parent / "golden"
FINISH = b"event:finish\ndata:{}\n\n"


def golden(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


def reader(mode: ThinkMode = "reasoning") -> ZreadReader:
    return ZreadReader(ChunkWriter("chatcmpl-1", 1767225600, "glm-4.5", include_usage=False), mode, include_usage=False)


def event(name: str, **data: object) -> bytes:
    return f"event:{name}\ndata:{json.dumps(data)}\n\n".encode()


def collected(out: bytes) -> dict[str, object]:
    collector = Collector()
    collector.feed(out)
    message = json.loads(collector.body())["choices"][0]["message"]
    assert isinstance(message, dict)
    return message


def fields(**values: object) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in values.items()}


def failed(one: ZreadReader) -> UpstreamError:
    assert one.error is not None
    assert not one.done
    return one.error


def test_golden_answer_stream() -> None:
    one = reader()
    assert one.feed(golden("zread_answer.sse")) == golden("zread_answer.expected.sse")
    assert one.done
    assert one.usage is None
    assert one.eof() == b""


def test_reader_keeps_the_contract() -> None:
    one: Reader = reader()
    assert not one.done


@pytest.mark.parametrize(
    ("mode", "reasoning", "content"),
    [
        ("strip", None, "It lives in app.py."),
        ("think", None, "<think>Look at the router. </think>It lives in app.py."),
        ("raw", "Look at the router. ", "It lives in app.py."),
        ("reasoning", "Look at the router. ", "It lives in app.py."),
    ],
)
def test_mode_of_a_whole_stream(mode: ThinkMode, reasoning: str | None, content: str) -> None:
    message = collected(reader(mode).feed(golden("zread_answer.sse")))
    assert message["content"] == content
    assert message.get("reasoning_content") == reasoning


def test_reasoning_goes_out_at_once() -> None:
    assert b'"reasoning_content":"a"' in reader().feed(event("answer", reasoning_content="a"))


def test_defect_01_whitespace_at_delta_boundaries_is_kept() -> None:
    pieces = [" a", " ", "\n", "\n b "]
    one = reader()
    out = b"".join(one.feed(event("answer", text=piece, reasoning_content="")) for piece in pieces)
    assert collected(out + one.feed(FINISH))["content"] == "".join(pieces)


def test_defect_03_in_stream_error_is_an_error() -> None:
    one = reader()
    out = one.feed(event("answer", text="a") + event("error", code=429, msg="slow") + FINISH)
    assert b"[DONE]" not in out
    assert (failed(one).status, failed(one).retryable, failed(one).upstream_code) == (429, True, "429")


@pytest.mark.parametrize("data", [b"", b"boom", b"{}", b'{"message":"boom"}', b'"boom"'])
def test_error_of_any_shape(data: bytes) -> None:
    one = reader()
    one.feed(b"event:error\ndata:%b\n\n" % data)
    assert (failed(one).status, failed(one).code) == (502, "upstream_error")


def test_defect_04_no_invented_usage() -> None:
    one = ZreadReader(ChunkWriter("chatcmpl-1", 1, "glm-4.5", include_usage=True), "strip", include_usage=True)
    out = one.feed(golden("zread_answer.sse"))
    assert one.usage is None
    assert b"total_tokens" not in out
    assert b'"usage":null' in out


def test_defect_08_answer_is_text_and_not_the_stream() -> None:
    content = collected(reader("strip").feed(golden("zread_answer.sse")))["content"]
    assert content == "It lives in app.py."


def test_content_is_read_where_text_is_missing() -> None:
    assert collected(reader().feed(event("answer", content="a") + FINISH))["content"] == "a"


@pytest.mark.parametrize(
    ("whole", "content"), [("ab", "ab"), ("abc", "abc"), ("a", "ab"), ("xyz", "ab"), ("", "ab"), (None, "ab")]
)
def test_end_of_a_round_only_adds_what_is_missing(whole: str | None, content: str) -> None:
    out = reader().feed(event("answer", text="ab") + event("round_finish", text=whole) + FINISH)
    assert collected(out)["content"] == content


def test_rounds_are_compared_apart() -> None:
    out = reader().feed(
        event("answer", text="a") + event("round_finish", text="a") + event("round_finish", text="b") + FINISH
    )
    assert collected(out)["content"] == "ab"


def test_unknown_events_are_skipped() -> None:
    out = reader().feed(event("answer", text="a") + b"event:progress\ndata:x\n\ndata: y\n\n: z\n\n" + FINISH)
    assert collected(out)["content"] == "a"


@pytest.mark.parametrize("name", ["answer", "round_finish"])
@pytest.mark.parametrize("data", ["{", "[]", '{"text":1}'])
def test_malformed_event_is_an_error(name: str, data: str) -> None:
    one = reader()
    assert one.feed(f"event:{name}\ndata:{data}\n\n".encode() + FINISH) == b""
    assert failed(one).code == "upstream_malformed"


def test_end_without_finish_is_truncated() -> None:
    one = reader()
    one.feed(event("answer", text="a") + event("round_finish", text="a"))
    assert one.eof() == b""
    assert (failed(one).ending, failed(one).retryable) == (Ending.TRUNCATED, False)


@pytest.mark.parametrize("stream", [b"", FINISH, event("answer", text="")])
def test_empty_stream_is_an_error_worth_another_try(stream: bytes) -> None:
    one = reader()
    assert one.feed(stream) + one.eof() == b""
    assert (failed(one).code, failed(one).retryable) == ("upstream_empty", True)


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=8), st.data())
def test_grouping_of_events_does_not_matter(texts: list[str], data: st.DataObject) -> None:
    parts = [event("answer", text=text, reasoning_content=text) for text in texts] + [FINISH]
    one = reader("think")
    out = b""
    while parts:
        size = data.draw(st.integers(1, len(parts)))
        out += one.feed(b"".join(parts[:size]))
        del parts[:size]
    assert collected(out)["content"] == "".join(f"<think>{text}</think>{text}" for text in texts)


@table(
    ("status", "expected"),
    [
        (403, (403, "upstream_forbidden", False)),
        (429, (429, "rate_limit_exceeded", True)),
        (503, (503, "upstream_overloaded", True)),
        (500, (502, "upstream_error", True)),
    ],
)
@table("body", [b"<html>Just a moment...", b'{"code":1,"msg":"no"}', b""])
def test_refusal(status: int, expected: tuple[int, str, bool], body: bytes) -> None:
    error = refusal(status, body, 30.0)
    assert (error.status, error.code, error.retryable) == expected
    assert error.retry_after == 30.0
    assert "<html>" not in error.message


def test_calls() -> None:
    repository = Repository("r1", "w1")
    assert zread_request.repository_call(Target("glm-4.5", "octo-org", "a.b_c")) == zread_request.JSONCall(
        "GET", "/repo/github/octo-org/a.b_c"
    )
    assert zread_request.wiki_call(repository) == zread_request.JSONCall("GET", "/wiki/w1")
    assert zread_request.talk_call() == zread_request.JSONCall("POST", "/talk", b'{"query":" "}')
    call = zread_request.message_call("t1", repository, "p1", "Where?", "glm-4.5")
    assert (call.method, call.path) == ("POST", "/talk/t1/message")
    assert json.loads(call.body) == {
        "parent_message_id": "",
        "query": "Where?",
        "context": {"wiki": {"wiki_id": "w1", "page_id": "p1"}, "repo": {"repo_id": "r1"}},
        "model": "glm-4.5",
    }


def test_answers() -> None:
    assert zread_request.repository_of(b'{"code":0,"msg":"","data":{"repo_id":"r1","wiki_id":7}}') == Repository(
        "r1", "7"
    )
    assert zread_request.page_of(b'{"code":0,"data":{"pages":[{"page_id":"p1","slug":"a"},{"page_id":"p2"}]}}') == "p1"
    assert zread_request.talk_of(b'{"code":0,"data":{"talk_id":"t1"}}') == "t1"


@pytest.mark.parametrize(
    "body",
    [
        b'{"code":0,"data":{"repo_id":"r1","wiki_id":""}}',
        b'{"code":0,"data":{"repo_id":"r1"}}',
        b'{"code":0,"data":null}',
        b'{"code":1,"msg":"repo not indexed"}',
    ],
)
def test_repository_without_a_wiki_is_the_clients_matter(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        zread_request.repository_of(body)
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "repository_not_indexed", "repository")
    assert not isinstance(caught.value, UpstreamError)


def test_wiki_without_pages_is_not_indexed() -> None:
    with pytest.raises(ApiError) as caught:
        zread_request.page_of(b'{"code":0,"data":{"pages":[]}}')
    assert caught.value.code == "repository_not_indexed"


def test_nonzero_code_is_an_upstream_error() -> None:
    with pytest.raises(UpstreamError) as caught:
        zread_request.talk_of(b'{"code":10001,"msg":"login first"}')
    assert caught.value.upstream_code == "10001"
    assert "login first" in caught.value.message


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"code":0,"data":{}}', b'{"code":0,"data":{"talk_id":"../x"}}']
)
def test_unusable_answer_is_an_upstream_error(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        zread_request.talk_of(body)
    assert caught.value.code == "upstream_malformed"


def test_repository_comes_from_field_then_model_then_configuration() -> None:
    assert choose(fields(repository="a/b", repo="c/d"), "m@e/f", "g/h") == Target("m", "a", "b")
    assert choose(fields(repository=None, repo="c/d"), "m@e/f", "g/h") == Target("m", "c", "d")
    assert choose({}, "m@e/f", "g/h") == Target("m", "e", "f")
    assert choose({}, "m", "g/h") == Target("m", "g", "h")


def test_missing_repository_names_the_field() -> None:
    with pytest.raises(ApiError) as caught:
        choose({}, "glm-4.5", None)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "repository", "missing_repository")


@pytest.mark.parametrize("name", ["octo-org/a.b_c", "a/b", "A1/.github", "user_corp/x", "a" * 39 + "/" + "b" * 100])
def test_valid_repository_names(name: str) -> None:
    target = choose(fields(repo=name), "m", None)
    assert f"{target.owner}/{target.name}" == name


@table(
    "name",
    [
        "",
        "a",
        "a/",
        "/b",
        "a/b/c",
        "../b",
        "a/..",
        "a/.",
        "-a/b",
        "a-/b",
        "a--b/c",
        "a/b?x",
        "a/b%2f",
        "a/b\n",
        "a\n/b",
        "a b/c",
        "a/b c",
        "\u00e9/b",
        "a" * 40 + "/b",
        "a/" + "b" * 101,
        "a\\b/c",
        ["a/b"],
        {"a": "b"},
        7,
    ],
)
def test_invalid_repository_names(name: object) -> None:
    with pytest.raises(ApiError) as caught:
        choose(fields(repo=name), "m", None)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, "repo", "invalid_repository")


def test_single_question_is_the_query() -> None:
    assert query(fields(messages=[{"role": "user", "content": " Where? "}])) == " Where? "


def test_history_is_flattened_with_the_last_question_last() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Wh"}, {"type": "text", "text": "ere?"}]},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "tool", "content": "grep", "tool_call_id": "c"},
        {"role": "assistant", "content": "In app.py."},
        {"role": "user", "content": "Which line?"},
        {"role": "assistant", "content": "It is"},
    ]
    assert query(fields(messages=messages)) == (
        "Be brief.\n\nConversation so far:\n\nUser: Where?\n\nTool: grep\n\nAssistant: In app.py.\n\n"
        "Assistant: It is\n\nQuestion: Which line?"
    )


@pytest.mark.parametrize("messages", [[], [{"role": "system", "content": "x"}]])
def test_no_user_message(messages: list[object]) -> None:
    with pytest.raises(ApiError) as caught:
        query(fields(messages=messages))
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "no_user_message", "messages")


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ("x", "messages"),
        ([{"role": 1}], "messages[0].role"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], "messages"),
    ],
)
def test_messages_without_a_question(messages: object, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        query(fields(messages=messages))
    assert (caught.value.status, caught.value.param) == (400, param)
