"""The telemetry board: rows, their labels and overflow, live records with writers in other processes, dead workers."""

import multiprocessing
import multiprocessing.synchronize
import os

import msgspec
import pytest

from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS
from ztoapi.dialects.reader import Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.board import MetricsBoard, Slot, cut
from ztoapi.telemetry.layout import (
    CODES,
    ERRORS,
    FINISHED_START,
    LABEL_VALUE_BYTES,
    LIVE_BYTES,
    LIVE_FINISHED,
    LIVE_IN_FLIGHT,
    LIVE_WORDS,
    MODELS,
    OTHER,
    OWN_CODES,
    SAMPLES,
    SECOND_BYTES,
    SECONDS,
    SECONDS_START,
    TABLES,
    Cell,
    MetricTable,
)
from ztoapi.telemetry.live import LOST, read_live, reclaim, write_finished, write_in_flight
from ztoapi.telemetry.record import RequestRecord
from ztoapi.telemetry.recorder import BoardRecorder

NOW = 1_795_435_200.0
LONGEST = "\N{SNOWMAN}" * 40_000


def record(number: int, *, ended: bool = True) -> RequestRecord:
    return RequestRecord(
        f"request-{number}",
        "POST",
        "/v1/chat/completions",
        float(number),
        finished=number + 1.0 if ended else None,
        ending=Ending.DONE if ended else None,
        status=200,
    )


def test_rows_of_several_workers_add_up() -> None:
    board = MetricsBoard(2)
    for number, count in ((0, 3), (1, 4)):
        ints, floats = board.slot(number).row(MODELS, ("glm-4.6", "zai"))
        ints[0] += count
        floats[7] += 0.5
    row = board.rows(MODELS)["glm-4.6", "zai"]
    assert row[0] == 7
    assert row[7] == 1.0


def test_a_row_is_found_again_by_a_later_worker() -> None:
    board = MetricsBoard()
    board.slot(0).row(CODES, ("/v1/models", "GET", "200"))[0][0] += 1
    board.slot(0).row(CODES, ("/v1/models", "GET", "200"))[0][0] += 1
    assert board.rows(CODES) == {("/v1/models", "GET", "200"): [2]}


@pytest.mark.parametrize("table", TABLES)
def test_what_finds_no_room_is_counted_as_other(table: MetricTable) -> None:
    board = MetricsBoard()
    slot = board.slot(0)
    for number in range(table.rows + 50):
        ints, floats = slot.row(table, [str(number)] * len(table.labels))
        if 0 in table.doubles:
            floats[0] += 1
        else:
            ints[0] += 1
    rows = board.rows(table)
    assert len(rows) == table.rows
    assert rows[(OTHER,) * len(table.labels)][0] == 51
    assert sum(row[0] for row in rows.values()) == table.rows + 50
    others = [one for one in TABLES if one is not table]
    assert all(not board.rows(one) for one in others), "written beyond its table"


def test_rows_are_not_read_again_for_what_finds_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    labels_of = Slot._labels
    slot = MetricsBoard().slot(0)

    def labels(reader: Slot, table: MetricTable, place: int) -> tuple[str, ...]:
        # A gateway of another test may be reading its own slots.
        if reader is slot:
            read.append(place)
        return labels_of(reader, table, place)

    monkeypatch.setattr(Slot, "_labels", labels)
    for number in [*range(SAMPLES.rows * 2)] * 2:
        slot.row(SAMPLES, ("metric", str(number), ""))
    assert len(read) <= SAMPLES.rows


@pytest.mark.parametrize("size", range(10))
def test_cut_text_is_whole_characters(size: int) -> None:
    assert (
        cut("a\N{SNOWMAN}b\N{GRINNING FACE}", size).encode()
        == "a\N{SNOWMAN}b\N{GRINNING FACE}".encode()[: [0, 1, 1, 1, 4, 5, 5, 5, 5, 9][size]]
    )


