"""Messages for operators: written beside the caller, bounded, counted, and flushed at the end."""

import logging
import os
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ztoapi.telemetry import messages as subject
from ztoapi.telemetry.messages import MessageLog


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        os.close(descriptor)


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("ztoapi", logging.INFO, "", 0, text, None, None)


def test_messages_come_out_in_their_order(pipe: tuple[int, int]) -> None:
    log = MessageLog(pipe[1])
    for number in range(100):
        log.emit(record(f"m{number}"))
    log.write("odd \udcff")
    log.flush()
    expected = [f"m{number}" for number in range(100)] + ["odd \\udcff"]
    assert os.read(pipe[0], 65536).decode().splitlines() == expected


def test_a_full_pipe_blocks_nothing_and_lost_messages_are_counted(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "FLUSH_SECONDS", 0.01)
    os.set_blocking(pipe[1], False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(pipe[1], b"x" * 4096)
    log = MessageLog(pipe[1])
    for number in range(subject.WAITING_MESSAGES + 100):
        log.emit(record(f"m{number}"))
    log.flush()
    assert 99 <= log.dropped <= 100
    assert [(sample.metric, sample.value) for sample in log.samples()] == [("ztoapi_messages_dropped", log.dropped)]
    monkeypatch.undo()
    while os.read(pipe[0], 65536).endswith(b"x"):
        pass
    log.flush()


def test_a_descriptor_that_takes_nothing_is_counted() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    log = MessageLog(writer)
    log.emit(record("lost"))
    log.flush()
    os.close(writer)
    assert log.dropped == 1


def test_a_child_writes_for_itself(pipe: tuple[int, int]) -> None:
    log = MessageLog(pipe[1])
    log.emit(record("parent"))
    log.flush()
    child = os.fork()
    if not child:
        log.emit(record("child"))
        log.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(pipe[0], 65536) == b"parent\nchild\n"


def test_the_thread_takes_no_signals(pipe: tuple[int, int]) -> None:
    log = MessageLog(pipe[1])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    log.write("a message")
    log.flush()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    for thread in [thread for thread in threading.enumerate() if thread.name == "messages"]:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
        blocked = int(re.findall(r"SigBlk:\s*(\w+)", status)[0], 16)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTTIN, signal.SIGCHLD):
            assert blocked >> (number - 1) & 1, number.name
