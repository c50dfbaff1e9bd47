"""Upstream errors in OpenAI's terms."""

import json

import pytest

from tests.support.table import table
from ztoapi.dialects.reports import Report
from ztoapi.dialects.web_errors import status_error
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import Fault


@table(
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
@table("shape", [b'{"error":{"code":"%s","message":"m"}}', b'{"code":%s,"message":"m"}'])
def test_codes(code: str, status: int, mapped: str, retryable: bool, shape: bytes) -> None:
    error = read_error(shape % code.encode(), 429, 3.0)
    assert (error.status, error.code, error.retryable) == (status, mapped, retryable)
    assert error.upstream_code == code
    assert error.retry_after == 3.0
    assert "m" in error.message


@pytest.mark.parametrize(("status", "mapped"), [(401, 502), (404, 404), (429, 429), (500, 502), (503, 503), (529, 503)])
def test_the_status_decides_without_a_code(status: int, mapped: int) -> None:
    assert read_error(b'{"error":{"message":"m"}}', status).status == mapped


def test_an_error_page_is_not_passed_on() -> None:
    error = read_error(b"<html><body>secret-page</body></html>", 405)
    assert "secret-page" not in error.message
    assert error.status == 400 or error.status >= 500


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"error":[]}', b"[" * 100000])
def test_anything_can_be_read(body: bytes) -> None:
    assert read_error(body, 500).status == 502


def test_an_odd_answer_with_status_200_is_not_tried_again() -> None:
    error = read_error(b'{"choices":[]}', 200)
    assert (error.status, error.retryable) == (502, False)


@pytest.mark.parametrize(
    ("fault", "codes", "statuses"),
    [
        (Fault.REFUSED, "1000 1001 1002 1003 1004 1100 1110 1111 1112 1120 1121", "401"),
        (Fault.QUOTA, "1113 1304 1308 1309 1310 1313", "402"),
        (Fault.THROTTLED, "1302 1303", "429"),
        (Fault.EXCLUDED, "1220 1311", ""),
        (Fault.OVERLOADED, "1305 1312", "503 529"),
        (Fault.UPSTREAM, "1234", "502 504"),
        (
            Fault.REQUEST,
            "500 1200 1210 1211 1212 1213 1214 1215 1221 1222 1230 1231 1261 1300 1301",
            "200 400 403 404 405 408 413 422 434 435 500 599",
        ),
    ],
)
def test_whose_fault_it_is(fault: Fault, codes: str, statuses: str) -> None:
    for code in codes.split():
        assert read_error(b'{"error":{"code":"%s","message":"m"}}' % code.encode(), 400).fault is fault, code
    for status in statuses.split():
        assert read_error(b'{"error":{"message":"m"}}', int(status)).fault is fault, status
        if status != "200":
            assert status_error("chat.z.ai", Report(), int(status)).fault is fault, status


@pytest.mark.parametrize(
    ("code", "text", "reset_at"),
    [
        # Both as seen; the time is Beijing's.
        ("1308", "Usage limit reached for 5 hour. Your limit will reset at 2026-09-12 00:35:41", 1789144541.0),
        ("1310", "\u60a8\u7684\u9650\u989d\u5c06\u5728 2026-09-12 00:35:41 \u91cd\u7f6e", 1789144541.0),
        ("1308", "Usage limit reached for 5 hour.", None),
        ("1308", "Your limit will reset at 2026-99-12 00:35:41", None),
        ("1302", "Your limit will reset at 2026-09-12 00:35:41", None),
    ],
)
def test_when_a_quota_is_whole_again(code: str, text: str, reset_at: float | None) -> None:
    body = json.dumps({"error": {"code": code, "message": text}})
    assert read_error(body.encode("utf-8"), 429).reset_at == reset_at
