"""Errors have the codes that clients act on."""

import json

from tests.support.table import table
from ztoapi.apis.responses.errors import error_body, failure
from ztoapi.errors import ApiError, Failure, UpstreamError, shutting_down


@table(
    ("error", "code"),
    [
        (ApiError("long", status=400, code="context_length_exceeded"), "context_length_exceeded"),
        (UpstreamError("used up", Failure.QUOTA), "insufficient_quota"),
        (UpstreamError("full", Failure.OVERLOADED), "server_is_overloaded"),
        (UpstreamError("slow down", Failure.THROTTLED), "rate_limit_exceeded"),
        (ApiError("slow down", code="c", status=429), "rate_limit_exceeded"),
        (ApiError("no", status=400, code="content_policy_violation"), "invalid_prompt"),
        (UpstreamError("broken", Failure.CUT_OFF), "server_error"),
        (shutting_down(), "server_error"),
    ],
)
def test_the_code_of_a_failure(error: ApiError, code: str) -> None:
    assert failure(error) == {"code": code, "message": error.message}


def test_a_rate_limit_names_the_time_to_wait() -> None:
    error = ApiError("Too many requests.", status=429, code="c", retry_after=1.2)
    assert failure(error)["message"] == "Too many requests. Please try again in 2s."


def test_a_time_to_wait_is_not_named_twice() -> None:
    error = ApiError("Please Try again in 7s.", status=429, code="c", retry_after=1.2)
    assert failure(error)["message"] == "Please Try again in 7s."


def test_an_error_has_openais_shape() -> None:
    error = ApiError("input is empty", param="input", code="c")
    assert json.loads(error_body(error)) == {
        "error": {"message": "input is empty", "type": "invalid_request_error", "param": "input", "code": "c"}
    }


def test_a_used_up_quota_shows_its_reset() -> None:
    error = UpstreamError("used up", Failure.QUOTA, reset_at=1_764_000_000.5)
    body = json.loads(error_body(error))["error"]
    assert (body["type"], body["resets_at"]) == ("usage_limit_reached", 1_764_000_000)
