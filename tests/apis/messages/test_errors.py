"""Errors as clients of the Messages API read them."""

import json

import pytest

from tests.support.table import table
from ztoapi.apis.messages.errors import describe_length, error_response
from ztoapi.errors import ApiError, Failure, UpstreamError, shutting_down


def read(error: ApiError) -> tuple[int, str, str, dict[str, str]]:
    status, lines, encoded = error_response(error, "req_1")
    body = json.loads(encoded)
    assert set(body) == {"type", "error", "request_id"}
    assert (body["type"], body["request_id"]) == ("error", "req_1")
    headers = dict(line.split(": ") for line in lines.decode("ascii").splitlines())
    assert headers.pop("request-id") == "req_1"
    return status, body["error"]["type"], body["error"]["message"], headers


@table(
    ("failure", "status", "type", "headers"),
    [
        (Failure.THROTTLED, 429, "rate_limit_error", {}),
        (Failure.OVERLOADED, 529, "overloaded_error", {"retry-after": "4"}),
        (Failure.UNAVAILABLE, 529, "overloaded_error", {"retry-after": "4"}),
        (Failure.QUOTA, 429, "rate_limit_error", {"x-should-retry": "false"}),
        (Failure.REFUSED, 502, "api_error", {"x-should-retry": "false"}),
        (Failure.NO_MODEL, 404, "not_found_error", {}),
        (Failure.FORBIDDEN, 403, "permission_error", {}),
        (Failure.POLICY, 400, "invalid_request_error", {}),
        (Failure.TOO_LARGE, 413, "request_too_large", {}),
        (Failure.TIMEOUT, 504, "timeout_error", {}),
        (Failure.FAILED, 502, "api_error", {}),
        (Failure.INTERNAL, 500, "api_error", {}),
    ],
)
def test_failures_of_the_upstream(failure: Failure, status: int, type: str, headers: dict[str, str]) -> None:
    assert read(UpstreamError("no", failure)) == (status, type, "no", headers)


@pytest.mark.parametrize(
    ("status", "sent", "type"),
    [
        (400, 400, "invalid_request_error"),
        (402, 402, "billing_error"),
        (405, 405, "invalid_request_error"),
        (415, 400, "invalid_request_error"),
        (422, 400, "invalid_request_error"),
    ],
)
def test_errors_of_the_request(status: int, sent: int, type: str) -> None:
    assert read(ApiError("no", code="c", status=status)) == (sent, type, "no", {})


def test_a_missing_key_names_the_scheme() -> None:
    headers = {"www-authenticate": 'Bearer realm="ztoapi"'}
    assert read(ApiError("no", status=401, code="missing_api_key")) == (401, "authentication_error", "no", headers)


def test_a_thread_has_the_details_that_the_sdks_read() -> None:
    error = ApiError("no", code="thread_unsupported_request", param="thread")
    body = json.loads(error_response(error, "req_1")[2])
    assert body["error"] == {
        "type": "invalid_request_error",
        "message": "no",
        "details": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
    }


def test_retry_after_is_whole_seconds() -> None:
    assert read(UpstreamError("no", Failure.THROTTLED, retry_after=1.2))[3] == {"retry-after": "2"}
    assert read(UpstreamError("no", Failure.OVERLOADED, retry_after=0.0))[3] == {"retry-after": "1"}
    assert read(shutting_down())[0] == 529


@table(
    ("message", "shown"),
    [
        (
            "This model's maximum context length is 8192 tokens. However, you requested 9,000 tokens.",
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        (
            "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
            "prompt is too long: 9000 tokens > 8192 maximum",
        ),
        *(
            (message, "prompt is too long: 9000 tokens > 8192 maximum")
            for message in (
                "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
                "prompt is too long: 9000 tokens > 8192 maximum",
                "The input token count (9000) exceeds the maximum number of tokens allowed (8192).",
                "This model's maximum prompt length is 8192 but the request contains 9000 tokens.",
                "prompt token count of 9000 exceeds the limit of 8192",
                "Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)",
                "The decoder prompt (length 9000) is longer than the maximum model length of 8192.",
                "The prompt (total length 9000) is too long to fit into the model (context length 8192).",
            )
        ),
        (
            "prompt too long; exceeded max context length by 200 tokens",
            "prompt is too long: 210000 tokens > 204800 maximum",
        ),
        ("the request exceeds the available context size", "prompt is too long: 210000 tokens > 204800 maximum"),
        ("Prompt exceeds max length (upstream code 1261)", "prompt is too long: 210000 tokens > 204800 maximum"),
    ],
)
def test_a_long_prompt_has_the_words_that_start_a_compaction(message: str, shown: str) -> None:
    error = UpstreamError(message, Failure.CONTEXT)
    describe_length(error, 210_000, 204_800)
    assert read(error)[:3] == (400, "invalid_request_error", shown)


def test_a_long_prompt_by_a_low_estimate_is_still_too_long() -> None:
    error = UpstreamError("Prompt exceeds max length", Failure.CONTEXT)
    describe_length(error, 5, 8192)
    assert error.message == "prompt is too long: 8193 tokens > 8192 maximum"
    error = UpstreamError("Prompt exceeds max length", Failure.CONTEXT)
    describe_length(error, 5, None)
    assert error.message == "prompt is too long: Prompt exceeds max length"
    describe_length(error, 5, None)
    assert error.message == "prompt is too long: Prompt exceeds max length"


def test_other_messages_stay() -> None:
    error = UpstreamError("no capacity for 9000 tokens", Failure.OVERLOADED)
    describe_length(error, 5, 8192)
    assert error.message == "no capacity for 9000 tokens"
