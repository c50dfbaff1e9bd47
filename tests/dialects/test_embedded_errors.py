"""An error in a successful response is the same error as an event and as a whole response."""

import json
from typing import Any

import pytest

from tests.support.table import table
from ztoapi.dialects.openai import NO_REWRITE, OpenAIReader, Rewrite, completion
from ztoapi.errors import Failure, UpstreamError

REWRITES = table("rewrite", [NO_REWRITE, Rewrite("", "m", normalise=False), Rewrite("id", "m", normalise=True)])
DELTA = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
LAST = {**DELTA, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
NO_CHOICES: list[dict[str, Any]] = [{}, {"choices": []}, {"choices": None}, {"choices": [], "usage": USAGE}]

ERRORS: list[tuple[dict[str, Any], Failure]] = [
    ({"code": 429, "message": "slow down"}, Failure.THROTTLED),
    ({"code": "429", "msg": "slow down"}, Failure.THROTTLED),
    ({"code": 429}, Failure.THROTTLED),
    ({"error": None, "code": 429, "message": "slow down"}, Failure.THROTTLED),
    ({"error": {}, "code": "rate_limit_exceeded", "message": "slow down"}, Failure.THROTTLED),
    ({"error": {"code": 503, "message": "busy"}}, Failure.OVERLOADED),
    ({"error": "busy", "status": 503}, Failure.OVERLOADED),
    ({"code": 1302, "msg": "slow down"}, Failure.THROTTLED),
    ({"code": "weird", "message": "it failed"}, Failure.UNEXPECTED),
    ({"code": -1, "msg": "it failed"}, Failure.UNEXPECTED),
    ({"status": 503, "message": "busy"}, Failure.OVERLOADED),
    ({"statusCode": 401, "message": "no"}, Failure.REFUSED),
    ({"status_code": 500}, Failure.SERVER_ERROR),
    ({"status": "error", "message": "it failed"}, Failure.UNEXPECTED),
    ({"status": "RESOURCE_EXHAUSTED", "message": "slow down"}, Failure.THROTTLED),
    ({"type": "overloaded_error", "message": "busy"}, Failure.OVERLOADED),
    ({"type": "error", "message": "it failed"}, Failure.UNEXPECTED),
    ({"object": "error", "message": "it failed", "code": 400}, Failure.INVALID),
    ({"errorCode": 429, "errorMessage": "slow down"}, Failure.THROTTLED),
    ({"error_code": 110, "error_msg": "it failed"}, Failure.UNEXPECTED),
    ({"success": False, "message": "it failed"}, Failure.UNEXPECTED),
    ({"detail": "not here"}, Failure.UNEXPECTED),
    ({"errors": {"model": ["is unknown"]}}, Failure.UNEXPECTED),
    ({"errors": [{"code": 429, "message": "slow down"}]}, Failure.THROTTLED),
    ({"data": {"code": 429, "message": "slow down"}}, Failure.THROTTLED),
    ({"code": 0, "data": {"error": {"code": 429, "message": "slow down"}}}, Failure.THROTTLED),
    ({"code": 200, "data": {"data": {"status": 429, "msg": "slow down"}}}, Failure.THROTTLED),
    ({"code": 500, "message": "busy", "data": None}, Failure.SERVER_ERROR),
]
ERROR_CASES = table(("error", "failure"), ERRORS, ids=lambda value: json.dumps(value, default=str))

GOOD: list[dict[str, Any]] = [
    {},
    {"error": None},
    {"error": {}, "code": 0},
    {"error": "", "code": None, "message": None},
    {"code": 200, "message": "ok"},
    {"code": "0", "msg": ""},
    {"code": "Success", "message": "done"},
    {"status": "completed"},
    {"status": "success", "message": "done"},
    {"status": 200, "message": "done"},
    {"status": "in_progress", "message": "please wait"},
    {"success": True, "message": "done"},
    {"detail": None},
    {"errors": []},
    {"data": {}},
    {"data": {"status": "completed"}},
    {"prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}]},
    {"type": "ping"},
]
GOOD_CASES = table("good", GOOD, ids=json.dumps)


def encoded(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def reader(rewrite: Rewrite, *, include_usage: bool = True) -> OpenAIReader:
    return OpenAIReader(rewrite, {}, include_usage=include_usage)


@REWRITES
@ERROR_CASES
def test_a_whole_response(rewrite: Rewrite, error: dict[str, Any], failure: Failure) -> None:
    for rest in NO_CHOICES:
        with pytest.raises(UpstreamError) as caught:
            completion(encoded({"id": "c", **rest, **error}), rewrite)
        assert caught.value.failure is failure, rest


@REWRITES
@table("before", [(), (DELTA,), (DELTA, DELTA, LAST)], ids=len)
@ERROR_CASES
def test_an_event(
    rewrite: Rewrite, before: tuple[dict[str, Any], ...], error: dict[str, Any], failure: Failure
) -> None:
    for rest in NO_CHOICES:
        reading = reader(rewrite)
        for one in before:
            reading.feed(event(one))
        reading.feed(event({**rest, **error}))
        assert reading.error is not None, rest
        assert reading.error.failure is failure, rest


@REWRITES
@GOOD_CASES
def test_a_whole_response_without_an_error(rewrite: Rewrite, good: dict[str, Any]) -> None:
    """Choices may be missing, but not their list."""
    body, usage = completion(encoded({"id": "c", "choices": [], "usage": USAGE, **good}), rewrite)
    assert json.loads(body)["choices"] == []
    assert usage is not None and usage.total_tokens == 3


@REWRITES
@table("include_usage", [True, False])
@GOOD_CASES
def test_an_event_without_an_error(rewrite: Rewrite, include_usage: bool, good: dict[str, Any]) -> None:
    reading = reader(rewrite, include_usage=include_usage)
    for one in (good, DELTA, good, LAST, {"choices": [], "usage": USAGE, **good}):
        reading.feed(event(one))
    assert reading.error is None
    assert reading.usage is not None and reading.usage.total_tokens == 3
    assert reading.feed(b"data: [DONE]\n\n").endswith(b"data: [DONE]\n\n")


@REWRITES
@ERROR_CASES
def test_beside_choices_only_an_error_counts(rewrite: Rewrite, error: dict[str, Any], failure: Failure) -> None:
    del failure
    body = encoded({"id": "c", **error, "choices": [{"index": 0, "message": {}, "finish_reason": "stop"}]})
    reading = reader(rewrite)
    reading.feed(event({**error, **DELTA}))
    if error.get("error"):
        assert reading.error is not None
        with pytest.raises(UpstreamError):
            completion(body, rewrite)
    else:
        assert reading.error is None
        completion(body, rewrite)
