"""Retry-After in all its forms, and how long a credential rests."""

import datetime
import email.utils

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.replies import Replies, ask, whole
from tests.relay.requests_in_flight import lent
from tests.support.table import table
from ztoapi.errors import Fault
from ztoapi.relay.cooldowns import bounded_wait
from ztoapi.relay.credentials import CredentialPool
from ztoapi.relay.retry_after import retry_after

NOW = datetime.datetime(2026, 11, 29, 9, 0, 0, tzinfo=datetime.UTC).timestamp()
YEAR = 366 * 86400.0


@table(
    ("value", "seconds"),
    [
        (b"40", 40.0),
        (b"0", 0.0),
        (b" 7 ", 7.0),
        (b"1.5", 1.5),
        (b"40s", 40.0),
        (b"40, 40", 40.0),
        (b"2592000", 2592000.0),
        (b"9" * 400, YEAR),
        (b"Sun, 29 Nov 2026 09:00:40 GMT", 40.0),
        (b"Sunday, 29-Nov-26 09:00:40 GMT", 40.0),
        (b"Sun Nov 29 09:00:40 2026", 40.0),
        (b"sun, 29 nov 2026 09:00:40 gmt", 40.0),
        (b"Tue Dec  1 09:00:00 2026", 172800.0),
        (b"Sun, 29 Nov 2026 08:59:00 GMT", 0.0),
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        (b"Fri, 29 Nov 9999 09:00:40 GMT", YEAR),
        (b"Fri, 29 Nov 99999 09:00:40 GMT", None),
        (b"Sun, 29 Nov", None),
        (b"", None),
        (b"-5", None),
        (b"soon", None),
        (b"1e3", None),
        (b"\xff", None),
        ("\u0664\u0662".encode(), None),
    ],
)
def test_forms(value: bytes, seconds: float | None) -> None:
    assert retry_after({b"retry-after": value}, NOW) == seconds


def test_milliseconds_come_first_where_they_can_be_read() -> None:
    assert retry_after({b"retry-after": b"40", b"retry-after-ms": b"1500"}, NOW) == 1.5
    assert retry_after({b"retry-after-ms": b"250.5"}, NOW) == 0.2505
    assert retry_after({b"retry-after": b"40", b"retry-after-ms": b"x"}, NOW) == 40.0
    assert retry_after({}, NOW) is None


@given(st.one_of(st.binary(max_size=40), st.text("SunMoNv 0129:,-GMT+", max_size=40).map(str.encode)))
def test_any_value_is_none_or_a_bounded_time(value: bytes) -> None:
    seconds = retry_after({b"retry-after": value, b"retry-after-ms": value[:5]}, NOW)
    assert seconds is None or 0.0 <= seconds <= YEAR


@pytest.mark.parametrize(
    ("fault", "asked", "counted"),
    [
        (Fault.THROTTLED, 0.0, 0.0),
        (Fault.THROTTLED, 40.0, 40.0),
        (Fault.THROTTLED, 2592000.0, 3600.0),
        (Fault.OVERLOADED, 0.2, 0.2),
        (Fault.QUOTA, 1.0, 300.0),
        (Fault.QUOTA, 2592000.0, 3600.0),
        (Fault.REFUSED, 0.0, 60.0),
        (Fault.EXCLUDED, 1.0, 600.0),
        (Fault.REQUEST, 7.0, 7.0),
    ],
)
def test_the_part_that_counts(fault: Fault, asked: float, counted: float) -> None:
    assert bounded_wait(fault, asked) == counted


def test_a_credential_rests_as_long() -> None:
    pool = CredentialPool([("a", 1.0)])
    assert pool.fail(lent(pool.acquire(0.0, "m")), 0.0, Fault.THROTTLED, bounded_wait(Fault.THROTTLED, 40.0)) == 40.0
    assert pool.wait(39.0, "m") == 1.0


@pytest.mark.parametrize("status", [b"429 Too Many Requests", b"503 Service Unavailable"])
def test_a_date_is_held_and_the_client_gets_it(status: bytes) -> None:
    date = email.utils.format_datetime(
        datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90),  # noqa: TID251 - the gateway's own clock
        usegmt=True,
    )
    fields = b"content-type: application/json\r\nretry-after: %b\r\n" % date.encode()
    with (
        Replies(lambda _: whole(b'{"error":{"message":"busy"}}', status, fields)) as upstream,
        upstream.stack(ZTOAPI_MAX_TRIES="9") as stack,
    ):
        response = ask(stack)
        assert response.status_code == int(status[:3])
        assert 30 <= int(response.headers["retry-after"]) <= 90
        # A throttled credential is left for the others; an overloaded upstream is left alone.
        assert len(upstream.bodies) == (3 if status.startswith(b"429") else 1)


def test_a_long_wait_is_passed_on_and_a_quota_rests_for_minutes() -> None:
    month = b"content-type: application/json\r\nretry-after: 2592000\r\n"
    quota = b'{"error":{"message":"no credit","type":"insufficient_quota","code":"insufficient_quota"}}'
    replies = {"long": whole(b"{}", b"429 X", month), "quota": whole(quota, b"429 X")}
    with Replies(lambda body: replies[body["model"]]) as upstream, upstream.stack() as stack:
        response = ask(stack, model="long")
        assert (response.status_code, response.headers["retry-after"]) == (429, "2592000")
        response = ask(stack, model="quota")
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["type"]) == (429, "insufficient_quota", "insufficient_quota")
        assert response.headers["x-should-retry"] == "false"
        assert "no credit" in error["message"]
        assert len(upstream.bodies) == 6
        statistics = stack.application.upstreams["openai"].statistics().credentials
        assert all(60 < one.until <= 300 and one.fault is Fault.QUOTA for one in statistics)
        response = ask(stack, model="long")
        assert (response.status_code, response.json()["error"]["code"]) == (429, "insufficient_quota")
        assert len(upstream.bodies) == 6
