"""TLS has no half-close in the event loops: a connection that ends while its client sends lingers without one.
HTTP without TLS gets a response."""

import socket
import ssl

import pytest
import trustme

from tests.server.conftest import MakeServing
from tests.support.serving import Serving
from ztoapi.config.certificates import ServerTLS
from ztoapi.wire.limits import LINGER_BYTES, Limits

LARGE = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999\r\n\r\n"
MORE = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nmore"


@pytest.mark.parametrize(("data", "status"), [(LARGE, 413), (b"nonsense\r\n\r\n", 400), (MORE, 200)])
def test_a_client_that_still_sends_gets_the_last_response_and_then_the_end(
    make_serving: MakeServing, server_tls: ssl.SSLContext, trusting: ssl.SSLContext, data: bytes, status: int
) -> None:
    serving = make_serving(
        lambda exchange: exchange.respond(200, b"ok"), limits=Limits(linger_seconds=0.05), tls=server_tls
    )
    with serving.client() as client:
        client.sock = trusting.wrap_socket(client.sock, server_hostname="127.0.0.1")
        client.send(data)
        answer = client.answer()
        client.send(b"still")
        assert (answer.status, answer.headers["connection"], answer.complete) == (status, "close", True)
        assert client.rest() == b""
    serving.wait_for(lambda: not serving.context.connections)


@pytest.fixture
def secured(make_serving: MakeServing, ca: trustme.CA) -> Serving:
    context = ServerTLS(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return make_serving(lambda exchange: exchange.respond(200, b"ok"), tls=context)


def plain(serving: Serving) -> list[float]:
    """Returns the number of connections without TLS."""
    return [sample.value for sample in serving.context.plain_http.samples()]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"])
def test_a_client_without_tls_is_answered(secured: Serving, method: bytes) -> None:
    with secured.client() as client:
        client.send(method + b" /v1/models HTTP/1.1\r\nhost: a\r\n\r\n")
        answer = client.answer()
        assert (answer.status, answer.headers["connection"]) == (400, "close")
        assert b"use https://" in answer.body
    assert plain(secured) == [1]


def test_a_client_without_tls_that_still_sends_reads_the_response(secured: Serving) -> None:
    with secured.client() as client:
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n")
        assert client.answer().status == 400
        for _ in range(8):
            client.send(b"x" * (LINGER_BYTES // 16))
        with pytest.raises(OSError):
            while True:
                client.send(b"x" * LINGER_BYTES)
    assert plain(secured) == [1]


@pytest.mark.parametrize("data", [b"G", b"", b"\x16\x03\x01\x00\x05hello", b"SSH-2.0-OpenSSH_9.9\r\n", bytes(64)])
def test_other_handshakes_that_fail_are_not_counted(secured: Serving, trusting: ssl.SSLContext, data: bytes) -> None:
    with secured.client() as client:
        client.send(data)
        client.sock.shutdown(socket.SHUT_WR)
        assert client.at_end()
    with secured.client() as client:
        client.sock = trusting.wrap_socket(client.sock, server_hostname="127.0.0.1")
        client.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert client.answer().status == 200
    assert plain(secured) == [0]
