"""A worker is killed at each distinguishable instant of a tick: each request is counted once, lost once, or not known.

Only its stores into the board are visible to other workers, so it is enough to die right before each of them.
"""

import dis
import itertools
import os
import signal
import sys
from types import FrameType
from typing import Protocol

import pytest

from tests.telemetry.test_board import NOW
from ztoapi.dialects.reader import Usage
from ztoapi.errors import Ending
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.layout import CODES, KEYS, MODELS, ROUTES, Cell, KeyCell, MetricTable, ModelCell
from ztoapi.telemetry.live import reclaim
from ztoapi.telemetry.record import RequestRecord
from ztoapi.telemetry.recorder import BATCH_RECORDS, BoardRecorder

CHAT = "/v1/chat/completions"
BATCH = 4
STORES = {dis.opmap[name] for name in ("STORE_SUBSCR", "STORE_SLICE") if name in dis.opmap}


class Trace(Protocol):
    """As sys.settrace() takes it."""

    def __call__(self, frame: FrameType, event: str, argument: object) -> "Trace": ...


def chat() -> RequestRecord:
    return RequestRecord(
        "a", "POST", CHAT, 1.0, route=CHAT, whole=1.5, sent=2.0, overhead=0.1, complete=3.0, first_byte=2.5,
        last_write=3.0, finished=3.5, status=200, ending=Ending.DONE, model="glm-4.6", platform="zai",
        stream=True, attempts=2,
        bytes_in=10, bytes_out=100, usage=Usage(3, 4, 7), key="alice",
    )  # fmt: skip


def serve(recorder: BoardRecorder, count: int) -> None:
    """Streamed chats, of which the last has begun and not ended."""
    for number in range(count):
        one = chat()
        recorder.begun += 1
        gaps = recorder.begin_stream(one)
        assert gaps is not None
        gaps[3] += 1
        if number < count - 1:
            recorder.submit(one)


def worker(board: MetricsBoard, served: int) -> BoardRecorder:
    """Serves ``served`` requests, and publishes them; serves :data:`BATCH` more."""
    recorder = BoardRecorder(board.slot(0), ["glm-4.6"])
    serve(recorder, served)
    recorder.publish()
    serve(recorder, BATCH)
    return recorder


def die_before(board: MetricsBoard, store: int, served: int) -> bool:
    """Runs a worker in a process of its own, which dies while it publishes the last requests, right before the store of
    this number, counted from 0. Returns False if there are not so many: all are published."""
    pid = os.fork()
    if pid == 0:
        try:
            recorder = worker(board, served)
            left = store

            def trace(frame: FrameType, event: str, argument: object) -> Trace:
                nonlocal left
                frame.f_trace_opcodes = True
                if event == "opcode" and frame.f_code.co_code[frame.f_lasti] in STORES:
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    left -= 1
                return trace

            sys.settrace(trace)
            recorder.publish()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def requests(board: MetricsBoard) -> tuple[int, int, int]:
    """Those begun, those counted by their status, and those lost."""
    counted = int(sum(row[0] for row in board.rows(CODES).values()))
    return board.total(Cell.STARTED), counted, board.total(Cell.LOST)


def counted_in(table: MetricTable, cell: int, board: MetricsBoard) -> int:
    return int(sum(row[cell] for row in board.rows(table).values()))


# Without any served before, the rows are made while the worker dies.
@pytest.mark.parametrize("served", [0, 3])
def test_a_worker_that_is_killed_loses_at_most_the_counts_of_one_tick(served: int) -> None:
    seen = set()
    ended = max(served - 1, 0)
    for store in itertools.count():
        board = MetricsBoard()
        died = die_before(board, store, served)
        reclaim(board, 0, NOW)
        started, counted, lost = requests(board)
        # Each request that is known to have begun has ended, or is lost.
        assert counted + lost == started
        assert started in (served, served + BATCH)
        assert counted in (ended, ended + BATCH - 1)
        assert board.in_flight() == board.total(Cell.STREAMS) == 0
        # The batch is in each of the others or not in it, and in none of them twice.
        assert counted_in(MODELS, ModelCell.REQUESTS, board) in (ended, ended + BATCH - 1)
        assert counted_in(MODELS, ModelCell.OUTPUT, board) in (4 * ended, 4 * (ended + BATCH - 1))
        assert counted_in(MODELS, ModelCell.GAPS + 4, board) in (served, served + BATCH)
        assert counted_in(KEYS, KeyCell.REQUESTS, board) in (ended, ended + BATCH - 1)
        assert sum(sum(row[1:]) for row in board.rows(ROUTES).values()) in (ended, ended + BATCH - 1)
        seen.add((started - served, counted - ended))
        # Its successor goes on with the same rows.
        worker(board, 0).publish()
        reclaim(board, 0, NOW)
        assert requests(board) == (started + BATCH, counted + BATCH - 1, lost + 1)
        assert list(board.rows(CODES)) == [(CHAT, "POST", "200")]
        if not died:
            break
    assert seen == {(0, 0), (BATCH, 0), (BATCH, BATCH - 1)}


def test_a_full_batch_is_counted_before_the_tick() -> None:
    board = MetricsBoard()
    recorder = BoardRecorder(board.slot(0), ["glm-4.6"])
    serve(recorder, BATCH_RECORDS)
    assert requests(board) == (0, 0, 0)
    one = chat()
    recorder.begun += 1
    recorder.begin_stream(one)
    recorder.submit(one)
    assert requests(board) == (BATCH_RECORDS + 1, BATCH_RECORDS, 0)
    assert board.total(Cell.STREAMS) == 1
