"""TLS has no half-close in the event loops: a connection that ends while its client sends lingers without one."""

import ssl

import pytest

from tests.server.conftest import MakeServing
from ztoapi.wire.limits import Limits

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
