"""The calls of the sink for each response, and the ends of broken ones. With both clients, if both notice the fault."""

from collections.abc import Callable

import pytest

from tests.upstream.scripted import (
    EVENTS_HEAD,
    LAST_CHUNK,
    LONG,
    OK,
    Heard,
    Native,
    Peer,
    Pieces,
    Upstream,
    chunk,
    comes_in_small_pieces,
    listening,
    read,
    turn,
)
from ztoapi.errors import Ending
from ztoapi.upstream.bounds import ERROR_BYTES
from ztoapi.upstream.client import Client, UpstreamRequest
from ztoapi.upstream.pool import Origin

pytestmark = pytest.mark.anyio


async def answered(client: Client, upstream: Upstream, answer: bytes, *, close: bool = False) -> Heard:
    heard = Heard()
    heard.call = client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(answer)
    if close:
        peer.close()
    return await heard.ended()


async def test_an_answer_comes_in_small_pieces_on_request(client: Client, upstream: Upstream) -> None:
    peer, pieces = await comes_in_small_pieces(client, upstream, 1000)
    assert pieces.body == b"x" * 1000 and max(pieces.sizes) <= 100
    # The next answer on this connection is not for the same client.
    whole = Pieces()
    whole.call = client.send(upstream.request(), whole)
    await peer.request()
    peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 1000)
    await whole.until(lambda: bool(whole.sizes))
    whole.call.resume()
    await whole.ended()
    assert max(whole.sizes) > 100


# -- whole answers --------------------------------------------------------------------------------------------------


async def test_request_and_answer_cross_unchanged(client: Client, upstream: Upstream) -> None:
    request = upstream.request(b'{"stream": true}', path="/api/paas/v4/chat?x=%20y")
    head = request.head[:-2] + b"authorization: Bearer key\r\naccept-encoding: identity\r\n\r\n"
    heard = Heard()
    client.send(UpstreamRequest(request.origin, "POST", head, request.body), heard)
    peer = await upstream.accept()
    received = await peer.request()
    assert received.body == b'{"stream": true}'
    lines = received.head.split(b"\r\n")
    assert lines[0] == b"POST /api/paas/v4/chat?x=%20y HTTP/1.1"
    fields = [line.lower() for line in lines[1:]]
    for field in head.lower().split(b"\r\n")[1:-2]:
        assert fields.count(field) == 1
    peer.send(b"HTTP/1.1 429 Too Many\r\nRetry-After: 3\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: 4\r\n\r\nwait")
    await heard.ended()
    assert heard.calls == ["head", "data", "end"]
    assert heard.head.status == 429
    assert heard.head.headers[b"retry-after"] == b"3"
    assert heard.head.headers[b"x-a"] == b"1, 2"
    assert heard.body == b"wait"


async def test_the_sink_is_never_called_before_send_returns(client: Client, upstream: Upstream) -> None:
    heard = await answered(client, upstream, OK)
    again = Heard()
    client.send(upstream.request(), again)
    assert again.calls == []
    peer = upstream.peers[0]
    await peer.request()
    peer.send(OK)
    await again.ended()
    assert heard.calls == again.calls == ["head", "data", "end"]


