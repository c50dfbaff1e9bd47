"""The access log of a worker: every line is written, in order, and a failed write stops no request."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import WAIT_SECONDS
from tests.telemetry.lines import UNIX_SECONDS, Pauses, log_to, make_record, read_whole
from ztoapi.telemetry import access_log
from ztoapi.telemetry.access_log import AccessLog
from ztoapi.telemetry.console import ConsoleLines
from ztoapi.telemetry.log_file import LogFile


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The path of a named pipe, and its end to read from."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    yield str(path), reader
    with contextlib.suppress(OSError):
        # Unless the test has closed it.
        os.close(reader)


def ids(text: str) -> list[str]:
    return [json.loads(line)["request_id"] for line in text.splitlines()]


def until_written(path: Path, lines: int) -> None:
    """Wait until so many lines are there."""
    turn = threading.Event()
    for _ in range(int(WAIT_SECONDS / 0.001)):
        if path.exists() and read_whole(path).count("\n") >= lines:
            return
        turn.wait(0.001)
    pytest.fail(f"there are no {lines} lines in {path}")


def test_lines_come_in_the_order_of_the_ends_of_requests(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = log_to(str(path))
    wanted = [str(number) for number in range(1000)]
    for number in wanted:
        log.add([make_record(number)])
    log.close()
    assert ids(read_whole(path)) == wanted
    assert log.dropped == 0


def test_the_batches_of_a_moment_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[bytes] = []
    log = AccessLog(LogFile(str(tmp_path / "access.log")), lambda: UNIX_SECONDS)

    def write(_: LogFile, lines: bytes) -> int:
        writes.append(lines)
        return len(lines)

    def add() -> None:
        for number in range(200):
            log.add([make_record(str(number))])

    monkeypatch.setattr(LogFile, "write", write)
    log._closing = Pauses(add)
    log.add([make_record()])
    log.start()
    log._thread.join(WAIT_SECONDS)
    assert [len(ids(lines.decode())) for lines in writes] == [201]


def test_lines_are_formatted_by_the_thread_that_adds_them(tmp_path: Path) -> None:
    threads: list[threading.Thread] = []

    def width() -> int:
        threads.append(threading.current_thread())
        return 80

    console = ConsoleLines(width, colour=False, quiet=False)
    log = AccessLog(LogFile(str(tmp_path / "access.log")), lambda: UNIX_SECONDS, console=console)
    log.start()
    log.add([make_record()])
    log.close()
    assert threads == [threading.current_thread()]


def test_requests_that_cannot_be_formatted_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "access.log"
    log = log_to(str(path))
    log.add([make_record("1"), make_record("2", finished=None)])
    log.add([make_record("3")])
    log.close()
    assert (ids(read_whole(path)), log.dropped) == (["3"], 2)
    assert [record.message for record in caplog.records] == ["access log: lost 2 lines"]


def test_lines_are_written_without_a_close(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = log_to(str(path))
    log.add([make_record()])
    until_written(path, 1)
    log.close()
    assert ids(read_whole(path)) == ["id-1"]


def test_a_file_is_appended_to_and_has_restricted_access(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for number in ("1", "2"):
        log = log_to(str(path))
        log.add([make_record(number)])
        log.close()
    assert ids(read_whole(path)) == ["1", "2"]
    assert path.stat().st_mode & 0o007 == 0


def test_a_file_that_was_moved_away_is_replaced(tmp_path: Path) -> None:
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    sink = LogFile(str(path))
    log = AccessLog(sink, lambda: 0.0, text=False)
    log.start()
    log.add([make_record("1")])
    until_written(path, 1)
    path.rename(old)
    log.add([make_record("2")])
    until_written(old, 2)
    assert sink.reopen()
    log.add([make_record("3")])
    log.close()
    assert ids(read_whole(old)) == ["1", "2"]
    assert ids(read_whole(path)) == ["3"]


def test_a_file_that_cannot_be_opened_again_is_written_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    sink = LogFile(str(folder / "access.log"))
    folder.rename(tmp_path / "old")
    assert not sink.reopen()
    assert "cannot reopen " in caplog.text
    assert sink.write(b"a\n") == 2
    assert read_whole(tmp_path / "old" / "access.log") == "a\n"


def test_a_blocked_reader_stops_no_request_and_memory_is_bounded(
    pipe: tuple[str, int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access_log, "WAITING_LINES", 2000)
    monkeypatch.setattr(access_log, "CLOSE_SECONDS", 0.01)
    where, reader = pipe
    log = log_to(where)
    for number in range(10_000):
        # Neither this nor the close waits for the reader, which never reads.
        log.add([make_record(str(number))])
    log.close()
    assert "the access log is stuck" in caplog.text
    assert log.dropped > 7000
    assert [(sample.metric, sample.value) for sample in log.samples()] == [("ztoapi_access_log_dropped", log.dropped)]
    monkeypatch.undo()
    text = b""
    while text.count(b"\n") < 10_000 - log.dropped:
        text += os.read(reader, 65536)
    log.close()
    assert text.endswith(b"\n")
    assert len(ids(text.decode())) == 10_000 - log.dropped


def test_a_pipe_that_does_not_block_loses_nothing(pipe: tuple[str, int]) -> None:
    where, reader = pipe
    sink = LogFile(where)
    os.set_blocking(sink._fd, False)
    log = AccessLog(sink, lambda: 0.0, text=False)
    log.start()
    for number in range(2000):
        log.add([make_record(str(number))])
    text = b""
    while text.count(b"\n") < 2000:
        text += os.read(reader, 65536)
    log.close()
    assert ids(text.decode()) == [str(number) for number in range(2000)]
    assert log.dropped == 0


def test_lines_go_into_a_pipe_in_pieces_that_it_takes_at_once(pipe: tuple[str, int]) -> None:
    where, reader = pipe
    sinks = [LogFile(where) for _ in range(3)]
    lines = {number: (f"{number}" * 150 + "\n").encode() * 400 for number in range(3)}
    threads = [threading.Thread(target=sink.write, args=(lines[number],)) for number, sink in enumerate(sinks)]
    for thread in threads:
        thread.start()
    text = b""
    while text.count(b"\n") < 1200:
        text += os.read(reader, 1000)
    for thread in threads:
        thread.join()
    assert all(len(set(line)) == 1 and len(line) == 150 for line in text.splitlines())


def test_a_reader_that_is_gone_is_logged_once_and_lines_are_counted(
    pipe: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    where, reader = pipe
    log = log_to(where)
    os.close(reader)
    for number in range(300):
        log.add([make_record(str(number))])
    log.close()
    assert log.dropped == 300
    assert [record.message for record in caplog.records] == ["the access log cannot be written: Broken pipe"]


def test_a_line_that_did_not_fit_on_the_disk_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    script = f"""
import resource, signal
from ztoapi.telemetry.log_file import LogFile

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sink = LogFile({str(path)!r})
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (25, hard))
assert sink.write(b"first line\\nsecond line\\nthird line\\n") == 25
assert sink.write(b"lost\\n") == 0
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
assert sink.write(b"next\\n") == 5
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
    assert read_whole(path) == "first line\nsecond line\nth\nnext\n"


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "no" / "access.log", tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError, match=r"Errno"):
            LogFile(str(path))
