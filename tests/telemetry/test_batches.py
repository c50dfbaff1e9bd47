"""Requests that are counted in a batch have the same counts as those that are counted one by one."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.config.prices import Price
from ztoapi.dialects.reader import MAX_TOKENS, Count, Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.layout import CODES, KEYS, TABLES, Cell, KeyCell
from ztoapi.telemetry.record import RequestRecord
from ztoapi.telemetry.recorder import BATCH_RECORDS, BoardRecorder

# Sums of such times are exact in any order.
TIMES = st.integers(0, 2**20).map(lambda number: number / 1024)
NONE_OR_TIMES = st.none() | TIMES
NAMES = st.sampled_from([None, "glm-4.6", "GLM-4.6", "glm-4.5", "x"])
COUNTS = st.integers(0, 10**6)
RECORDS = st.builds(
    RequestRecord,
    request_id=st.just("id"),
    method=st.sampled_from(["GET", "POST", "BREW"]),
    path=st.just("/"),
    started=st.just(0.0),
    route=st.sampled_from(["/v1/chat/completions", "/v1/models"]),
    whole=NONE_OR_TIMES,
    sent=NONE_OR_TIMES,
    overhead=NONE_OR_TIMES,
    complete=NONE_OR_TIMES,
    first_byte=NONE_OR_TIMES,
    last_write=NONE_OR_TIMES,
    finished=TIMES,
    status=st.sampled_from([200, 400, 429, 500]),
    ending=st.sampled_from(Ending),
    model=NAMES,
    served_model=NAMES,
    platform=st.sampled_from([None, "zai", "openai"]),
    attempts=st.integers(0, 3),
    bytes_in=COUNTS,
    bytes_out=COUNTS,
    usage=st.none() | st.builds(Usage, prompt_tokens=COUNTS, completion_tokens=COUNTS),
    error_code=st.sampled_from([None, "a", "b"]),
    upstream_code=st.sampled_from([None, "1210"]),
    key=st.sampled_from([None, "alice", "bob"]),
)


def counted(records: list[RequestRecord], *, alone: bool) -> tuple[object, ...]:
    board = MetricsBoard()
    # A model that is not configured has its label from the batch on in which it is first served.
    recorder = BoardRecorder(board.slot(0), ["glm-4.6", "glm-4.5", "x"])
    for record in records:
        recorder.begun += not record.monitoring
        if record.first_byte is not None:
            recorder.begin_stream(record)
        recorder.submit(record)
        if alone:
            recorder.publish()
    recorder.publish()
    second = recorder.take_second()
    cells = (board.slot(0).ints[: Cell.COUNT].tolist(), [board.rows(table) for table in TABLES])
    return *cells, second.numbers, second.doubles, second.bytes()


@given(st.lists(RECORDS, max_size=2 * BATCH_RECORDS))
def test_a_batch_counts_like_its_requests_one_by_one(records: list[RequestRecord]) -> None:
    assert counted(records, alone=False) == counted(records, alone=True)


def test_counts_and_costs_of_senseless_usages_fit_their_cells() -> None:
    board = MetricsBoard()
    recorder = BoardRecorder(board.slot(0), ["glm-4.6"], price_of=lambda _: Price(15_000.0, 15_000.0, 15_000.0))
    most = msgspec.json.decode(b"%d" % MAX_TOKENS, type=Count)
    for _ in range(10_000):
        record = RequestRecord("id", "POST", "/", 0.0, finished=1.0, status=200, ending=Ending.DONE, model="glm-4.6")
        record.usage = Usage(prompt_tokens=most, completion_tokens=most)
        recorder.submit(record)
    recorder.publish()
    (row,) = board.rows(KEYS).values()
    assert row[KeyCell.INPUT] == row[KeyCell.OUTPUT] == 10_000 * most
    assert row[KeyCell.COST] == 2 * 15_000 * 10_000 * most


def test_a_group_that_cannot_be_counted_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    board = MetricsBoard()
    recorder = BoardRecorder(board.slot(0), ["glm-4.6"])
    for status, finished in ((200, None), (404, 1.0)):
        record = RequestRecord("id", "POST", "/", 0.0, finished=finished, status=status, ending=Ending.DONE)
        recorder.submit(record)
    recorder.publish()
    assert {labels[-1]: row[0] for labels, row in board.rows(CODES).items()}["404"] == 1
    assert caplog.messages == ["1 finished requests could not be counted"]
