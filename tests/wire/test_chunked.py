"""The chunk decoder against a reference, whole and in pieces; its bounds; what it refuses."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pieces import bytewise, cut, cut_points, whole_split_and_bytewise
from tests.support.table import table
from ztoapi.errors import ProtocolError
from ztoapi.wire.chunked import ChunkDecoder
from ztoapi.wire.limits import CHUNK_LINE_BYTES, CHUNK_OVERHEAD_BYTES, TRAILER_BYTES

blanks = st.sampled_from([b"", b" ", b"\t ", b" " * 20])
ext_names = st.sampled_from([b"x", b"name", b"!#$%&'*+-.^_`|~09AZaz"])
quoted_text = st.sampled_from([b"", b"v", b" \t;=", b'\\"', b"\\\\", b"\xe9\xff", b"[]{}(),/:?@"])
ext_values = ext_names | st.lists(quoted_text, max_size=3).map(lambda texts: b'"%b"' % b"".join(texts))
one_extension = st.tuples(blanks, blanks, ext_names).map(lambda parts: b"%b;%b%b" % parts) | st.tuples(
    blanks, blanks, ext_names, blanks, blanks, ext_values
).map(lambda parts: b"%b;%b%b%b=%b%b" % parts)
extensions = st.lists(one_extension, max_size=2).map(b"".join)
trailers = st.lists(
    st.sampled_from([b"x: 1", b"authorization: Bearer no", b"content-length: 3", b"x:", b"!~: \t\xe9 \t"]), max_size=3
)


def decode(pieces: Iterable[bytes]) -> tuple[bytes, bool, bytes]:
    """The payload, whether the body is complete, and the bytes after it."""
    decoder, payload, rest = ChunkDecoder(), b"", b""
    for piece in pieces:
        if decoder.done:
            rest += piece
        else:
            payload += decoder.decode(piece)
    return payload, decoder.done, decoder.rest + rest


def encode(chunks: list[bytes], extension: bytes = b"", trailer: Iterable[bytes] = ()) -> bytes:
    """The reference encoder: RFC 9112 section 7.1, written for plainness."""
    lines = [b"%X%b\r\n%b\r\n" % (len(chunk), extension, chunk) for chunk in chunks if chunk]
    return b"".join([*lines, b"0" + extension + b"\r\n", *(field + b"\r\n" for field in trailer), b"\r\n"])


@given(st.lists(st.binary(max_size=2000)), extensions, trailers, st.binary(max_size=50), cut_points())
def test_any_chunks_in_any_pieces_decode_to_what_was_encoded(
    chunks: list[bytes], extension: bytes, trailer: list[bytes], rest: bytes, points: list[int]
) -> None:
    wire = encode(chunks, extension, trailer)
    assert decode(cut(wire + rest, points)) == (b"".join(chunks), True, rest)


looks_like_framing = st.sampled_from(
    [b"\r\n", b"0\r\n\r\n", b"\r\n0\r\n\r\n", b"a\r\n1\r\nb", b"1\r\nx\r\n", b"\r", b"\n"]
)
looks_like_an_event = st.sampled_from(
    [b"data: 1\n\n", b"\n\n", b"x\r\n\n", b"0\r\n\n", b"a\nb\n\n", b"a\n\r\n", b"x" * 1022 + b"\n\n"]
)


@given(
    st.lists(st.lists(looks_like_framing | looks_like_an_event | st.binary(min_size=1, max_size=20), max_size=4)),
    st.sampled_from([b"0\r\n\r\n", b"00\r\n\r\n", b"0\r\nx: y\r\n\r\n"]),
    st.sampled_from([b"", b"1\r\nx\r\n0\r\n\r\n", b"\r\n"]),
    st.booleans(),
)
def test_reads_of_whole_chunks_decode_as_any_others(
    reads: list[list[bytes]], last: bytes, rest: bytes, together: bool
) -> None:
    """As upstreams send them: each read holds whole chunks, and payload may look like framing."""
    pieces = [b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in read) for read in reads]
    pieces = [*pieces[:-1], b"".join([*pieces[-1:], last, rest])] if together else [*pieces, last, rest]
    payload = b"".join(chunk for read in reads for chunk in read)
    assert decode(pieces) == (payload, True, rest)


@pytest.mark.parametrize("rest", [b"", b"GET / HTTP/1.1\r\n", b"\r\n"])
def test_a_body_decodes_alike_at_every_split(rest: bytes) -> None:
    wire = encode([b"hello", b"\r\n", b"w" * 17], b';name="v"', [b"x: y"]) + rest
    for pieces in whole_split_and_bytewise(wire):
        assert decode(pieces) == (b"hello\r\n" + b"w" * 17, True, rest)


@pytest.mark.parametrize("wire", [b"a\r\n0123456789\r\n0\r\n\r\n", b"A\r\n0123456789\r\n00000000\r\n\r\n"])
def test_sizes_are_hexadecimal_in_either_case_with_leading_zeros(wire: bytes) -> None:
    assert decode([wire]) == (b"0123456789", True, b"")


def test_an_unfinished_body_is_not_done() -> None:
    wire = encode([b"hello", b"world"], trailer=[b"x: y"])
    for stop in range(len(wire)):
        payload, done, _ = decode([wire[:stop]])
        assert not done
        assert b"helloworld".startswith(payload)


def test_trailers_are_dropped() -> None:
    wire = encode([b"body"], trailer=[b"authorization: Bearer trailer", b"x:y"])
    assert decode([wire]) == (b"body", True, b"")


@table(
    "wire",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n",
        b"0x1\r\na\r\n",
        b"1_0\r\n",
        b" 1\r\na\r\n",
        b"1 \r\na\r\n",
        b"1\na\r\n",
        b"1;\x00\r\na\r\n",
        b"1;a\rb\r\na\r\n",
        b"1;a\nb\r\na\r\n",
        b"1;\x7f\r\na\r\n",
        b"5;" + b" " * 200 + b"\n\r\nhello\r\n",
        b"000000001\r\na\r\n",
        b"-0\r\n",
        b"0_1\r\na\r\n",
        b"0X1\r\na\r\n",
        b"1.0\r\na\r\n",
        b"1h\r\na\r\n",
        b"\xb2\r\nab\r\n",
        b"1;\r\na\r\n",
        b"1; \r\na\r\n",
        b"1;;x\r\na\r\n",
        b"1;x;\r\na\r\n",
        b"1;=\r\na\r\n",
        b"1;=y\r\na\r\n",
        b"1;x=\r\na\r\n",
        b"1;x=;y\r\na\r\n",
        b"1;x=y=z\r\na\r\n",
        b"1;x \r\na\r\n",
        b"1;x y\r\na\r\n",
        b"1;x(\r\na\r\n",
        b"1;\xe9\r\na\r\n",
        b"1;x=\xe9\r\na\r\n",
        b'1;x="\r\na\r\n',
        b'1;x="y\r\na\r\n',
        b'1;x="y"z\r\na\r\n',
        b'1;x="\\"\r\na\r\n',
        b'1;x="\x00"\r\na\r\n',
        b'1;x="\\\x00"\r\na\r\n',
        b'1;x="a\rb"\r\na\r\n',
        b'1;x="a\nb"\r\na\r\n',
        b'1;x="\x7f"\r\na\r\n',
        b"0;\r\n\r\n",
        b"0 \r\n\r\n",
        b"0\r\nnocolon\r\n\r\n",
        b"0\r\n: y\r\n\r\n",
        b"0\r\nx : y\r\n\r\n",
        b"0\r\nx\t: y\r\n\r\n",
        b"0\r\n x: y\r\n\r\n",
        b"0\r\nx: y\r\n z\r\n\r\n",
        b"0\r\nx y: z\r\n\r\n",
        b"0\r\nx\xe9: y\r\n\r\n",
        b"0\r\nx: a\rX: y\r\n\r\n",
        b"0\r\nx: y\r\r\n\r\n",
        b"0\r\nx: a\x00b\r\n\r\n",
        b"0\r\nx: \x0b\r\n\r\n",
        b"0\r\nx: \x7f\r\n\r\n",
        b"0\r\nx: y\r\nbad\r\n\r\n",
        b"1\r\naX\r\n",
        b"1\r\na\n",
        b"1\r\na\rX",
        b"1\r\na0\r\n\r\n",
        b"2\r\na\r\n0\r\n\r\n",
        b"0\r\n\n",
        b"0\r\nx: y\n\r\n",
        b"0\r\n\r\r\n\n",
        b"2\r\na\n\n\r\n",
        b"3\r\na\nb\n\r\n",
        b"3\r\na\n\n\n\r\n",
        b"3\r\na\n\nx\r\n",
        b"3\na\n\n\r\n",
        b"3\r\na\n\n\n",
    ],
)
def test_malformed_framing_is_refused_with_400_at_every_split(wire: bytes) -> None:
    # The bytes behind it complete any line that the malformed bytes leave open, or would end a valid body.
    for follow in (b"\r\n\r\n", b"0\r\n\r\n"):
        for pieces in whole_split_and_bytewise(wire + follow):
            with pytest.raises(ProtocolError) as refused:
                decode(pieces)
            assert refused.value.status == 400


@given(st.binary(max_size=300), cut_points(300))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(data: bytes, points: list[int]) -> None:
    status, done = 400, False
    try:
        _, done, _ = decode(cut(data, points))
    except ProtocolError as error:
        status = error.status
    assert status in {400, 431}
    assert not done or b"0\r\n" in data


@given(st.lists(st.binary(max_size=40)), st.integers(0, 400), st.binary(max_size=3), cut_points(300))
def test_damaged_bodies_fare_alike_whole_and_in_pieces(
    chunks: list[bytes], place: int, damage: bytes, points: list[int]
) -> None:
    wire = encode(chunks, b"; a=b", [b"x: y"])
    place = min(place, len(wire))
    wire = wire[:place] + damage + wire[place + 1 :]

    def outcome(pieces: list[bytes]) -> tuple[bytes, bool, bytes] | None:
        try:
            return decode(pieces)
        except ProtocolError:
            return None

    whole = outcome([wire])
    assert outcome(bytewise(wire)) == whole
    assert outcome(cut(wire, points)) == whole


# -- bounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size_digits", [b"4", b"00000004"])
def test_a_size_line_may_be_as_long_as_the_limit_and_no_longer(size_digits: bytes) -> None:
    longest = size_digits + b";" + b"x" * (CHUNK_LINE_BYTES - len(size_digits) - 1)
    assert len(longest) == CHUNK_LINE_BYTES
    rest = b"\r\nbody\r\n0\r\n\r\n"
    for pieces in whole_split_and_bytewise(longest + rest):
        assert decode(pieces) == (b"body", True, b"")
    for pieces in whole_split_and_bytewise(longest + b"x" + rest):
        with pytest.raises(ProtocolError, match="chunk-size line"):
            decode(pieces)


def test_a_size_line_that_never_ends_is_refused_at_its_limit() -> None:
    line = b"4;" + b" " * CHUNK_LINE_BYTES
    with pytest.raises(ProtocolError, match="chunk-size line"):
        decode(bytewise(line))


def test_one_byte_in_each_chunk_is_within_the_budget() -> None:
    count = 3 * CHUNK_OVERHEAD_BYTES
    payload, done, _ = decode([b"1\r\nx\r\n" * count + b"0\r\n\r\n"])
    assert done
    assert len(payload) == count


def test_extensions_that_outweigh_the_body_are_refused() -> None:
    line = b"1;" + b"x" * 200 + b"\r\nx\r\n"
    allowed = CHUNK_OVERHEAD_BYTES // (len(line) - 1)
    assert decode([line * (allowed - 1)])[0] == b"x" * (allowed - 1)
    with pytest.raises(ProtocolError, match="outweighs") as refused:
        decode([line * (allowed + 40)])
    assert refused.value.status == 400


def test_a_trailer_section_is_read_up_to_its_limit() -> None:
    field = b"x: " + b"y" * 59 + b"\r\n"
    fits = b"0\r\n" + field * (TRAILER_BYTES // len(field) - 1) + b"\r\n"
    assert decode([fits]) == (b"", True, b"")
    assert decode(bytewise(fits)) == (b"", True, b"")
    over = b"0\r\n" + field * (TRAILER_BYTES // len(field) + 1)
    for wire in (over, over + b"\r\n", b"0\r\nx: " + b"y" * TRAILER_BYTES):
        for pieces in ([wire], bytewise(wire)):
            with pytest.raises(ProtocolError, match="trailer section") as refused:
                decode(pieces)
            assert refused.value.status == 431


def test_payload_is_never_held_back() -> None:
    decoder = ChunkDecoder()
    assert decoder.decode(b"a\r\n01234") == b"01234"
    assert decoder.decode(b"5") == b"5"
    assert decoder.decode(b"6789") == b"6789"
    assert decoder.decode(b"\r\n1") == b""
    assert decoder.decode(b"\r\nx\r\n0\r\n\r\nrest") == b"x"
    assert (decoder.done, decoder.rest) == (True, b"rest")
