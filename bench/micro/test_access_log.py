"""The access log: the cost on the request path, and the cost of formatting lines in its thread."""

from collections import deque

from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.pieces import note
from ztoapi.dialects.reader import Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.access_line import json_lines, make_lines, text_lines
from ztoapi.telemetry.access_log import BATCH_RECORDS, AccessLog
from ztoapi.telemetry.log_file import LogFile
from ztoapi.telemetry.record import RequestRecord


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


def test_on_the_path(benchmark: BenchmarkFixture) -> None:
    log = AccessLog(LogFile("/dev/null"), lambda: 1e9, text=False)
    # The queue is not consumed here; a bounded one keeps accepting records.
    log._waiting = deque(maxlen=BATCH_RECORDS)
    note(benchmark, "access log, on the path", requests=1)
    benchmark(log.add, [record()])


def test_json_lines(benchmark: BenchmarkFixture) -> None:
    records = [record() for _ in range(BATCH_RECORDS)]
    note(benchmark, "access log, in its thread", requests=BATCH_RECORDS)
    made = benchmark(lambda: json_lines(make_lines(records, 1e9)))
    assert made.count(b"\n") == BATCH_RECORDS


def test_text_lines(benchmark: BenchmarkFixture) -> None:
    records = [record() for _ in range(BATCH_RECORDS)]
    note(benchmark, "access log, in its thread", requests=BATCH_RECORDS)
    made = benchmark(lambda: text_lines(make_lines(records, 1e9)))
    assert made.count(b"\n") == BATCH_RECORDS
