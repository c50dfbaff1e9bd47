"""Whole events in, (name, data) out; the reference below follows the standard's algorithm line by line."""

from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.dialects.events import events


def reference(block: bytes) -> list[tuple[str, bytes]]:
    """The standard's algorithm, byte by byte."""
    lines: list[bytes] = []
    line = b""
    at = 0
    while at < len(block):
        if block[at : at + 1] in (b"\r", b"\n"):
            lines.append(line)
            line = b""
            at += 2 if block[at : at + 2] == b"\r\n" else 1
        else:
            line += block[at : at + 1]
            at += 1
    found: list[tuple[str, bytes]] = []
    data, name = b"", b""
    for line in lines:
        if not line:
            if data:
                found.append((name.decode("utf-8", "replace"), data[:-1]))
            data, name = b"", b""
        elif not line.startswith(b":"):
            field, _, value = line.partition(b":")
            value = value[1:] if value.startswith(b" ") else value
            if field == b"data":
                data += value + b"\n"
            elif field == b"event":
                name = value
    return found


@table(
    ("block", "expected"),
    [
        (b'data: {"a":1}\n\ndata: {"b":2}\n\n', [("", b'{"a":1}'), ("", b'{"b":2}')]),
        (b"data:{}\n\n", [("", b"{}")]),
        (b"data:  two\n\n", [("", b" two")]),
        (b"data: one\ndata: two\n\n", [("", b"one\ntwo")]),
        (b"event:answer\ndata:{}\n\n", [("answer", b"{}")]),
        (b"event: answer\r\ndata: {}\r\n\r\n", [("answer", b"{}")]),
        (b"event: a\rdata: x\r\r", [("a", b"x")]),
        (b": keepalive\n\n", []),
        (b"event: lonely\n\ndata: x\n\n", [("", b"x")]),
        (b"data\n\n", [("", b"")]),
        (b"id: 7\nretry: 10\ndata: x\n\n", [("", b"x")]),
        (b"event: first\nevent: last\ndata: x\n\n", [("last", b"x")]),
        (b"event: \xff\ndata: x\n\n", [("\ufffd", b"x")]),
        (b"\n\n\n\ndata: x\n\n\n", [("", b"x")]),
        (b"", []),
    ],
)
def test_event_forms(block: bytes, expected: list[tuple[str, bytes]]) -> None:
    assert events(block) == expected


def test_unfinished_event_is_dropped() -> None:
    assert events(b"data: x\n\ndata: half") == [("", b"x")]


_PIECES = st.sampled_from(
    [b"data: ", b"data:", b"data", b"event:", b"event: ", b":", b" ", b"x", b"{}", b"\n", b"\r", b"\r\n", b"\xc3"]
)


@given(st.lists(_PIECES, max_size=40).map(b"".join))
def test_any_block_reads_as_in_the_standard(block: bytes) -> None:
    assert events(block) == reference(block)
