"""The outcome of a request: the same on the dashboard, in the metrics and in the history."""

import httpx

from tests.stack import Stack
from tests.support.table import table
from tests.telemetry.lines import make_record
from tests.telemetry.test_metrics import scrape, value
from ztoapi.errors import Ending
from ztoapi.telemetry.record import Outcome

MESSAGES = [{"role": "user", "content": "hello"}]


@table(
    ("ending", "status", "outcome"),
    [
        (Ending.DONE, 200, Outcome.ANSWERED),
        (Ending.DONE, 304, Outcome.ANSWERED),
        # A response of an upstream that is passed on as it is.
        (Ending.DONE, 404, Outcome.REFUSED),
        (Ending.DONE, 429, Outcome.FAILED),
        (Ending.DONE, 500, Outcome.FAILED),
        (Ending.CLIENT_ERROR, 401, Outcome.REFUSED),
        (Ending.CLIENT_ERROR, 403, Outcome.REFUSED),
        (Ending.CLIENT_ERROR, 431, Outcome.REFUSED),
        (Ending.CLIENT_ERROR, 503, Outcome.FAILED),
        (Ending.RATE_LIMITED, 429, Outcome.REFUSED),
        (Ending.REJECTED, 429, Outcome.REFUSED),
        (Ending.REJECTED, 503, Outcome.FAILED),
        (Ending.UPSTREAM_ERROR, 400, Outcome.REFUSED),
        (Ending.UPSTREAM_ERROR, 413, Outcome.REFUSED),
        (Ending.UPSTREAM_ERROR, 403, Outcome.FAILED),
        (Ending.UPSTREAM_ERROR, 429, Outcome.FAILED),
        (Ending.UPSTREAM_ERROR, 502, Outcome.FAILED),
        # It breaks after its beginning.
        (Ending.UPSTREAM_ERROR, 200, Outcome.FAILED),
        (Ending.TRUNCATED, 200, Outcome.FAILED),
        (Ending.UPSTREAM_TIMEOUT, 504, Outcome.FAILED),
        (Ending.SHUTDOWN, 200, Outcome.FAILED),
        (Ending.INTERNAL_ERROR, 500, Outcome.FAILED),
        (Ending.CLIENT_DISCONNECT, 499, Outcome.CANCELLED),
        (Ending.CLIENT_DISCONNECT, 200, Outcome.CANCELLED),
        (Ending.SLOW_CLIENT, 200, Outcome.CANCELLED),
    ],
)
def test_by_ending_and_status(ending: Ending, status: int, outcome: Outcome) -> None:
    assert make_record(ending=ending, status=status).outcome is outcome


def test_a_request_in_flight_has_none() -> None:
    assert make_record(ending=None).outcome is None


def test_refusals_are_no_failures_anywhere() -> None:
    with Stack(API_KEYS="right|limited", ZTOAPI_KEY_REQUESTS_PER_MINUTE="3", UPSTREAM_MAX_TRIES="1") as stack:

        def ask(key: str, model: str = "glm-4.6", path: str = "/chat/completions", **fields: object) -> int:
            body = {"model": model, "messages": MESSAGES, **fields}
            headers = {"authorization": f"Bearer {key}"}
            return httpx.post(f"{stack.base_url}{path}", json=body, headers=headers).status_code

        statuses = [
            ask("wrong"),
            ask("wrong", stream=True),
            ask("right", path="/nowhere"),
            ask("right", path="/models"),
            ask("right", temperature="hot"),
            ask("right"),
            ask("right", "glm-4.6:fault=500"),
            ask("limited", "glm-4.6:fault=1210"),
            ask("limited", "glm-4.6:fault=1302"),
            ask("limited"),
            ask("limited"),
        ]
        assert statuses == [401, 401, 404, 405, 400, 200, 502, 400, 429, 200, 429]
        stack.record(11)
        samples = scrape(stack.url)
        stats = httpx.get(f"{stack.url}/dashboard/stats").json()
        listed = httpx.get(f"{stack.url}/dashboard/requests").json()["requests"]
    counted = {one.value: value(samples, "ztoapi_requests_total", outcome=one.value) for one in Outcome}
    assert counted == {"answered": 2, "failed": 2, "refused": 7, "cancelled": 0}
    requests = stats["requests"]
    assert [requests[name] for name in ("total", "succeeded", "failed", "refused", "cancelled")] == [11, 2, 2, 7, 0]
    assert sorted(one["outcome"] for one in listed) == ["answered"] * 2 + ["failed"] * 2 + ["refused"] * 7