async def test_cookies_of_one_answer_do_not_go_out_with_another_request(client: Client, upstream: Upstream) -> None:
    await answered(client, upstream, b"HTTP/1.1 200 OK\r\nset-cookie: session=alice\r\ncontent-length: 2\r\n\r\nok")
    again = Heard()
    client.send(upstream.request(), again)
    assert b"alice" not in (await upstream.peers[0].request()).head
    upstream.peers[0].send(OK)
    await again.ended()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"ok"),
        (EVENTS_HEAD + chunk(b"one ") + chunk(b"two") + LAST_CHUNK, b"one two"),
        (EVENTS_HEAD + b"3;ext=1\r\none\r\n0\r\ntrailer: x\r\n\r\n", b"one"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200\r\ncontent-length: 2, 2\r\n\r\nok", b"ok"),
    ],
    ids=["length", "chunked", "extension and trailer", "interim", "http/1.0", "no reason"],
)
async def test_a_whole_answer(client: Client, upstream: Upstream, answer: bytes, body: bytes) -> None:
    heard = await answered(client, upstream, answer)
    assert heard.calls == ["head", "data", "end"]
    assert heard.body == body


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", EVENTS_HEAD + LAST_CHUNK],
)
async def test_an_answer_without_a_body(client: Client, upstream: Upstream, answer: bytes) -> None:
    assert (await answered(client, upstream, answer)).calls == ["head", "end"]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_delimited_by_the_close_ends_cleanly(
    client: Client, upstream: Upstream, version: bytes
) -> None:
    heard = await answered(client, upstream, b"HTTP/%b 200 OK\r\n\r\nall of it" % version, close=True)
    assert heard.calls == ["head", "data", "end"]
    assert heard.body == b"all of it"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + EVENTS_HEAD + chunk(b"one ") + chunk(b"two") + LAST_CHUNK,
        b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\none two",
    ],
    ids=["chunked", "length"],
)
async def test_an_answer_byte_by_byte(native: Native, answer: bytes) -> None:
    pool = native.client.pool
    connection = native.by_hand()
    heard = Heard()
    connection.send("POST", b"", b"", heard, LONG)
    for at in range(len(answer)):
        assert not heard.over
        read(connection, answer[at : at + 1])
    assert heard.calls == ["head", "data", "end"]
    assert heard.body == b"one two"
    assert pool.statistics() == (0, 1, 1)
    connection.connection_lost(None)
    assert pool.statistics() == (0, 0, 1)


# -- broken answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        EVENTS_HEAD + chunk(b"whole"),
        EVENTS_HEAD + b"a\r\nhalf",
        EVENTS_HEAD + chunk(b"whole") + b"0\r\n",
    ],
    ids=["length", "between chunks", "in a chunk", "in the end"],
)
async def test_a_body_that_is_cut_off_is_never_a_clean_end(client: Client, upstream: Upstream, answer: bytes) -> None:
    heard = await answered(client, upstream, answer, close=True)
    assert heard.calls == ["head", "data", "error"]
    assert (heard.error.ending, heard.error.code, heard.error.status, heard.error.retryable) == (
        Ending.TRUNCATED,
        "upstream_truncated",
        502,
        False,
    )


async def test_a_reset_in_the_body_is_a_cut_off_too(client: Client, upstream: Upstream) -> None:
    heard = Heard()
    client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD + chunk(b"one"))
    await heard.data(3)
    peer.reset()
    assert (await heard.ended()).error.ending is Ending.TRUNCATED
    assert heard.calls == ["head", "data", "error"]


async def test_a_body_delimited_by_the_close_that_is_reset_is_cut_off(client: Client, upstream: Upstream) -> None:
    heard = Heard()
    client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(b"HTTP/1.1 200 OK\r\n\r\npart")
    await heard.data(4)
    peer.reset()
    assert (await heard.ended()).error.ending is Ending.TRUNCATED


@pytest.mark.parametrize("die", ["close", "reset"])
async def test_a_connection_that_ends_unanswered(client: Client, upstream: Upstream, die: str) -> None:
    heard = Heard()
    client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.close() if die == "close" else peer.reset()
    error = (await heard.ended()).error
    assert heard.calls == ["error"]
    assert (error.ending, error.code, error.status) == (Ending.UPSTREAM_ERROR, "upstream_closed", 502)


