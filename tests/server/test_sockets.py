"""Listening sockets: every address of a name, one port, and no second gateway on it."""

import asyncio
import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ztoapi.config.listen import Listen
from ztoapi.server import sockets as subject
from ztoapi.server.context import ServerContext
from ztoapi.server.listener import Server
from ztoapi.server.sockets import Listeners, ListeningSocket, Sockets, bind, bind_all

NAMES = {
    "two.test": ["::1", "127.0.0.1"],
    "twice.test": ["127.0.0.1", "127.0.0.1"],
    "elsewhere.test": ["2001:db8::1", "127.0.0.1"],
    "nowhere.test": ["203.0.113.1"],
}


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names with the addresses of NAMES, as a hosts file would give them."""
    resolve = socket.getaddrinfo

    def fake(host: str, port: int, *rest: int, **options: int) -> list[object]:
        return [one for name in NAMES.get(host, [host]) for one in resolve(name, port, *rest, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", fake)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def listen(stack: ExitStack, host: str, port: int = 0, workers: int = 1) -> list[Sockets]:
    found = bind_all(host, port, workers, backlog=8)
    for sock in sum(found, ()):
        stack.enter_context(sock)
    return found


def names_of(one: Sockets) -> list[tuple[str, int]]:
    return [sock.getsockname()[:2] for sock in one]


def test_the_event_loop_keeps_the_length_of_the_accept_queue() -> None:
    async def serve(sock: ListeningSocket) -> bytes:
        server = Server(ServerContext(asyncio.get_running_loop(), lambda _: None), sock)
        await server.start()
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        await server.close()
        return info

    with bind("127.0.0.1", 0, backlog=321) as sock:
        info = asyncio.run(serve(sock))
    # tcpi_sacked: of a listening socket, the length.
    assert int.from_bytes(info[28:], sys.byteorder) == 321


@pytest.mark.parametrize("workers", [1, 3])
def test_a_name_listens_on_all_of_its_addresses_and_one_port(stack: ExitStack, workers: int) -> None:
    found = listen(stack, "two.test", workers=workers)
    port = found[0][0].getsockname()[1]
    assert [names_of(one) for one in found] == [[("::1", port), ("127.0.0.1", port)]] * workers
    for host in ("::1", "127.0.0.1"):
        socket.create_connection((host, port)).close()


def test_an_address_that_a_name_has_twice_is_bound_once(stack: ExitStack) -> None:
    assert len(listen(stack, "twice.test")[0]) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_addresses_of_other_hosts_are_left_out(
    stack: ExitStack, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    found = listen(stack, "elsewhere.test", workers=workers)
    assert [sock.getsockname()[0] for sock in found[0]] == ["127.0.0.1"]
    assert "[2001:db8::1]" in caplog.text
    with pytest.raises(OSError, match=r"cannot listen on 203\.0\.113\.1") as caught:
        bind_all("nowhere.test", 0, workers, backlog=8)
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "two.test", "0.0.0.0", "::"])
@pytest.mark.parametrize("first", [1, 3])
@pytest.mark.parametrize("second", [1, 3])
def test_a_second_gateway_on_the_port_is_refused(stack: ExitStack, host: str, first: int, second: int) -> None:
    port = listen(stack, host, workers=first)[0][0].getsockname()[1]
    with pytest.raises(OSError, match=f"cannot listen on .*:{port}: Address already in use"):
        bind_all(host, port, second, backlog=8)


@pytest.mark.parametrize(("first", "second"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0"), ("::", "127.0.0.1")])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_address_and_a_wildcard_exclude_each_other(stack: ExitStack, first: str, second: str, workers: int) -> None:
    port = listen(stack, first, workers=workers)[0][0].getsockname()[1]
    with pytest.raises(OSError, match="already in use"):
        bind_all(second, port, workers, backlog=8)


def test_a_failure_on_one_address_lets_go_of_the_others(stack: ExitStack) -> None:
    port = listen(stack, "127.0.0.1")[0][0].getsockname()[1]
    with pytest.raises(OSError, match="already in use"):
        bind_all("two.test", port, 2, backlog=8)
    assert names_of(listen(stack, "::1", port)[0]) == [("::1", port)]


def test_a_free_port_is_free_on_every_address(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = listen(stack, "127.0.0.1")[0][0].getsockname()[1]
    first = iter([taken])
    bind_workers = subject._bind_workers

    def choose(
        family: socket.AddressFamily, address: tuple[str | int | bytes, ...], workers: int, backlog: int, only_v6: bool
    ) -> Sockets:
        if family is socket.AF_INET6:
            address = (address[0], next(first, 0), *address[2:])
        return bind_workers(family, address, workers, backlog, only_v6)

    monkeypatch.setattr(subject, "_bind_workers", choose)
    port = listen(stack, "two.test")[0][0].getsockname()[1]
    assert port != taken


@pytest.mark.parametrize("workers", [1, 2])
def test_a_restart_is_not_refused_for_connections_of_its_predecessor(stack: ExitStack, workers: int) -> None:
    found = listen(stack, "127.0.0.1", workers=workers)
    port = found[0][0].getsockname()[1]
    client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
    served = next(accepted for one in found for accepted in [accept(one[0])] if accepted is not None)
    # The side that closes first keeps the connection in TIME_WAIT.
    served.close()
    client.close()
    for one in found:
        one[0].close()
    assert len(listen(stack, "127.0.0.1", port, workers)) == workers


def accept(sock: socket.socket) -> socket.socket | None:
    try:
        return sock.accept()[0]
    except BlockingIOError:
        return None


@pytest.mark.parametrize("host", ["[::1]", "no such name", "a..b", "nothing.invalid"])
def test_a_name_that_does_not_resolve_is_in_the_message(host: str) -> None:
    with pytest.raises(socket.gaierror) as caught:
        bind_all(host, 0, 1, backlog=8)
    assert host in str(caught.value)


def test_bind_takes_the_first_address(stack: ExitStack) -> None:
    assert stack.enter_context(bind("two.test", 0, backlog=8)).getsockname()[0] == "::1"


def test_a_file_that_is_not_a_socket_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")
    with pytest.raises(OSError, match=r"notes\.txt: Address already in use"):
        Listeners((Listen(path=str(path)),), 1, backlog=1)
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_is_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 200)
    with pytest.raises(OSError, match=rf"cannot listen on unix:{path}: .*too long"):
        Listeners((Listen(path=str(path)),), 1, backlog=1)


def test_a_socket_for_a_further_worker_listens_when_this_worker_starts(stack: ExitStack) -> None:
    listeners = Listeners((Listen(host="127.0.0.1"),), 1, backlog=1)
    stack.callback(listeners.keep_only, [])
    listeners.grow(2, backlog=1)
    listening = [sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for (sock,) in listeners.sockets]
    assert listening == [1, 0]
