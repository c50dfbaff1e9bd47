"""Responses that wait for the end of a turn of the event loop: nothing that ends a connection overtakes them.

The other tests of this folder, too, run with responses that wait.
"""

from collections.abc import Callable

import pytest

from tests.server.conftest import MakeServing
from tests.support.serving import Client, Serving
from ztoapi.errors import Ending
from ztoapi.server.exchange import Exchange


class Service:
    """Holds the request for ``/held``, and responds to it at the request for ``/go``."""

    def __init__(self, make_serving: MakeServing) -> None:
        self.exchanges: list[Exchange] = []
        self.serving: Serving = make_serving(self.dispatch)

    def dispatch(self, exchange: Exchange) -> None:
        if exchange.request.path == "/held":
            self.exchanges.append(exchange)
        else:
            if exchange.request.path == "/go":
                self.exchanges[0].respond(200, b"held")
            exchange.respond(200, b"other")

    def hold(self, client: Client) -> None:
        client.get("/held")
        self.serving.wait_for(lambda: bool(self.exchanges))


@pytest.fixture
def service(make_corked: MakeServing) -> Service:
    return Service(make_corked)


def test_a_response_waits_for_the_end_of_the_turn(service: Service) -> None:
    with service.serving.client() as client:
        service.hold(client)
        cork = service.serving.context.cork

        def respond() -> int:
            service.exchanges[0].respond(200, b"held")
            return len(cork.waiting)

        assert service.serving.run(respond) == 1
        assert client.answer().body == b"held"


def test_a_client_that_stops_sending_in_the_turn_of_its_response_gets_it(service: Service) -> None:
    with service.serving.client() as client, service.serving.client() as other:
        service.hold(client)

        def both() -> None:
            # The loop finds both at its next poll.
            other.get("/go")
            client.half_close()

        service.serving.run(both)
        assert (client.answer().body, client.rest()) == (b"held", b"")
        assert other.answer().body == b"other"


def test_a_client_that_resets_in_the_turn_of_its_response_harms_no_other(service: Service) -> None:
    with service.serving.client() as client, service.serving.client() as other:
        service.hold(client)

        def both() -> None:
            other.get("/go")
            client.reset()

        service.serving.run(both)
        assert other.answer().body == b"other"
        assert service.serving.record().ending is not None
        assert service.serving.record().ending is Ending.DONE
        service.serving.wait_for(lambda: len(service.serving.context.connections) == 1)


def end(exchange: Exchange) -> None:
    exchange._connection.close_idle()


def abort(exchange: Exchange) -> None:
    exchange.transport.abort()


@pytest.mark.parametrize(("close", "body"), [(end, b"held"), (abort, b"")])
def test_a_connection_that_closes_in_the_turn_of_its_response(
    service: Service, close: Callable[[Exchange], None], body: bytes
) -> None:
    with service.serving.client() as client:
        service.hold(client)

        def respond() -> None:
            service.exchanges[0].respond(200, b"held")
            close(service.exchanges[0])

        service.serving.run(respond)
        assert client.rest().partition(b"\r\n\r\n")[2] == body


@pytest.mark.parametrize("request_line", ["GET /go HTTP/1.0", "GET /go HTTP/1.1\r\nconnection: close"])
def test_the_last_response_of_a_connection_is_whole(service: Service, request_line: str) -> None:
    with service.serving.client() as client, service.serving.client() as other:
        service.hold(client)
        other.send(f"{request_line}\r\nhost: a\r\n\r\n".encode())
        assert other.rest().endswith(b"\r\n\r\nother")
        assert client.answer().body == b"held"


def test_a_worker_that_drains_in_the_turn_of_a_response_sends_it(service: Service) -> None:
    with service.serving.client() as client:
        service.hold(client)

        def respond() -> None:
            service.serving.context.draining = True
            service.exchanges[0].respond(200, b"held")

        service.serving.run(respond)
        assert client.rest().endswith(b"connection: close\r\n\r\nheld")
