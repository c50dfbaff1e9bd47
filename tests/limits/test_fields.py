"""The limit fields of responses, the estimate of a request, and the identity of a client."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.dialects.request import decode_request
from ztoapi.limits.estimate import estimate
from ztoapi.limits.fields import go_duration, ietf_fields, openai_template
from ztoapi.limits.model import LimitStatus, RateLimit, Unit
from ztoapi.structures.bucket import SECOND_NS, Rate

LIMIT = RateLimit("key_requests_per_minute/alice/60/None", Unit.REQUESTS, Rate(60, 60 * SECOND_NS))


@table(
    ("nanoseconds", "describe"),
    [
        (0, "0s"),
        (1, "1ms"),
        (17_000_000, "17ms"),
        (999_000_001, "1s"),
        (1_200_000_000, "2s"),
        (360 * SECOND_NS, "6m0s"),
        (86_400_000_000, "1m27s"),
        (3_600 * SECOND_NS, "1h0m0s"),
        (3_661_005_000_000, "1h1m2s"),
    ],
)
def test_times_have_the_format_of_go(nanoseconds: int, describe: str) -> None:
    assert go_duration(nanoseconds) == describe.encode()


@given(st.integers(0, 10**15))
def test_a_time_is_never_rounded_down(nanoseconds: int) -> None:
    describe = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?|(\d+)ms", go_duration(nanoseconds).decode())
    assert describe is not None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in describe.groups())
    back = (hours * 3600 + minutes * 60 + seconds + milliseconds / 1000) * SECOND_NS
    assert 0 <= back - nanoseconds < (1 if milliseconds or not back else 1000) * 1_000_000 + 1_000_000


def test_fields_of_openai() -> None:
    assert openai_template(LIMIT) % (59, go_duration(SECOND_NS)) == (
        b"x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 59\r\nx-ratelimit-reset-requests: 1s\r\n"
    )


def test_fields_of_the_ietf() -> None:
    status = LimitStatus(LIMIT, 60, 59, 1_000_000_001)
    assert ietf_fields([status]) == (
        b'ratelimit-policy: "key_requests_per_minute";q=60;w=60\r\nratelimit: "key_requests_per_minute";r=59;t=2\r\n'
    )
    assert ietf_fields([]) == b""


def request(**fields: str) -> bytes:
    more = "".join(f',"{name}":{value}' for name, value in fields.items())
    return f'{{"model":"m","messages":[{{"role":"user","content":"{"x" * 4000}"}}]{more}}}'.encode()


@pytest.mark.parametrize(
    ("fields", "completion"),
    [
        ({}, 1024),
        ({"max_tokens": "50"}, 50),
        ({"max_completion_tokens": "7", "max_tokens": "50"}, 7),
        ({"max_tokens": "null"}, 1024),
        ({"max_tokens": "-1"}, 1024),
        ({"max_tokens": "1e9"}, 1024),
        ({"max_tokens": "9999999999"}, 1024),
    ],
)
def test_an_estimate_is_prompt_and_longest_answer(fields: dict[str, str], completion: int) -> None:
    body = request(**fields)
    assert estimate(decode_request(body)) == len(body) // 4 + completion


def test_many_beginnings_of_pictures_are_text() -> None:
    text = json.dumps('"data:' * 10_000 + '"data:' + "A" * 1_000_000 + '"')
    body = f'{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":{text}}}]}}'.encode()
    assert estimate(decode_request(body)) == len(body) // 4 + 1


def test_pictures_are_not_counted_by_their_bytes() -> None:
    picture = '{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,%s"}}]}'
    body = f'{{"model":"m","max_tokens":1,"messages":[{picture % ("A" * 1_000_000)}]}}'.encode()
    assert 1000 <= estimate(decode_request(body)) < 1100
