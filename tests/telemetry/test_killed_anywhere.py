"""A worker is killed at every distinguishable instant: each request is counted once, or lost once.

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
from ztoapi.telemetry.layout import CODES, MODELS, ROUTES, Cell, ModelCell
from ztoapi.telemetry.live import reclaim
from ztoapi.telemetry.record import RequestRecord
from ztoapi.telemetry.recorder import BoardRecorder

CHAT = "/v1/chat/completions"
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


def serve(recorder: BoardRecorder) -> None:
    """One streamed chat, as far as it reaches the board."""
    one = chat()
    recorder.begin(one)
    recorder.begin_stream(one)
    recorder.submit(one)


def die_before(board: MetricsBoard, store: int, served: int) -> bool:
    """In a process of its own, serve ``served`` requests and die in the next, right before its store of this number,
    counted from 0. False if there are not so many: that request is served too."""
    pid = os.fork()
    if pid == 0:
        try:
            recorder = BoardRecorder(board.slot(0), ["glm-4.6"])
            for _ in range(served):
                serve(recorder)
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
            serve(recorder)
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def requests(board: MetricsBoard) -> tuple[int, int, int]:
    """Those begun, those counted by their status, and those lost."""
    counted = int(sum(row[0] for row in board.rows(CODES).values()))
    return board.total(Cell.STARTED), counted, board.total(Cell.LOST)


# Without any served before, the rows are made in the request in which the worker dies.
@pytest.mark.parametrize("served", [0, 3])
def test_whatever_instant_a_worker_dies_at_each_request_is_counted_or_lost(served: int) -> None:
    seen = set()
    for store in itertools.count():
        board = MetricsBoard()
        died = die_before(board, store, served)
        reclaim(board, 0, NOW)
        started, counted, lost = requests(board)
        assert counted + lost == started
        assert board.in_flight() == board.total(Cell.STREAMS) == 0
        # The one that was being counted may miss in any of the others, and is in none of them twice.
        models, routes = board.rows(MODELS).values(), board.rows(ROUTES).values()
        assert sum(row[ModelCell.REQUESTS] for row in models) in (served, counted)
        assert sum(sum(row[1:]) for row in routes) in (served, counted)
        assert sum(row[ModelCell.OUTPUT] for row in models) in (4 * served, 4 * counted)
        seen.add((started - served, counted - served, lost))
        # Its successor goes on with the same rows.
        assert not die_before(board, sys.maxsize, 0)
        reclaim(board, 0, NOW)
        assert requests(board) == (started + 1, counted + 1, lost)
        assert list(board.rows(CODES)) == [(CHAT, "POST", "200")]
        if not died:
            break
    assert seen == {(0, 0, 0), (1, 0, 1), (1, 1, 0)}