def test_label_values_of_any_length_and_content() -> None:
    board = MetricsBoard()
    board.slot(0).row(CODES, (LONGEST, "a\x1fb", "\ud800"))[0][0] += 1
    ((labels, row),) = board.rows(CODES).items()
    assert labels == ("\N{SNOWMAN}" * (LABEL_VALUE_BYTES // 3), "a b", "?")
    assert row == [1]


def test_the_largest_live_record_has_room() -> None:
    board = MetricsBoard()
    one = RequestRecord(
        LONGEST, LONGEST, LONGEST, 1e300, whole=1.0, first_byte=2.5, finished=1e300, status=599, ending=Ending.DONE,
        model=LONGEST, served_model=LONGEST, platform=LONGEST, credential=LONGEST, stream=True, attempts=1 << 60,
        bytes_in=1 << 60, bytes_out=1 << 60, error_code=LONGEST, key=LONGEST, client=LONGEST,
        user_agent=LONGEST.encode(), cache="bypass", error_message=LONGEST, upstream_code=LONGEST, sent=1.5,
        complete=1e300,
    )  # fmt: skip
    write_finished(board.slot(0), [one], 0.0)
    (shown,) = read_live(board)
    assert shown.path == "\N{SNOWMAN}" * 40
    one.request_id = one.method = one.model = one.served_model = one.platform = one.credential = "short"
    one.error_code = one.key = one.client = one.error_message = one.upstream_code = None
    one.user_agent, one.path = None, "/" + "x" * 800
    write_finished(board.slot(0), [one], 0.0)
    assert one.path in [record.path for record in read_live(board)], "cut without need"


def test_a_live_record_has_each_field_of_the_request() -> None:
    board = MetricsBoard()
    one = RequestRecord(
        "id", "POST", "/path", 10.0, whole=11.0, sent=12.0, complete=15.0, first_byte=13.0, finished=16.0, status=201,
        ending=Ending.TRUNCATED, model="model", served_model="served", platform="platform", credential="credential",
        stream=True, attempts=3, bytes_in=4, bytes_out=5, usage=Usage(6, 7, 13), error_code="code",
        error_message="message", upstream_code="upstream", cache="miss", key="key", client="client", peer="peer",
        user_agent=b"agent",
    )  # fmt: skip
    write_finished(board.slot(0), [one], 100.0)
    (shown,) = read_live(board)
    assert msgspec.structs.asdict(shown) == {
        "id": "id", "started": 110.0, "method": "POST", "path": "/path", "model": "served", "platform": "platform",
        "credential": "credential", "key": "key", "client": "client", "user_agent": "agent", "status": 201,
        "ending": "truncated", "outcome": "failed", "error_message": "message", "upstream_code": "upstream",
        "received_after": 1.0, "sent_after": 2.0, "first_after": 3.0, "complete_after": 5.0, "phase": "done",
        "stream": True, "attempts": 3, "bytes_in": 4, "bytes_out": 5, "input_tokens": 6, "output_tokens": 7,
        "time_to_first_token": 2.0, "duration": 6.0, "error_code": "code", "cache": "miss", "peer": "peer",
    }  # fmt: skip


def test_a_lost_record_of_any_length_leaves_its_neighbour_alone() -> None:
    """The record of a dead worker is longer than that of a live one: a record that just had room has none any more."""
    board = MetricsBoard()
    slot = board.slot(0)
    for written, length in enumerate(range(1060, 1500)):
        one = record(1, ended=False)
        one.path = "x" * length
        write_in_flight(slot, [one], 0.0, 500.0)
        reclaim(board, 0, NOW)
        assert slot.ints[FINISHED_START + (written + 1) * LIVE_WORDS] == 0


def test_the_ring_keeps_the_newest() -> None:
    board = MetricsBoard(2)
    write_finished(board.slot(0), [record(number) for number in range(LIVE_FINISHED + 20)], 0.0)
    write_finished(board.slot(0), [record(number) for number in range(5000, 5010)], 0.0)
    write_finished(board.slot(1), [record(9000)], 0.0)
    shown = read_live(board)
    assert len(shown) == LIVE_FINISHED + 1
    assert [one.started for one in shown[:3]] == [9000.0, 5009.0, 5008.0]


def test_requests_in_flight_come_first_and_once() -> None:
    board = MetricsBoard()
    slot = board.slot(0)
    write_in_flight(slot, [record(number, ended=False) for number in range(LIVE_IN_FLIGHT + 9)], 0.0, 500.0)
    write_finished(slot, [record(3)], 0.0)
    shown = read_live(board)
    assert [one.ending for one in shown].count(None) == LIVE_IN_FLIGHT - 1
    assert (shown[-1].id, shown[-1].ending) == ("request-3", "done")
    assert shown[0].duration == 500.0 - shown[0].started


def fill(slot: Slot, letter: int, stop: multiprocessing.synchronize.Event) -> None:
    """Writes records that repeat one letter, with lengths that identify the letter."""
    size = 300 + letter
    while not stop.is_set():
        for place in range(8):
            slot.write_record(FINISHED_START + place * (LIVE_BYTES // 8), bytes([letter]) * size)
            letter = 65 + (letter - 64) % 26
            size = 300 + letter


def test_records_are_never_torn() -> None:
    """A writer in a process of its own overwrites what is being read, as fast as it can."""
    context = multiprocessing.get_context("fork")
    board, stop = MetricsBoard(), context.Event()
    slot = board.slot(0)
    writer = context.Process(target=fill, args=(slot, 65, stop))
    writer.start()
    try:
        seen = set()
        for turn in range(1_000_000):
            data = slot.record(FINISHED_START + turn % 8 * (LIVE_BYTES // 8))
            if data is None:
                continue
            assert data == data[:1] * (300 + data[0]), "torn"
            seen.add(data[0])
            if turn >= 20_000 and len(seen) == 26:
                break
        assert len(seen) == 26
    finally:
        stop.set()
        writer.join(WAIT_SECONDS)
    assert writer.exitcode == 0


def note(slot: Slot, stop: multiprocessing.synchronize.Event) -> None:
    """Writes seconds of one place, whose words all have the last digit of the second's number. No second returns: a
    reader that was suspended meanwhile would take it for the one that it has begun to read."""
    turn = 0
    while not stop.is_set():
        turn += 1
        digit = turn % 10
        slot.write_second(turn * SECONDS, [digit] * 5, [float(digit)] * 8, bytes([digit]) * SECOND_BYTES)


def test_seconds_are_never_torn() -> None:
    """Each worker in a process of its own overwrites its seconds while all are read."""
    context = multiprocessing.get_context("fork")
    board, stop = MetricsBoard(2), context.Event()
    writers = [context.Process(target=note, args=(slot, stop)) for slot in board.slots]
    for writer in writers:
        writer.start()
    try:
        seen = set()
        for look in range(1_000_000):
            slot = board.slot(look % 2)
            newest = slot.ints[SECONDS_START]
            # It is 0 during a write.
            for at, row, sums, counts in slot.seconds(newest, 1) if newest else ():
                digit = at // SECONDS % 10
                assert {*row, *sums, *counts} == {digit}, "torn"
                seen.add((digit, look % 2))
            if look >= 20_000 and len(seen) == 20:
                break
        assert len(seen) > 10, "of both"
    finally:
        stop.set()
        for writer in writers:
            writer.join(WAIT_SECONDS)


def count(slot: Slot, started: int, ended: int) -> None:
    slot.ints[Cell.STARTED] += started
    slot.row(CODES, ("/v1/models", "GET", "200"))[0][0] += ended


def test_counts_of_several_writing_processes_are_exact() -> None:
    context = multiprocessing.get_context("fork")
    board = MetricsBoard(3)

    def work(slot: Slot) -> None:
        for _ in range(20_000):
            count(slot, 1, 1)

    writers = [context.Process(target=work, args=(board.slot(number),)) for number in range(3)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        board.in_flight()
    for writer in writers:
        writer.join(WAIT_SECONDS)
    assert board.rows(CODES) == {("/v1/models", "GET", "200"): [60_000]}
    assert board.in_flight() == 0


def test_a_dead_worker_leaves_its_counts() -> None:
    board = MetricsBoard(2)
    slot = board.slot(0)
    slot.take_over(4711, NOW)
    count(slot, started=10, ended=8)
    slot.ints[Cell.STREAMS] = 2
    slot.floats[Cell.CPU_SECONDS] = 5.0
    slot.row(SAMPLES, ("ztoapi_client_connections", "", ""))[1][0] = 7.0
    slot.row(SAMPLES, ("ztoapi_admission_refused", "", ""))[1][0] = 3.0
    write_in_flight(slot, [record(1, ended=False), record(2, ended=False)], 0.0, 1.0)
    slot.ints[FINISHED_START + LIVE_WORDS * 5] = 7
    reclaim(board, 0, NOW)
    assert board.in_flight() == 0
    assert (board.total(Cell.LOST), board.total(Cell.RESTARTS), board.total(Cell.STREAMS)) == (2, 1, 0)
    assert board.total_seconds(Cell.CPU_SECONDS_BEFORE) == 5.0
    assert board.rows(CODES) == {("/v1/models", "GET", "200"): [8]}
    assert board.samples() == {("ztoapi_admission_refused", "", ""): 3.0}
    assert [one.ending for one in read_live(board)] == [LOST, LOST]
    successor = board.slot(0)
    successor.take_over(4712, NOW)
    count(successor, started=1, ended=1)
    assert board.rows(CODES) == {("/v1/models", "GET", "200"): [9]}
    assert board.in_flight() == 0


@pytest.mark.parametrize(("path", "lost"), [("/v1/models", 1), ("/metrics/", 0), ("/dashboard/events", 0), ("/x", 1)])
def test_of_what_looks_after_the_gateway_nothing_is_lost(path: str, lost: int) -> None:
    with Stack() as stack:
        board = stack.application.telemetry
        route = stack.application.context.routes.find(path)
        one = record(1, ended=False)
        one.monitoring = route is not None and route.monitoring
        stack.application.recorder.begun += not one.monitoring
        stack.application.recorder.publish()
        assert board.in_flight() == lost
        reclaim(board, 0, NOW)
        assert board.total(Cell.LOST) == lost


def test_what_looks_after_the_gateway_counts_for_nothing_else_even_without_room() -> None:
    """Open paths accept any method, and its combinations with the status codes are more than the rows."""
    board = MetricsBoard()
    recorder = BoardRecorder(board.slot(0))
    for number in range(CODES.rows + 50):
        one = record(number)
        one.route, one.monitoring = f"/docs/{number}", True
        recorder.submit(one)
    recorder.begun = 3
    recorder.publish()
    assert board.in_flight() == 3
    recorder.submit(record(1))
    recorder.publish()
    reclaim(board, 0, NOW)
    assert (board.total(Cell.STARTED), board.total(Cell.LOST)) == (3, 2)
    assert sum(row[0] for row in board.rows(CODES, OWN_CODES).values()) == CODES.rows + 51


def test_seconds_are_kept_for_five_minutes() -> None:
    board = MetricsBoard()
    slot = board.slot(0)
    start = int(NOW)
    for number in range(SECONDS + 10):
        slot.write_second(start + number, [number] * 5, [0.25] * 8, bytes(SECOND_BYTES))
    kept = list(slot.seconds(start + SECONDS + 9, SECONDS))
    assert [at for at, *_ in kept] == list(range(start + 10, start + SECONDS + 10))
    assert kept[0][1][0] == 10
    assert kept[0][2][0] == 0.25
    assert list(slot.seconds(start + 2 * SECONDS + 100, SECONDS)) == []


def test_error_rows_lie_behind_the_platforms() -> None:
    """The tables do not overlap."""
    ends = [table.end for table in TABLES]
    assert [table.start for table in TABLES[1:]] == ends[:-1]
    assert ERRORS in TABLES


def test_a_board_without_a_name_takes_no_descriptors() -> None:
    before = len(os.listdir("/proc/self/fd"))
    boards = [MetricsBoard() for _ in range(20)]
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(boards) == 20


def test_a_board_is_passed_on_if_it_has_the_same_form() -> None:
    board = MetricsBoard(2, "test")
    board.slot(1).ints[Cell.STARTED] = 7
    kept = board.pass_on()
    assert MetricsBoard(2, "test", kept).total(Cell.STARTED) == 7
    assert MetricsBoard(3, "test", kept).total(Cell.STARTED) == 0
    assert MetricsBoard(2, "test", msgspec.structs.replace(kept, layout="other")).total(Cell.STARTED) == 0
