"""The network of the client matrix."""

import socket
import threading

from tests.clients.isolation import loopback_only


def names() -> list[str]:
    """Return the network interfaces that a new thread has."""
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend(name for _, name in socket.if_nameindex()))
    thread.start()
    thread.join()
    return found


def test_the_block_has_a_loopback_interface_only() -> None:
    before = names()
    with loopback_only() as alone, socket.create_server(("127.0.0.1", 0)) as server:
        assert names() == (["lo"] if alone else before)
        socket.create_connection(server.getsockname()).close()
    assert names() == before
