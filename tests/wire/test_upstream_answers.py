"""The client side: the ends of head and body, and responses refused because their end is ambiguous."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pieces import bytewise, cut, cut_points, whole_split_and_bytewise
from tests.support.table import table
from ztoapi.errors import ProtocolError
from ztoapi.wire.client import MAX_HEAD_BYTES, MAX_INFORMATIONAL, ClientWire, ResponseHead, ResponseHeads


class Answer:
    """One answer read out of pieces as a connection would."""

    def __init__(self, pieces: list[bytes], method: str = "GET") -> None:
        self.wire = ClientWire(ResponseHeads())
        self.wire.start(method)
        self.body = b""
        self.surplus = b""
        for piece in pieces:
            self.receive(piece)

    def receive(self, data: bytes) -> None:
        wire = self.wire
        if wire.head is None:
            if wire.read_head(data) is None:
                return
            data = wire.rest
        elif wire.complete:
            self.surplus += data
        if not wire.complete and data:
            self.body += wire.read_body(data)

    @property
    def head(self) -> ResponseHead:
        assert self.wire.head is not None
        return self.wire.head

    @property
    def reusable(self) -> bool:
        """As the connection decides it: kept alive by both sides, and nothing has come behind the answer."""
        return self.wire.complete and self.wire.keep_alive and not self.surplus


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n%b\r\n"


@table(
    ("data", "body"),
    [
        (HEAD % b"content-length: 5\r\n" + b"hello", b"hello"),
        (HEAD % b"content-length: 0\r\n", b""),
        (HEAD % b"content-length: 5, 5\r\n" + b"hello", b"hello"),
        (HEAD % b"Transfer-Encoding: Chunked\r\n" + b"2\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n", b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b""),
        (b"HTTP/1.1 204\r\n\r\n", b""),
        (b"HTTP/1.1 529 \r\ncontent-length: 1\r\n\r\nx", b"x"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD % b"content-length: 1\r\n" + b"x", b"x"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 3 + HEAD % b"content-length: 1\r\n" + b"x", b"x"),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\nx", b"x"),
    ],
)
def test_answers_end_at_their_length_at_every_split(data: bytes, body: bytes) -> None:
    for pieces in whole_split_and_bytewise(data):
        answer = Answer(pieces)
        assert answer.body == body
        assert answer.reusable
        assert answer.wire.eof()
        assert answer.head.headers.get(b"x") is None
    for stop in range(len(data)):
        unfinished = Answer([data[:stop]])
        assert not unfinished.wire.complete
        assert not unfinished.wire.eof()


def test_header_fields_are_lower_case_stripped_and_joined() -> None:
    head = Answer([b"HTTP/1.1 200 OK\r\nX-A:  1 \t\r\nx-a:2\r\nSet-Cookie:\r\ncontent-length: 0\r\n\r\n"]).head
    assert head.status == 200
    assert head.headers == {b"x-a": b"1, 2", b"set-cookie": b"", b"content-length": b"0"}


@pytest.mark.parametrize("framing", [b"", b"content-length: 9\r\n", b"transfer-encoding: chunked\r\n"])
def test_an_answer_to_head_has_no_body_with_any_fields(framing: bytes) -> None:
    for pieces in whole_split_and_bytewise(HEAD % framing):
        answer = Answer(pieces, "HEAD")
        assert answer.reusable
        assert answer.body == b""


def test_a_close_delimited_answer_ends_at_eof_and_not_before() -> None:
    data = HEAD % b"" + b"hello"
    for pieces in whole_split_and_bytewise(data):
        answer = Answer(pieces)
        assert answer.body == b"hello"
        assert not answer.wire.complete
        assert not answer.wire.keep_alive
        assert answer.wire.eof()
        assert answer.wire.complete


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"connection: Close\r\n", False),
        (b"1.0", b"", False),
        (b"1.0", b"connection: Keep-Alive\r\n", True),
    ],
)
def test_which_connections_are_kept(version: bytes, connection: bytes, kept: bool) -> None:
    answer = Answer([b"HTTP/%b 200 OK\r\n%bcontent-length: 0\r\n\r\n" % (version, connection)])
    assert answer.reusable is kept


@pytest.mark.parametrize(
    "data",
    [
        HEAD % b"content-length: 1\r\n" + b"x",
        HEAD % b"content-length: 0\r\n",
        HEAD % b"transfer-encoding: chunked\r\n" + b"1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ],
)
def test_bytes_behind_an_answer_are_not_payload_and_forbid_reuse(data: bytes) -> None:
    clean = Answer([data])
    for pieces in whole_split_and_bytewise(data + b"HTTP/1.1 200"):
        answer = Answer(pieces)
        assert answer.body == clean.body
        assert not answer.reusable


def test_one_answer_after_another() -> None:
    answer = Answer([])
    for number in range(1000):
        answer.wire.start("GET")
        answer.receive(HEAD % b"transfer-encoding: chunked\r\n" + b"4\r\n%04d\r\n0\r\n\r\n" % number)
        assert answer.reusable
        assert answer.body[-4:] == b"%04d" % number


REFUSED = [
    b"HTTP/2 200 OK\r\n\r\n",
    b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.2 200 OK\r\n\r\n",
    b"http/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n",
    b"HTTP/1.1 099 OK\r\n\r\n",
    b"HTTP/1.1  200 OK\r\n\r\n",
    b"HTTP/1.1 200 O\x00K\r\n\r\n",
    b"HTTP/1.1 200 O\rK\r\n\r\n",
    b"HTTP/1.1 200 OK\nx: y\r\n\r\n",
    b"SSH-2.0-OpenSSH\r\n\r\n",
    b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\n\r\n",
    HEAD % b"x\r\n",
    HEAD % b": y\r\n",
    HEAD % b"x : y\r\n",
    HEAD % b" x: y\r\n",
    HEAD % b"x: y\r\n folded\r\n",
    HEAD % b"x: y\r\n\tfolded\r\n",
    HEAD % b"x: a\nb: c\r\n",
    HEAD % b"x: a\rb\r\n",
    HEAD % b"x: \x00\r\n",
    HEAD % b"x: \x7f\r\n",
    HEAD % b"x\xe4: y\r\n",
    HEAD % b"content-length: 1\r\ntransfer-encoding: chunked\r\n",
    HEAD % b"transfer-encoding: gzip\r\n",
    HEAD % b"transfer-encoding: gzip, chunked\r\n",
    HEAD % b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    HEAD % b"transfer-encoding: identity\r\ncontent-length: 0\r\n",
    HEAD % b"content-length: 1\r\ncontent-length: 2\r\n",
    HEAD % b"content-length: 1,\r\n",
    HEAD % b"content-length:\r\n",
    HEAD % b"content-length: -1\r\n",
    HEAD % b"content-length: +1\r\n",
    HEAD % b"content-length: 1_0\r\n",
    HEAD % b"content-length: 0x1\r\n",
    HEAD % b"content-length: \xb2\r\n",
    HEAD % b"content-length: 1000000000000000000000\r\n",
    b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    HEAD % b"transfer-encoding: chunked\r\n" + b"x\r\n",
    HEAD % b"transfer-encoding: chunked\r\n" + b"1\r\nab\r\n",
]


@table("data", REFUSED)
def test_answers_whose_end_would_be_a_guess_are_refused_at_every_split(data: bytes) -> None:
    for pieces in whole_split_and_bytewise(data):
        with pytest.raises(ProtocolError):
            Answer(pieces)


def test_what_is_not_http_is_refused_at_its_fifth_byte() -> None:
    with pytest.raises(ProtocolError, match="not HTTP"):
        Answer([b"SSH-2"])


@pytest.mark.parametrize("interim", [MAX_INFORMATIONAL, MAX_INFORMATIONAL + 1])
def test_interim_answers_are_skipped_up_to_a_number(interim: int) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\n" * interim + HEAD % b"content-length: 0\r\n"
    for pieces in ([data], bytewise(data)):
        if interim > MAX_INFORMATIONAL:
            with pytest.raises(ProtocolError, match="interim"):
                Answer(pieces)
        else:
            assert Answer(pieces).head.status == 200


def test_the_interim_responses_of_one_request_do_not_count_for_the_next() -> None:
    wire = ClientWire(ResponseHeads())
    for _ in range(MAX_INFORMATIONAL + 1):
        assert wire.find_head(b"HTTP/1.1 100 Continue\r\n\r\n") is None
        # The body is whole in the read of the head, so the connection does not start the wire anew.
        head = wire.find_head(HEAD % b"content-length: 2\r\n" + b"ok")
        assert head is not None
        assert len(wire.rest) == head.whole_bytes


@pytest.mark.parametrize("closed", [False, True])
def test_a_head_may_not_grow_without_bound(closed: bool) -> None:
    line = b"x: " + b"y" * 1000 + b"\r\n"
    lines = MAX_HEAD_BYTES // len(line)
    assert Answer([HEAD % (line * (lines - 1) + b"content-length: 0\r\n")]).reusable
    data = HEAD % (line * (lines + 20))
    with pytest.raises(ProtocolError, match="larger"):
        Answer([data if closed else data[:-2]])


@given(st.binary(max_size=100), cut_points(100))
def test_arbitrary_bytes_raise_nothing_but_protocol_errors(data: bytes, points: list[int]) -> None:
    for start in (b"", b"HTTP/1.1 200 OK\r\n", HEAD % b"transfer-encoding: chunked\r\n"):
        status = 502
        try:
            Answer(cut(start + data, points))
        except ProtocolError as error:
            status = error.status
        assert status in {400, 431, 502}


@given(st.integers(0, 120), st.sampled_from([b"", b"\r", b"\n", b" ", b"\x00", b":", b"\r\n", b"9"]), cut_points(130))
def test_damaged_answers_fare_alike_whole_and_in_pieces(place: int, damage: bytes, points: list[int]) -> None:
    data = HEAD % b"x: y\r\ntransfer-encoding: chunked\r\n" + b"5\r\nhello\r\n0\r\n\r\n"
    data = data[:place] + damage + data[place + 1 :]

    def outcome(pieces: list[bytes]) -> tuple[bytes, bool] | None:
        try:
            answer = Answer(pieces)
        except ProtocolError:
            return None
        return answer.body, answer.reusable

    assert outcome(bytewise(data)) == outcome(cut(data, points)) == outcome([data])
