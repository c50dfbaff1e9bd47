"""Errors of upstreams in the shapes of many servers: the words reach the client, and the status is the right one."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.dialects import zai_web_errors, zread
from ztoapi.dialects.reports import presentable, read_report
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import Fault, UpstreamError

WORDS = "max_tokens is too large"

SHAPES: dict[str, Any] = {
    "openai": {"error": {"message": WORDS, "type": "t", "param": None, "code": None}},
    "flat": {"object": "error", "message": WORDS, "type": "t", "param": None, "code": None},
    "string": {"error": WORDS},
    "beside a type": {"error": WORDS, "error_type": "validation"},
    "fastapi text": {"detail": WORDS},
    "fastapi list": {"detail": [{"loc": ["body", "x"], "msg": WORDS, "type": "value_error"}]},
    "fastapi object": {"detail": {"error": {"message": WORDS}}},
    "gemini": [{"error": {"code": None, "message": WORDS, "status": "X"}}],
    "anthropic": {"type": "error", "error": {"type": "t", "message": WORDS}, "request_id": "r"},
    "nestjs": {"message": [WORDS], "error": "Bad Request", "statusCode": None},
    "spring": {"timestamp": 1, "status": None, "error": "Bad Request", "message": WORDS, "path": "/"},
    "nested message": {"error": {"message": {"detail": WORDS}, "code": "x"}},
    "nested error": {"error": {"error": {"message": WORDS}}},
    "msg": {"code": None, "msg": WORDS},
    "errors": {"errors": [{"message": WORDS}]},
    "errors of strings": {"errors": [WORDS]},
    "errors by field": {"title": "One or more errors", "errors": {"max_tokens": [WORDS]}},
    "laravel": {"message": "The given data was invalid.", "errors": {"max_tokens": [WORDS]}},
    "openrouter": {"error": {"message": "Provider returned error", "metadata": {"raw": WORDS}}},
    "json in a message": {"error": {"message": json.dumps({"error": {"message": WORDS}})}},
    "problem": {"type": "about:blank", "title": WORDS, "status": None},
    "problem with detail": {"title": "Bad", "detail": WORDS},
    "oauth": {"error": "invalid_request", "error_description": WORDS},
    "aws": {"Error": {"Code": "X", "Message": WORDS}},
    "error message": {"errorMessage": WORDS},
    "unknown": {"x": {"y": WORDS}},
    "a list of strings": [WORDS],
    "a string": WORDS,
}


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


def errors_of(body: bytes, status: int) -> list[UpstreamError]:
    return [read_error(body, status), zai_web_errors.refusal(status, body), zread.refusal(status, body)]


@table("status", [400, 422, 429, 500])
@table("shape", SHAPES)
def test_the_words_reach_the_client(shape: str, status: int) -> None:
    for error in errors_of(encoded(SHAPES[shape]), status):
        assert WORDS in error.message
        assert error.status == {400: 400, 422: 400, 429: 429, 500: 502}[status]


@table(
    ("body", "text"),
    [
        (b"", ""),
        (b"null", ""),
        (b"upstream connect error", "upstream connect error"),
        (b"\xef\xbb\xbf upstream\r\nconnect\x00error \xff", "upstream connect error \ufffd"),
        (b'{"error":{"message":"cut off', '{"error":{"message":"cut off'),
        (b'{"error":{"message":"\\ud83d cut"}}', "cut"),
        (b'data: {"error":{"message":"busy"}}\n\ndata: [DONE]\n\n', "busy"),
        (b'event: error\ndata: {"type":"error","error":{"message":"busy"}}\n\n', "busy"),
        (b"503", "503"),
    ],
)
def test_bodies_that_are_no_json_object(body: bytes, text: str) -> None:
    assert read_report(body).text == text or text in read_report(body).text


@pytest.mark.parametrize(
    ("page", "title"),
    [
        (b"<html><head><title>502 Bad &amp; Gateway</title></head><body>x</body></html>", "502 Bad & Gateway"),
        (b"<!DOCTYPE html>\n<HTML><TITLE lang=en> Just a\nmoment... </TITLE><script>f()</script>", "Just a moment..."),
        (b"<html><title>&lt;script&gt;</title>", ""),
        (b"<html><body>secret</body></html>", ""),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", ""),
        (b"\xef\xbb\xbf \n<h1>no</h1>", ""),
        (b"oops <html><title>t</title>", "t"),
    ],
)
def test_of_a_page_only_the_title(page: bytes, title: str) -> None:
    assert read_report(page) == ((), title, None, True)
    for error in errors_of(page, 502):
        assert "an HTML page" in error.message
        assert title in error.message
        assert "<" not in error.message


LIMIT = (429, "rate_limit_exceeded", Fault.THROTTLED, True)
OVERLOAD = (503, "upstream_overloaded", Fault.OVERLOADED, True)
QUOTA = (429, "insufficient_quota", Fault.QUOTA, False)
INVALID = (400, "invalid_request", Fault.REQUEST, False)
CONTEXT = (400, "context_length_exceeded", Fault.REQUEST, False)
REFUSED = (502, "upstream_auth_error", Fault.REFUSED, False)
PERHAPS = (502, "upstream_error", Fault.REQUEST, True)
FAILING = (502, "upstream_error", Fault.UPSTREAM, True)
ODD = (502, "upstream_error", Fault.REQUEST, False)
Outcome = tuple[int, str, Fault, bool]

IN_A_SUCCESS: list[Any] = [
    *(({"code": code}, LIMIT) for code in (429, "429", 429.0, "429.0", " 429 ", "rate_limit_exceeded")),
    *(({"code": code}, LIMIT) for code in ("RateLimitError", "too_many_requests", "RESOURCE_EXHAUSTED", "1302")),
    *(({"code": code}, OVERLOAD) for code in (503, "503", 529, "overloaded_error", "service_unavailable", 1305)),
    *(({"code": code}, INVALID) for code in (400, 400.0, "400", 422, "invalid_request_error", "1210", 1214.0)),
    *(({"code": code}, PERHAPS) for code in (500, "500", "server_error", "internal_error", "INTERNAL")),
    *(({"code": code}, FAILING) for code in (502, 504, "1234", "DEADLINE_EXCEEDED")),
    *(({"code": code}, REFUSED) for code in (401, "invalid_api_key", "UNAUTHENTICATED", "1001")),
    *(({"code": code}, QUOTA) for code in (402, "insufficient_quota", "billing_hard_limit_reached", 1113)),
    *(({"code": code}, CONTEXT) for code in ("context_length_exceeded", "ContextWindowExceededError", "1261")),
    *(({"code": code}, ODD) for code in (None, 7, -1, "x", True, 200, 99999, 1e300, [429], {"a": 429}, "٤٢٩")),
    ({"type": "rate_limit_error"}, LIMIT),
    ({"type": "overloaded_error"}, OVERLOAD),
    ({"type": "insufficient_quota", "code": None}, QUOTA),
    ({"type": "insufficient_quota", "code": 429}, QUOTA),
    ({"type": "api_error"}, PERHAPS),
    ({"type": "invalid_request_error", "code": "context_length_exceeded"}, CONTEXT),
    ({"type": "invalid_request_error", "code": 429}, LIMIT),
    ({"status": "RESOURCE_EXHAUSTED", "code": 429}, LIMIT),
    ({"status": "UNAVAILABLE"}, OVERLOAD),
    ({"status": "INVALID_ARGUMENT", "code": 400}, INVALID),
    ({"statusCode": 429}, LIMIT),
    ({"status_code": 503}, OVERLOAD),
]


@table(("fields", "outcome"), IN_A_SUCCESS)
def test_codes_in_a_success_act_as_the_status(fields: dict[str, object], outcome: Outcome) -> None:
    error = {"message": "words", **fields}
    for body in ({"error": error}, error, [{"error": error}], {"choices": [], "error": error}):
        found = read_error(encoded(body), 200)
        assert (found.status, found.code, found.fault, found.retryable) == outcome
        assert "words" in found.message


@table(
    ("status", "body", "outcome"),
    [
        (429, {"error": {"type": "insufficient_quota", "code": "insufficient_quota"}}, QUOTA),
        (429, {"error": {"type": "requests", "code": "rate_limit_exceeded"}}, LIMIT),
        (400, {"type": "error", "error": {"type": "x", "message": "Your credit balance is too low to use it"}}, QUOTA),
        (403, {"error": {"code": "insufficient_user_quota"}}, QUOTA),
        (400, {"error": {"type": "invalid_request_error", "code": "context_length_exceeded"}}, CONTEXT),
        (401, {"error": {"type": "invalid_request_error", "code": "invalid_api_key"}}, REFUSED),
        (500, {"error": {"type": "rate_limit_error"}}, LIMIT),
        (500, {"error": {"type": "invalid_request_error", "code": 400}}, PERHAPS),
        (529, {"type": "error", "error": {"type": "overloaded_error"}}, OVERLOAD),
        (404, {"error": {"type": "invalid_request_error"}}, (404, "model_not_found", Fault.REQUEST, False)),
        (403, {"error": {"code": "model_not_found"}}, (403, "upstream_forbidden", Fault.REQUEST, False)),
        (422, {"detail": [{"loc": ["body", "x"], "msg": "m", "type": "value_error"}]}, INVALID),
    ],
)
def test_certain_codes_hold_against_the_status(status: int, body: object, outcome: Outcome) -> None:
    found = read_error(encoded(body), status)
    assert (found.status, found.code, found.fault, found.retryable) == outcome


def test_the_field_is_named() -> None:
    body = {
        "detail": [{"loc": ["body", "messages", 0, "role"], "msg": "no"}, {"loc": ["body", "n"], "msg": "too many"}]
    }
    error = read_error(encoded(body), 422)
    assert (error.message, error.param) == ("messages.0.role: no; n: too many", "messages.0.role")
    assert read_error(encoded({"error": {"message": "m", "param": "stop"}}), 400).param == "stop"


@table(
    ("code", "status", "fault"),
    [
        (429, 429, Fault.THROTTLED),
        ("429", 429, Fault.THROTTLED),
        ("rate_limit_exceeded", 429, Fault.THROTTLED),
        ("insufficient_quota", 429, Fault.QUOTA),
        (503, 503, Fault.OVERLOADED),
        ("overloaded_error", 503, Fault.OVERLOADED),
        (400, 400, Fault.REQUEST),
        (401, 502, Fault.REFUSED),
        (None, 502, Fault.REQUEST),
    ],
)
def test_web_dialects_read_the_same_codes(code: object, status: int, fault: Fault) -> None:
    body = encoded({"error": {"code": code, "detail": "words"}})
    for error in errors_of(body, 200)[1:]:
        assert (error.status, error.fault) == (status, fault)
        assert "words" in error.message


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text()
    | st.sampled_from(["429", "insufficient_quota", "[", '{"error":"x"}', "\ud83d"]),
    lambda values: (
        st.lists(values, max_size=4)
        | st.dictionaries(
            st.sampled_from("error errors message detail msg code status type loc param statusCode raw title".split())
            | st.text(max_size=3),
            values,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(
    st.one_of(_json.map(lambda value: json.dumps(value).encode()), st.binary(max_size=200)),
    st.sampled_from([200, 204, 302, 400, 401, 402, 403, 404, 413, 422, 429, 451, 500, 503, 529, 599]),
)
def test_any_body_is_an_error_that_can_be_sent(body: bytes, status: int) -> None:
    for error in errors_of(body, status):
        assert error.status in (400, 403, 404, 413, 429, 502, 503)
        assert len(error.message) < 2200
        assert error.message.isprintable()
        error.message.encode("utf-8")
        (error.upstream_code or "").encode("utf-8")
        (error.param or "").encode("utf-8")


@pytest.mark.parametrize("body", [b"[" * 100000, b'{"error":' * 5000 + b"1" + b"}" * 5000, b"9" * 5000, b'"' * 70000])
def test_deep_and_long_bodies(body: bytes) -> None:
    assert len(read_report(body).text) <= 2000


@given(st.text())
def test_presentable_text_is_one_line_without_controls(text: str) -> None:
    shown = presentable(text)
    assert shown.isprintable()
    assert shown == presentable(shown)