async def test_a_head_that_is_cut_off(native: Native, upstream: Upstream) -> None:
    heard = await answered(native.client, upstream, b"HTTP/1.1 200 OK\r\ncontent-", close=True)
    assert heard.calls == ["error"]
    assert heard.error.ending is Ending.TRUNCATED


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\na: \x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
    ],
)
async def test_a_malformed_head(client: Client, upstream: Upstream, answer: bytes) -> None:
    heard = await answered(client, upstream, answer)
    assert heard.calls == ["error"]
    assert (heard.error.code, heard.error.status, heard.error.retryable) == ("upstream_protocol_error", 502, False)
    await upstream.peers[0].closed_by_gateway()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\n\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nfolded: a\r\n b\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n",
        b"HTTP/1.1 103 Early\r\n\r\n" * 9,
        b"HTTP/1.1 200 OK\r\nlong: " + b"x" * 70000,
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
    ],
    ids=["two framings", "bare lf", "folded", "upgrade", "endless interim", "too large", "http/2", "ssh"],
)
async def test_a_head_that_h11_would_let_pass(native: Native, upstream: Upstream, answer: bytes) -> None:
    heard = await answered(native.client, upstream, answer)
    assert heard.calls == ["error"]
    assert heard.error.code == "upstream_protocol_error"
    await upstream.peers[0].closed_by_gateway()


@pytest.mark.parametrize("broken", [b"xyz\r\n", b"\r\n", b"5\r\nwhole!!", b"-1\r\n", b"0\r\nno crlf\n\n"])
async def test_malformed_chunks(native: Native, upstream: Upstream, broken: bytes) -> None:
    heard = Heard()
    native.client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(EVENTS_HEAD + chunk(b"one"))
    await heard.data(3)
    peer.send(broken)
    assert (await heard.ended()).error.code == "upstream_protocol_error"
    assert heard.calls == ["head", "data", "error"]
    await peer.closed_by_gateway()


# -- no server to connect to ----------------------------------------------------------------------------------------


async def test_connection_refused(client: Client) -> None:
    async with listening() as upstream:
        pass
    heard = Heard()
    client.send(upstream.request(), heard)
    error = (await heard.ended()).error
    assert heard.calls == ["error"]
    assert (error.status, error.code, error.ending, error.retryable) == (
        502,
        "upstream_unreachable",
        Ending.UPSTREAM_ERROR,
        True,
    )
    assert "127.0.0.1" in error.message


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".invalid"], ids=["unknown", "not encodable"])
async def test_a_host_name_that_leads_nowhere(client: Client, host: str) -> None:
    origin = Origin(False, host, 80)
    heard = Heard()
    client.send(UpstreamRequest(origin, "POST", b"POST / HTTP/1.1\r\nhost: x\r\n\r\n", b""), heard)
    error = (await heard.ended()).error
    assert (error.status, error.code, error.retryable) == (502, "upstream_unreachable", True)
    assert host in error.message


@pytest.mark.parametrize("die", [Peer.close, Peer.reset])
async def test_an_upstream_that_hangs_up_on_every_connection(
    native: Native, upstream: Upstream, die: Callable[[Peer], None]
) -> None:
    upstream.at_accept = die
    for _ in range(20):
        heard = Heard()
        native.client.send(upstream.request(), heard)
        assert (await heard.ended()).calls == ["error"]
        assert heard.error.code in ("upstream_closed", "upstream_unreachable")


async def test_an_upstream_that_sends_before_the_request_is_not_used(native: Native, upstream: Upstream) -> None:
    def speak(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")

    upstream.at_accept = speak
    for _ in range(20):
        heard = Heard()
        native.client.send(upstream.request(), heard)
        await heard.ended()
        # The response may come before or after the request has gone out, which cannot be distinguished; no
        # connection may be in doubt afterwards.
        assert heard.calls in (["error"], ["head", "data", "end"])


# -- sinks that fail ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["head", "data", "end"])
async def test_a_sink_that_raises_ends_its_own_request_only(
    client: Client, upstream: Upstream, logged: list[BaseException], where: str
) -> None:
    def fail() -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "a bug of ours")

    heard = Heard(**{where: fail})
    client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(OK)
    await heard.until(lambda: heard.calls[-1:] == ["error"])
    callbacks = ["head", "data", "end"]
    assert heard.calls == [*callbacks[: callbacks.index(where) + 1], "error"]
    assert (heard.error.status, heard.error.ending) == (500, Ending.INTERNAL_ERROR)
    assert [type(error) for error in logged] == [UnicodeDecodeError]
    if where != "end":
        await peer.closed_by_gateway()


