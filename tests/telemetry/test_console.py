"""The console: rows of requests within a width, messages in their order, and JSON messages."""

import json
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.waiting import WAIT_SECONDS
from tests.telemetry.lines import UNIX_SECONDS, Pauses, make_record
from ztoapi.dialects.reader import Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.access_log import AccessLog
from ztoapi.telemetry.console import ConsoleFormatter, ConsoleLines
from ztoapi.telemetry.log_file import LogFile
from ztoapi.telemetry.messages import JsonFormatter
from ztoapi.telemetry.record import RequestRecord
from ztoapi.telemetry.terminal_text import columns_of

OFFSET = UNIX_SECONDS - 1001.5
STREAM: dict[str, Any] = {
    "route": "/v1/chat/completions",
    "model": "glm-5.3",
    "credential": "zai-1",
    "stream": True,
    "whole": 1000.0,
    "first_byte": 1000.25,
    "usage": Usage(9, 12, 21),
    "key": "alice",
}


def rows(*records: RequestRecord, width: int = 140, colour: bool = False, quiet: bool = False) -> list[str]:
    lines = ConsoleLines(lambda: width, colour=colour, quiet=quiet)(records, OFFSET)
    return b"".join(line.data for line in lines).decode().splitlines()


def refused(**more: object) -> RequestRecord:
    record = make_record(status=401, ending=Ending.CLIENT_ERROR, route="/v1/messages")
    record.error_code, record.error_message = "invalid_api_key", "the client key is not valid"
    for name, value in more.items():
        setattr(record, name, value)
    return record


def test_a_row_has_everything_at_140_columns() -> None:
    (row,) = rows(make_record(**STREAM))
    assert re.fullmatch(r"\d\d:\d\d:\d\d 200 chat +stream glm-5\.3 > zai-1 +1\.50s +250ms +9 > 12 alice", row)


def test_a_row_has_everything_at_80_columns() -> None:
    (row,) = rows(make_record(**STREAM), width=80)
    assert len(row) <= 80
    for word in ("200 chat", "stream", "glm-5.3 > zai-1", "1.50s", "250ms", "9 > 12", "alice"):
        assert word in row


def test_an_error_has_its_code_and_its_message() -> None:
    (row,) = rows(refused())
    assert "401 messages  whole" in row
    assert row.endswith("invalid_api_key: the client key is not valid")
    (row,) = rows(refused(), width=80)
    assert row.endswith(" invalid_api_key: the clie…") and len(row) == 80
    (row,) = rows(refused(key="alice"), width=80)
    assert row.endswith(" [alice] invalid_api_key: …") and len(row) == 80, "the message is cut before the name"
    (good,) = rows(make_record(**STREAM), width=80)
    assert row.index("[alice]") == good.index("1.50s") + len("1.50s ")


@pytest.mark.parametrize(
    ("record", "colour"),
    [
        (make_record(), 32),
        (make_record(status=404, ending=Ending.CLIENT_ERROR), 33),
        (make_record(status=429, ending=Ending.RATE_LIMITED), 33),
        (make_record(status=400, ending=Ending.UPSTREAM_ERROR), 33),
        (make_record(status=502, ending=Ending.UPSTREAM_ERROR), 31),
        (make_record(status=200, ending=Ending.TRUNCATED), 31),
        (make_record(status=200, ending=Ending.CLIENT_DISCONNECT), 2),
    ],
)
def test_the_status_has_the_colour_of_the_outcome(record: RequestRecord, colour: int) -> None:
    (row,) = rows(record, colour=True)
    assert f" \x1b[{colour}m{record.status}\x1b[0m " in row
    assert "\x1b" not in rows(record)[0]


def test_quiet_leaves_out_what_has_succeeded() -> None:
    assert rows(make_record(**STREAM), quiet=True) == []
    assert len(rows(refused(), quiet=True)) == 1


def test_requests_of_operators_are_shown_if_they_fail() -> None:
    assert rows(make_record(monitoring=True)) == []
    assert len(rows(refused(monitoring=True))) == 1


def test_other_paths_show_method_and_path() -> None:
    (row,) = rows(make_record(path="/nothing", method="GET", status=404, ending=Ending.CLIENT_ERROR))
    assert re.search(r"404 GET +/nothing ", row)


