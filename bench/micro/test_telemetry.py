"""The cost of telemetry: on the path of a request and of a chunk, in the scan of a worker, and for readers.

The cost on the path is the difference between "counted" and "not counted".
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.inmemory import Gateway, chunked, request, stream_head, zai_event
from bench.micro.pieces import note
from ztoapi.dialects.reader import Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.layout import LIVE_IN_FLIGHT, MODELS, ModelCell
from ztoapi.telemetry.live import MAX_PER_SCAN, write_finished, write_in_flight
from ztoapi.telemetry.prometheus import render
from ztoapi.telemetry.record import Recorder, RequestRecord
from ztoapi.telemetry.recorder import BoardRecorder
from ztoapi.telemetry.stats import make_figures

BATCH = 10
NOW = 1_795_435_200.0


def record(*, stream: bool) -> RequestRecord:
    """Returns the record of a successful request."""
    return RequestRecord(
        "5b3c0f6a7a0d4a0e00000001", "POST", "/v1/chat/completions", 1.0, route="/v1/chat/completions",
        whole=1.0001, sent=1.0002, overhead=0.0001,
        complete=1.5, first_byte=1.2 if stream else None, last_write=1.5 if stream else None, finished=1.5001,
        status=200, ending=Ending.DONE, model="glm-4.6", served_model="glm-4.6", platform="zai", credential="zai-1",
        stream=stream, attempts=1, bytes_in=800, bytes_out=12_000, usage=Usage(9, 12, 21), key="default",
        client="127.0.0.1:40000", user_agent=b"OpenAI/Python 3.54.0",
    )  # fmt: skip


def recorder(board: MetricsBoard, *, counted: bool) -> Recorder:
    return BoardRecorder(board.slot(0), ["glm-4.6"]) if counted else Recorder()


def board_of_a_request() -> MetricsBoard:
    board = MetricsBoard()
    recording = BoardRecorder(board.slot(0), ["glm-4.6"])
    recording.submit(record(stream=True))
    recording.publish()
    return board


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("counted", [False, True], ids=["not-counted", "counted"])
def test_a_request(benchmark: BenchmarkFixture, counted: bool, stream: bool) -> None:
    board = MetricsBoard()
    recording, ended = recorder(board, counted=counted), record(stream=stream)

    def serve() -> None:
        for _ in range(BATCH):
            recording.begun += 1
            if stream:
                recording.begin_stream(ended)
            recording.submit(ended)

    note(benchmark, "telemetry: a request", requests=BATCH)
    benchmark(serve)
    if isinstance(recording, BoardRecorder):
        recording.publish()
    rows = board.rows(MODELS)
    assert (rows["glm-4.6", "zai"][ModelCell.REQUESTS] if counted else len(rows)) == (recording.total if counted else 0)


@pytest.mark.parametrize("counted", [False, True], ids=["not-counted", "counted"])
def test_a_piece_of_a_stream(benchmark: BenchmarkFixture, counted: bool) -> None:
    gateway = Gateway()
    application = gateway.application
    if not counted:
        application.context.recorder = Recorder()
    gateway.receive_request(request(stream=True))
    gateway.receive_response(stream_head() + chunked(zai_event("The")))
    (connection,) = application.context.connections
    exchange, piece = connection.exchange, zai_event(" word")
    assert exchange is not None

    def write() -> None:
        for _ in range(BATCH):
            exchange.stream.write(piece)

    note(benchmark, "telemetry: a piece of a stream", pieces=BATCH)
    benchmark(write)
    application.recorder.publish()
    gaps = [row[ModelCell.GAPS + 1 : ModelCell.COUNT] for row in application.telemetry.rows(MODELS).values()]
    assert any(map(sum, gaps)) is counted
    gateway.close()


def test_scan_of_finished_requests(benchmark: BenchmarkFixture) -> None:
    board, ended = MetricsBoard(), [record(stream=True) for _ in range(MAX_PER_SCAN)]
    slot = board.slot(0)
    note(benchmark, "telemetry: a scan", requests=MAX_PER_SCAN)
    benchmark(write_finished, slot, ended, 0.0)
    assert len(slot.newest_finished()) >= MAX_PER_SCAN


def test_scan_of_requests_in_flight(benchmark: BenchmarkFixture) -> None:
    board, running = MetricsBoard(), [record(stream=True) for _ in range(LIVE_IN_FLIGHT)]
    slot = board.slot(0)
    note(benchmark, "telemetry: a scan", requests=LIVE_IN_FLIGHT)
    benchmark(write_in_flight, slot, running, 0.0, 2.0)
    assert len(slot.live_places()) == LIVE_IN_FLIGHT


def test_scrape(benchmark: BenchmarkFixture) -> None:
    board = board_of_a_request()
    note(benchmark, "telemetry: readers", workers=1)
    text, _ = benchmark(render, board, "text/plain", compress=False)
    assert b"ztoapi_tokens_total" in text


def test_stats(benchmark: BenchmarkFixture) -> None:
    board = board_of_a_request()
    note(benchmark, "telemetry: readers", workers=1)
    assert benchmark(make_figures, board, NOW).models