async def test_an_exception_while_connecting_ends_the_request(native: Native, logged: list[BaseException]) -> None:
    """The TLS settings of the fixture cannot be made."""
    heard = Heard()
    native.client.send(UpstreamRequest(Origin(True, "127.0.0.1", 1), "POST", b"", b""), heard)
    await heard.ended()
    assert heard.error.ending is Ending.INTERNAL_ERROR
    assert [type(error) for error in logged] == [AssertionError]


async def test_an_exception_while_sending_ends_the_request(
    native: Native, upstream: Upstream, logged: list[BaseException]
) -> None:
    heard = Heard()
    request = UpstreamRequest(upstream.origin, "POST", b"", "no bytes")  # type: ignore[arg-type] # on purpose
    native.client.send(request, heard)
    await heard.ended()
    assert heard.error.ending is Ending.INTERNAL_ERROR
    assert [type(error) for error in logged] == [TypeError]
    await (await upstream.accept()).closed_by_gateway()


@pytest.mark.parametrize("where", ["head", "data"])
async def test_a_sink_that_cancels_and_raises_gets_the_error(
    client: Client, upstream: Upstream, logged: list[BaseException], where: str
) -> None:
    def fail() -> None:
        heard.call.cancel()
        raise ValueError

    heard = Heard(**{where: fail})
    heard.call = client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(OK)
    await heard.until(lambda: heard.calls[-1:] == ["error"])
    assert heard.error.ending is Ending.INTERNAL_ERROR
    assert [type(error) for error in logged] == [ValueError]


@pytest.mark.parametrize("cut", [False, True])
async def test_a_sink_that_raises_at_the_end_of_an_error_gets_the_error(
    client: Client, upstream: Upstream, logged: list[BaseException], cut: bool
) -> None:
    """A body that is cut off counts as complete."""

    def fail() -> None:
        raise ValueError

    heard = Heard(end=fail)
    client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(b"HTTP/1.1 400 No\r\ncontent-length: %d\r\n\r\nno" % (3 if cut else 2))
    peer.close()
    await heard.until(lambda: heard.calls[-1:] == ["error"])
    assert heard.error.ending is Ending.INTERNAL_ERROR
    assert [type(error) for error in logged] == [ValueError]


async def test_a_sink_that_raises_when_a_large_error_is_cut_gets_the_error(
    client: Client, upstream: Upstream, logged: list[BaseException]
) -> None:
    def fail() -> None:
        raise ValueError

    heard = Heard(end=fail)
    client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(b"HTTP/1.1 500 Oh\r\ncontent-length: 10000000\r\n\r\n" + bytes(ERROR_BYTES))
    await heard.until(lambda: heard.calls[-1:] == ["error"])
    assert heard.error.ending is Ending.INTERNAL_ERROR
    assert [type(error) for error in logged] == [ValueError]
    await peer.closed_by_gateway()


async def test_a_sink_whose_error_callback_raises_gets_one_further_error(
    client: Client, upstream: Upstream, logged: list[BaseException]
) -> None:
    def fail() -> None:
        raise ValueError

    heard = Heard(error=fail)
    client.send(upstream.request(), heard)
    peer = await upstream.accept_request()
    peer.send(b"no HTTP\r\n\r\n")
    await heard.until(lambda: heard.calls == ["error", "error"])
    assert heard.error.ending is Ending.INTERNAL_ERROR
    assert [type(error) for error in logged] == [ValueError] * 2
    await peer.closed_by_gateway()
    await turn()