def test_a_fallback_and_the_cache_are_shown() -> None:
    (row,) = rows(make_record(**STREAM | {"served_model": "glm-4.5"}))
    assert "glm-5.3 = glm-4.5 > zai-1" in row
    (row,) = rows(make_record(**STREAM | {"credential": None, "cache": "hit"}))
    assert "glm-5.3 > cache" in row


TEXTS = st.text(max_size=300)


@given(TEXTS, TEXTS, TEXTS, TEXTS, st.integers(40, 200))
def test_a_row_fits_and_controls_no_terminal(model: str, key: str, path: str, message: str, width: int) -> None:
    good = make_record(**STREAM | {"model": model, "key": key})
    bad = refused(model=model, key=key, path=path)
    bad.error_message = message
    for row in rows(good, bad, make_record(path=path), width=width):
        assert sum(map(columns_of, row)) <= width
        assert row.isprintable()


def test_the_log_shows_messages_among_its_requests_in_the_order_of_their_times(tmp_path: Path) -> None:
    now = time.monotonic()
    console = ConsoleLines(lambda: 100, colour=False, quiet=False)
    log = AccessLog(LogFile(str(tmp_path / "log")), lambda: UNIX_SECONDS, console=console)
    assert log.add_message("a message\nof two lines")
    log.add([make_record(finished=now - 1.0, **STREAM), make_record(finished=now + 60.0, **STREAM)])
    log.start()
    log.close()
    assert not log.add_message("too late")
    shown = (tmp_path / "log").read_text().splitlines()
    assert shown[1:3] == ["a message", "of two lines"]
    assert len(shown) == 4 and shown[0][:8] < shown[3][:8]


def test_a_message_that_arrives_in_a_pause_waits_for_the_requests_before_it(tmp_path: Path) -> None:
    now = time.monotonic()
    console = ConsoleLines(lambda: 100, colour=False, quiet=False)
    log = AccessLog(LogFile(str(tmp_path / "log")), lambda: UNIX_SECONDS, console=console)
    log._closing = Pauses(
        lambda: log.add_message("a message"), lambda: log.add([make_record(finished=now - 1.0, **STREAM)])
    )
    log.add([make_record(finished=now - 2.0, **STREAM)])
    log.start()
    log._thread.join(WAIT_SECONDS)
    shown = (tmp_path / "log").read_text().splitlines()
    assert [row == "a message" for row in shown] == [False, False, True]


def test_requests_that_are_not_shown_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    console = ConsoleLines(lambda: 100, colour=False, quiet=True)
    log = AccessLog(LogFile(str(tmp_path / "log")), lambda: UNIX_SECONDS, console=console)
    monkeypatch.setattr(LogFile, "write", lambda _, lines: writes.append(lines))
    log.add([make_record(**STREAM)])
    log.start()
    log.close()
    assert writes == []


def message(text: str, level: int = logging.WARNING, **more: object) -> logging.LogRecord:
    record = logging.LogRecord("ztoapi.part", level, "", 0, text, None, None)
    record.created = UNIX_SECONDS
    for name, value in more.items():
        setattr(record, name, value)
    return record


def test_a_message_on_the_console_has_the_time_and_the_level() -> None:
    shown = ConsoleFormatter(colour=False).format(message("it rests"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d WARNING  it rests", shown)
    assert "\x1b[33mWARNING \x1b[0m it rests" in ConsoleFormatter(colour=True).format(message("it rests"))


def test_a_message_as_json_is_one_line() -> None:
    try:
        raise ValueError("a\nb")
    except ValueError as error:
        record = message('say "x"\n\x1b[31m', exc_info=(ValueError, error, error.__traceback__))
    shown = JsonFormatter().format(record)
    assert "\n" not in shown and "\x1b" not in shown
    fields = json.loads(shown)
    assert (fields["time"], fields["level"], fields["logger"]) == ("2026-11-23T12:00:00.250Z", "warning", "ztoapi.part")
    assert fields["message"] == 'say "x"\n\x1b[31m' and fields["pid"] == os.getpid()
    assert "ValueError" in fields["exception"]
