"""W3C Trace Context: what is passed on, and what is not. https://www.w3.org/TR/trace-context/"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.wire.trace import field_lines, read_trace

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
VALUE = f"00-{TRACE_ID}-{SPAN_ID}-01".encode()


def test_a_valid_traceparent() -> None:
    assert read_trace({b"traceparent": VALUE}) == (TRACE_ID, SPAN_ID, True, VALUE, b"")
    unsampled = read_trace({b"traceparent": VALUE[:-1] + b"0"})
    assert unsampled is not None and not unsampled.sampled


@pytest.mark.parametrize("flags", [b"01", b"03", b"ff"])
def test_other_flags_leave_sampled_as_it_is(flags: bytes) -> None:
    trace = read_trace({b"traceparent": VALUE[:-2] + flags})
    assert trace is not None and trace.sampled and trace.value.endswith(flags)


@table(
    "value",
    [
        b"",
        b"garbage",
        VALUE[:-1],
        VALUE + b"0",
        VALUE + b"-",
        VALUE + b"-00",
        VALUE.upper(),
        b" " + VALUE,
        VALUE + b", " + VALUE,
        b"ff" + VALUE[2:],
        b"0" + VALUE[2:],
        b"00-" + b"0" * 32 + b"-" + SPAN_ID.encode() + b"-01",
        b"00-" + TRACE_ID.encode() + b"-" + b"0" * 16 + b"-01",
        VALUE.replace(b"-", b"_"),
        VALUE[:-2] + b"0x",
        VALUE + b"\r\nx: y",
        VALUE + b"\n",
    ],
)
def test_what_breaks_the_grammar_is_none(value: bytes) -> None:
    assert read_trace({b"traceparent": value, b"tracestate": b"a=1"}) is None


@pytest.mark.parametrize("more", [b"", b"-", b"-what-the-future-brings"])
def test_a_version_to_come_may_have_more(more: bytes) -> None:
    value = b"cc" + VALUE[2:] + more
    trace = read_trace({b"traceparent": value})
    assert trace is not None and (trace.trace_id, trace.value) == (TRACE_ID, value)


@pytest.mark.parametrize(
    "state",
    [
        b"a=1",
        b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE",
        b"a=1,\tb=2 , c=3",
        b"0tenant@vendor=x y,",
        b"a=%b,b=%b" % (b"x" * 256, b"y" * 251),
        b",".join([b"a=1"] * 32),
    ],
)
def test_a_state_goes_with_it(state: bytes) -> None:
    trace = read_trace({b"traceparent": VALUE, b"tracestate": state})
    assert trace is not None and trace.state == state
    assert field_lines(trace.value, trace.state) == b"traceparent: %b\r\ntracestate: %b\r\n" % (VALUE, state)


@table(
    "state",
    [
        b"",
        b"a=%b,b=%b" % (b"x" * 256, b"y" * 252),
        b",".join([b"a=1"] * 33),
        b"a=\xff",
        b"a=\n",
        b"a=1\r\nx: y",
        b"a=\x7f",
        b"2026-11-23 12:00:00 ERROR no list of anything",
        b"A=1",
        b"a=",
        b"a=1=2",
        b"," + b" ," * 250 + b" x",
    ],
)
def test_a_state_that_cannot_be_passed_on_is_left_out(state: bytes) -> None:
    trace = read_trace({b"traceparent": VALUE, b"tracestate": state})
    assert trace is not None and trace.state == b""
    assert field_lines(trace.value, trace.state) == b"traceparent: %b\r\n" % VALUE


def test_a_state_alone_is_none() -> None:
    assert read_trace({b"tracestate": b"a=1"}) is None


@given(st.binary(), st.binary())
def test_nothing_that_is_passed_on_can_break_a_head(more: bytes, state: bytes) -> None:
    for value in (VALUE + more, b"cc" + VALUE[2:] + b"-" + more, more):
        trace = read_trace({b"traceparent": value, b"tracestate": state})
        if trace is not None:
            lines = field_lines(trace.value, trace.state)
            assert lines.count(b"\n") == lines.count(b"\r") == (2 if trace.state else 1)
            assert lines.isascii()
