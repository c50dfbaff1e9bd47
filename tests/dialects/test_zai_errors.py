"""Upstream errors in OpenAI's terms."""

import pytest

from ztoapi.dialects.zai_errors import read_error, refusal


@pytest.mark.parametrize(
    ("code", "status", "mapped", "retryable"),
    [
        ("1113", 429, "insufficient_quota", False),
        ("1211", 404, "model_not_found", False),
        ("1210", 400, "invalid_request", False),
        ("1261", 400, "context_length_exceeded", False),
        ("1301", 400, "content_policy_violation", False),
        ("1302", 429, "rate_limit_exceeded", True),
        ("1303", 429, "rate_limit_exceeded", True),
        ("1305", 503, "upstream_overloaded", True),
        ("1308", 429, "insufficient_quota", False),
        ("1312", 503, "upstream_overloaded", True),
        ("1234", 502, "upstream_error", True),
        ("500", 502, "upstream_error", True),
        ("1001", 502, "upstream_auth_error", False),
        ("1311", 403, "upstream_forbidden", False),
    ],
)
@pytest.mark.parametrize("shape", [b'{"error":{"code":"%s","message":"m"}}', b'{"code":%s,"message":"m"}'])
def test_codes(code: str, status: int, mapped: str, retryable: bool, shape: bytes) -> None:
    error = read_error(shape % code.encode(), 429, 3.0)
    assert (error.status, error.code, error.retryable) == (status, mapped, retryable)
    assert error.upstream_code == code
    assert error.retry_after == 3.0
    assert "m" in error.message


@pytest.mark.parametrize(("status", "mapped"), [(401, 502), (404, 404), (429, 429), (500, 502), (503, 503), (529, 503)])
def test_statuses_speak_where_no_code_does(status: int, mapped: int) -> None:
    assert read_error(b'{"error":{"message":"m"}}', status).status == mapped


def test_an_error_page_is_not_passed_on() -> None:
    error = refusal(405, b"text/html", b"<html><body>secret-page</body></html>", None)
    assert "secret-page" not in error.message
    assert error.status == 400 or error.status >= 500


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"error":[]}', b"[" * 100000])
def test_anything_can_be_read(body: bytes) -> None:
    assert read_error(body, 500).status == 502


def test_an_odd_answer_with_status_200_is_not_tried_again() -> None:
    error = refusal(200, b"application/json", b'{"choices":[]}', None)
    assert (error.status, error.retryable) == (502, False)
