"""Lines of the access log: their contents, and that no field can add a second line."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from tests.telemetry.lines import UNIX_SECONDS, make_record
from ztoapi.dialects.reader import Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.access_line import json_lines, make_lines, text_lines
from ztoapi.telemetry.record import RequestRecord

OFFSET = UNIX_SECONDS - 1001.5
HOSTILE = [
    "\n",
    "\r\n",
    "\x1b[2J",
    "\x00",
    "\x7f",
    "\x85",
    "\x9b31m",
    "\u2028",
    "\u2029",
    "\u202e",
    "\ufeff",
    "\U000e0001",
]
ANY_TEXT = st.text(st.characters(exclude_categories=()))


def as_json(record: RequestRecord) -> dict[str, Any]:
    data = json_lines(make_lines([record], OFFSET))
    assert data.endswith(b"\n")
    return cast("dict[str, Any]", json.loads(data))


def as_text(record: RequestRecord) -> str:
    return text_lines(make_lines([record], OFFSET)).decode()


def full_record() -> RequestRecord:
    return make_record(
        whole=1000.25,
        first_byte=1000.5,
        overhead=0.0001234,
        model="fast",
        served_model="glm-4.6",
        platform="zai",
        credential="zai-1",
        key="alice",
        stream=True,
        attempts=2,
        cache="miss",
        bytes_in=90,
        bytes_out=1234,
        usage=Usage(9, 12, 21),
        user_agent=b"OpenAI/Python 3.54.0",
    )


def test_a_line_has_what_is_known_of_a_request() -> None:
    assert as_json(full_record()) == {
        "time": "2026-11-23T12:00:00.250Z",
        "request_id": "id-1",
        "client": "203.0.113.7",
        "peer": "127.0.0.1:5",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "ending": "done",
        "duration_ms": 1500.0,
        "bytes_in": 90,
        "bytes_out": 1234,
        "key": "alice",
        "model": "fast",
        "served_model": "glm-4.6",
        "platform": "zai",
        "credential": "zai-1",
        "stream": True,
        "attempts": 2,
        "cache": "miss",
        "input_tokens": 9,
        "output_tokens": 12,
        "ttft_ms": 250.0,
        "overhead_ms": 0.123,
        "user_agent": "OpenAI/Python 3.54.0",
    }


def test_what_is_not_known_is_left_out() -> None:
    line = as_json(make_record(status=404, ending=Ending.CLIENT_ERROR, error_code="not_found"))
    assert set(line) == {
        *("time", "request_id", "client", "peer", "method", "path", "status", "ending", "duration_ms"),
        *("bytes_in", "bytes_out", "error_code"),
    }


def test_the_served_model_stands_there_only_if_it_is_another() -> None:
    assert "served_model" not in as_json(make_record(model="glm-4.6", served_model="glm-4.6"))


def test_text_is_for_people() -> None:
    assert as_text(full_record()) == (
        '2026-11-23T12:00:00.250Z 203.0.113.7 "POST /v1/chat/completions" 200 done 1500.0ms request_id=id-1 '
        "bytes_in=90 bytes_out=1234 key=alice model=fast served_model=glm-4.6 platform=zai credential=zai-1 "
        "stream=true attempts=2 cache=miss input_tokens=9 output_tokens=12 ttft_ms=250.0 overhead_ms=0.123 "
        'user_agent="OpenAI/Python 3.54.0" peer=127.0.0.1:5\n'
    )


@table("odd", HOSTILE, ids=ascii)
def test_what_would_not_show_is_escaped(odd: str) -> None:
    record = make_record(path=f"/{odd}", model=f"a{odd}b", user_agent=f"c{odd}d".encode())
    for data in (json_lines(make_lines([record], OFFSET)), text_lines(make_lines([record], OFFSET))):
        text = data.decode()
        assert text.count("\n") == 1
        assert text[:-1].isprintable()
    shown = as_json(record)
    assert (shown["path"], shown["model"], shown["user_agent"]) == (f"/{odd}", f"a{odd}b", f"c{odd}d")


def test_words_of_other_languages_stay_readable() -> None:
    record = make_record(model="\u667a\u8c31")
    assert "\u667a\u8c31" in json_lines(make_lines([record], OFFSET)).decode()
    assert 'model="\u667a\u8c31"' in as_text(record)


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert as_json(make_record(user_agent=b"\xff\xfe\n"))["user_agent"] == "\\xff\\xfe\n"


def test_values_of_text_lines_cannot_pose_as_others() -> None:
    line = as_text(make_record(model='x status=500 key="root"', user_agent=b"a b=c"))
    assert r'model="x status=500 key=\"root\""' in line
    assert 'user_agent="a b=c"' in line


@given(ANY_TEXT, ANY_TEXT, st.binary(), ANY_TEXT, ANY_TEXT)
def test_any_bytes_make_one_line(path: str, model: str, agent: bytes, method: str, code: str) -> None:
    record = make_record(path=path, model=model, user_agent=agent[:120], method=method, error_code=code, key="k")
    shown = as_json(record)
    assert shown["key"] == "k"
    assert shown["status"] == 200
    data = json_lines(make_lines([record], OFFSET))
    text = as_text(record)
    for line in (data.decode(), text):
        assert line.endswith("\n")
        assert line[:-1].isprintable()
    assert len(re.findall(r" key=k\b", re.sub(r'"(?:[^"\\]|\\.)*"', "", text))) == 1


def test_a_line_stays_below_what_a_pipe_takes_at_once() -> None:
    worst = "\U000e0001" * 10000
    record = make_record(
        request_id="i" * 128,
        path="/" + '"' * 10000,
        model=worst,
        key="k" * 64,
        user_agent=b"\xff" * 120,
        method="M" * 9000,
    )
    assert len(json_lines(make_lines([record], OFFSET))) < 4096
    assert len(text_lines(make_lines([record], OFFSET))) < 4096


def test_the_trace_stands_there() -> None:
    assert as_json(make_record(trace_id="4bf92f3577b34da6a3ce929d0e0e4736"))["trace_id"].startswith("4bf9")


def test_half_a_surrogate_pair_spoils_no_line() -> None:
    record = make_record(model="a\ud800b")
    assert as_json(record)["model"] == "a\\ud800b"
    assert r'model="a\\ud800b"' in as_text(record)


def test_each_line_has_its_own_time() -> None:
    """Whatever the order is in which requests have ended, and however near to the next second."""
    ends = [0.0, 0.9995, 1.0, 1.25, 0.25, 86_400.0, 1.001]
    records = [make_record(finished=1001.5 + end) for end in ends]
    data = json_lines(make_lines(records, OFFSET))
    second = datetime.fromtimestamp(UNIX_SECONDS, UTC)
    shown = [datetime.fromisoformat(json.loads(line)["time"]) for line in data.splitlines()]
    assert [(one - second).total_seconds() for one in shown] == pytest.approx(ends, abs=0.001)
    assert all(one <= second + timedelta(seconds=end) for one, end in zip(shown, ends, strict=True))
