"""Heads made to cost time: work stays in proportion to the bytes. Calls are counted, not seconds."""

import sys
from types import FrameType

import h11
import pytest

from tests.support.pieces import bytewise
from tests.support.table import table
from ztoapi.errors import ProtocolError
from ztoapi.wire.client import ClientWire, ResponseHeads
from ztoapi.wire.limits import Limits
from ztoapi.wire.server import ServerWire

RUN = 32_000
START = b"GET / HTTP/1.1\r\nhost: a\r\n"


class CallCounter:
    """Calls of Python and C functions while active."""

    def __init__(self) -> None:
        self.calls = 0

    def __enter__(self) -> "CallCounter":
        sys.setprofile(self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, arg: object) -> None:
        self.calls += event in {"call", "c_call"}


def status_of(pieces: list[bytes], limits: Limits | None = None) -> int | None:
    wire = ServerWire(limits or Limits())
    try:
        for piece in pieces:
            wire.receive_data(piece)
            if wire.next_head() is not None:
                return None
    except ProtocolError as error:
        return error.status
    raise AssertionError("neither read nor refused")


@pytest.mark.parametrize("byte", [b"\x00", b"\x0b", b"\x0c", b"\r", b"\x7f", b"\x01"])
@pytest.mark.parametrize("blank", [b" ", b"\t"])
@pytest.mark.parametrize("size", [2_000, 16_000, RUN])
def test_a_run_of_blanks_before_a_control_byte_never_reaches_the_backtracking_pattern(
    monkeypatch: pytest.MonkeyPatch, byte: bytes, blank: bytes, size: int
) -> None:
    monkeypatch.setattr(h11, "Connection", None)
    head = START + b"x:" + blank * size + byte + b"\r\n\r\n"
    assert status_of([head]) == 400


@table(
    "field",
    [
        b"x:" + b" " * RUN + b"\x00",
        b"x:" + b" " * RUN,
        b"x: a" + b" " * RUN + b"b",
        b"x:" + b" a" * (RUN // 2),
        b"x" + b" " * RUN + b": a",
        b"y" * RUN,
        b"y" * RUN + b":",
        b" " * RUN,
        b"host: " + b"a" * RUN,
        b"host: " + b"[" + b":" * RUN,
        b"connection: " + b"," * RUN,
        b"connection: " + b"a," * (RUN // 2),
        b"content-length: " + b"1" * RUN,
        b"content-length: " + b"1," * (RUN // 2),
        b"transfer-encoding: " + b"chunked," * (RUN // 8),
        b"expect: " + b"x" * RUN,
        b"\r\n".join([b"a:"] * 97),
        b"\r\n".join([b"a: " + b"b" * 300] * 97),
    ],
    ids=lambda field: repr(field[:24]) + f"_{len(field)}",
)
def test_the_largest_heads_cost_a_bounded_number_of_calls(field: bytes) -> None:
    head = START + field + b"\r\n\r\n"
    limits = Limits()
    assert len(head) <= limits.max_head_bytes
    with CallCounter() as whole:
        status_of([head])
    # 100 fields of any kind cost some 60 calls each. Lists are split: up to three calls for each of their tokens.
    assert whole.calls < 8_000 + 3 * field.count(b",")


@pytest.mark.parametrize("blanks", [4_000, RUN])
def test_calls_do_not_grow_with_the_length_of_a_run(blanks: int) -> None:
    with CallCounter() as short:
        status_of([START + b"x:" + b" " * 10 + b"\r\n\r\n"])
    with CallCounter() as long:
        status_of([START + b"x:" + b" " * blanks + b"\r\n\r\n"])
    assert long.calls <= short.calls + 5


class CountedBytes(bytes):
    """Counts the bytes that searches for the end of a head look at."""

    looked_at = 0

    def find(self, sub: object, start: object = 0, end: object = None) -> int:
        assert isinstance(sub, bytes)
        assert isinstance(start, int)
        if end is None:
            CountedBytes.looked_at += len(self) - start
            return super().find(sub, start)
        assert isinstance(end, int)
        return super().find(sub, start, end)

    def __add__(self, other: object) -> "CountedBytes":
        assert isinstance(other, bytes)
        return CountedBytes(bytes(self) + other)


def test_a_dribbled_head_is_searched_once_for_its_end() -> None:
    wire = ServerWire(Limits())
    CountedBytes.looked_at = 0
    head = START + b"x: " + b"y" * 20_000 + b"\r\n\r\n"
    wire.receive_data(CountedBytes(head[:1]))
    for byte in bytewise(head[1:]):
        assert wire.next_head() is None
        wire.receive_data(byte)
    assert wire.next_head() is not None
    assert len(head) <= CountedBytes.looked_at <= 5 * len(head)


def test_dribbled_heads_are_refused_at_the_same_sizes() -> None:
    assert status_of(bytewise(START + b"x:" + b" " * RUN * 2)) == 431
    assert status_of(bytewise(b"GET /" + b"a" * RUN)) == 414


@pytest.mark.parametrize(
    "field",
    [b"x:" + b" " * RUN + b"\x00", b"x:" + b" \t" * (RUN // 2) + b"\r", b"x" * RUN, b"content-length: " + b"1," * RUN],
)
def test_an_upstream_head_costs_a_bounded_number_of_calls(field: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + field[:60_000] + b"\r\n\r\n"
    wire = ClientWire(ResponseHeads())
    with CallCounter() as counter, pytest.raises(ProtocolError):
        wire.read_head(head)
    assert counter.calls < 40_000
