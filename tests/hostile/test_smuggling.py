"""The vectors of ``smuggling.toml``: each request is followed by a second one, over a real socket."""

import contextlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.pieces import bytewise
from tests.support.serving import Answer, Client, Serving
from tests.support.table import table
from ztoapi.server.exchange import Exchange

SECOND = b"GET /second HTTP/1.1\r\nhost: a\r\n\r\n"


class Vector(msgspec.Struct, forbid_unknown_fields=True):
    """One table of the file, which documents the fields."""

    name: str
    section: str
    request: str
    statuses: list[int]
    requests: list[str] = []
    why: str = ""

    @property
    def data(self) -> bytes:
        return self.request.encode("latin-1")


VECTORS = msgspec.convert(tomllib.loads(Path(__file__).with_name("smuggling.toml").read_text())["vector"], list[Vector])


def echo(exchange: Exchange) -> None:
    request = exchange.request
    exchange.respond(200, b"%b %b %b" % (request.method.encode(), request.path.encode(), bytes(exchange.request_body)))


@pytest.fixture(scope="module")
def server() -> Iterator[Serving]:
    with Serving(echo) as serving:
        yield serving


def answers(server: Serving, pieces: list[bytes]) -> list[Answer]:
    """Returns all responses until the server closes the connection."""
    found: list[Answer] = []
    with server.client() as client:
        for piece in pieces:
            if not sent(client, piece):
                break
        else:
            with contextlib.suppress(OSError):  # The server has closed the connection already.
                client.half_close()
        while has_more(client):
            found.append(client.answer())
    return found


def sent(client: Client, piece: bytes) -> bool:
    """Sends ``piece``. Returns False if the server has already closed the connection."""
    try:
        client.send(piece)
    except ConnectionError:
        return False
    return True


def has_more(client: Client) -> bool:
    start = client.exactly(1)
    client.buffer = start + client.buffer
    return start != b""


@table("split", ["whole", "halves", "bytewise"])
@table("vector", VECTORS, ids=[vector.name for vector in VECTORS])
def test_the_second_request_is_read_only_where_the_first_one_ends(server: Serving, vector: Vector, split: str) -> None:
    # The second request comes with the last byte of the first one: a server that ends the connection reads it first.
    first, last = vector.data[:-1], vector.data[-1:] + SECOND
    pieces = {
        "whole": [first + last],
        "halves": [first[: len(first) // 2], first[len(first) // 2 :] + last],
        "bytewise": [*bytewise(first), last],
    }[split]
    found = answers(server, pieces)
    assert [answer.status for answer in found] == vector.statuses
    assert all(answer.complete for answer in found)
    read = [answer.body.decode("latin-1") for answer in found if answer.status == 200]
    assert read == vector.requests or not vector.requests
    # The head of a refusal declares the end of the connection.
    assert found[-1].status == 200 or found[-1].headers["connection"] == "close"


def test_names_are_unique_and_each_vector_has_a_rule() -> None:
    assert len({vector.name for vector in VECTORS}) == len(VECTORS) >= 100
    assert all(vector.section.startswith("RFC 9") for vector in VECTORS)
    # Without the requests, a vector with two successful responses would accept any division of the bytes.
    assert [vector.name for vector in VECTORS if vector.statuses == [200, 200] and not vector.requests] == []
