"""The access log: the cost of the lines of a batch of requests, on the event loop."""

from collections import deque

from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.pieces import note
from ztoapi.dialects.reader import Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.access_line import json_lines, make_lines, text_lines
from ztoapi.telemetry.access_log import AccessLog
from ztoapi.telemetry.log_file import LogFile
from ztoapi.telemetry.record import RequestRecord
from ztoapi.telemetry.recorder import BATCH_RECORDS


def record() -> RequestRecord:
    """Returns the record of a successful stream."""
    made = RequestRecord("0123456789abcdef00000001", "POST", "/v1/chat/completions", 1000.0)
    made.whole, made.first_byte, made.finished, made.overhead = 1000.00001, 1000.3, 1000.91, 0.00019
    made.status, made.ending, made.stream, made.attempts = 200, Ending.DONE, True, 1
    made.model = made.served_model = "glm-4.6"
    made.platform, made.credential, made.key = "zai", "zai-1", "api-key-1"
    made.bytes_in, made.bytes_out, made.usage = 1000, 12000, Usage(9, 12, 21)
    made.client, made.user_agent = "127.0.0.1:54321", b"OpenAI/Python 3.54.0"
    return made


def test_batch(benchmark: BenchmarkFixture) -> None:
    log = AccessLog(LogFile("/dev/null"), lambda: 1e9, text=False)
    # The queue is not consumed here; a bounded one keeps accepting lines.
    log._waiting = deque(maxlen=1)
    records = [record() for _ in range(BATCH_RECORDS)]

    def add() -> None:
        log._queued = 0
        log.add(records)

    note(benchmark, "access log, a batch", requests=BATCH_RECORDS)
    benchmark(add)


def test_json_lines(benchmark: BenchmarkFixture) -> None:
    records = [record() for _ in range(BATCH_RECORDS)]
    note(benchmark, "access log, lines", requests=BATCH_RECORDS)
    made = benchmark(lambda: json_lines(make_lines(records, 1e9)))
    assert made.count(b"\n") == BATCH_RECORDS


def test_text_lines(benchmark: BenchmarkFixture) -> None:
    records = [record() for _ in range(BATCH_RECORDS)]
    note(benchmark, "access log, lines", requests=BATCH_RECORDS)
    made = benchmark(lambda: text_lines(make_lines(records, 1e9)))
    assert made.count(b"\n") == BATCH_RECORDS
