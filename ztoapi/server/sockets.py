"""Listening sockets: every address of a host, on one port, for each worker.

Workers share the port with SO_REUSEPORT, which would let a second gateway of the same user join them. A guard socket
prevents that: it is bound and listening without the option, which the kernel allows only while nothing else listens on
the address. Afterwards it gets the option, so that the workers' sockets can join, and is closed. Two gateways that
start at the same moment are refused in the same way, and connections in TIME_WAIT do not count (SO_REUSEADDR).
"""

import contextlib
import errno
import logging
import socket
from collections.abc import Iterator
from typing import Final, TypeAlias

from ztoapi.wire.address import authority
from ztoapi.wire.limits import SOCKET_BUFFER_BYTES

__all__ = ["Listeners", "Sockets", "bind", "bind_all"]

Sockets: TypeAlias = tuple[socket.socket, ...]
"""The listening sockets of one worker, one for each address."""
_Address: TypeAlias = tuple[socket.AddressFamily, tuple[str | int | bytes, ...]]

_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""This host has no such address: `localhost` often includes ::1 although IPv6 is off."""
_FREE_PORT_ATTEMPTS: Final = 20
"""A port that the kernel has chosen for one address may be in use on another."""

_log = logging.getLogger(__name__)


class Listeners:
    """The listening sockets of all workers on ``host`` and ``port``, as configured: 0 stands for a free port."""

    def __init__(self, host: str, port: int, sockets: list[Sockets]) -> None:
        self.host = host
        self.port = port
        self.sockets = sockets

    @property
    def bound_port(self) -> int:
        port: int = self.sockets[0][0].getsockname()[1]
        return port

    def grow(self, workers: int, *, backlog: int) -> None:
        """Adds sockets until there are those of ``workers`` workers. Raises OSError."""
        while len(self.sockets) < workers:
            self.sockets.append(tuple(_listen_beside(sock, backlog) for sock in self.sockets[0]))

    def keep_only(self, kept: list[Sockets]) -> None:
        """Closes all sockets but ``kept``."""
        for sockets in self.sockets:
            if sockets not in kept:
                for sock in sockets:
                    sock.close()
        self.sockets = [sockets for sockets in self.sockets if sockets in kept]


def _listen_beside(sock: socket.socket, backlog: int) -> socket.socket:
    """Returns another socket on the address of ``sock``, for a further worker."""
    only_v6 = sock.family is socket.AF_INET6 and bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    return _listen(sock.family, sock.getsockname(), backlog, only_v6, share=True)


def bind(host: str, port: int, *, backlog: int) -> socket.socket:
    """Returns a listening TCP socket on the first address of ``host``. Raises OSError, which names the address."""
    ((sock,),) = _bind_port(_resolve(host, port)[:1], port, 1, backlog)
    return sock


def bind_all(host: str, port: int, workers: int, *, backlog: int) -> list[Sockets]:
    """Returns the sockets of each worker, on every address of ``host`` and one port; 0 chooses a free port.

    Raises OSError with the address in its message; socket.gaierror if the name does not resolve.
    """
    addresses = _resolve(host, port)
    for attempt in range(1, _FREE_PORT_ATTEMPTS + 1):
        try:
            return _bind_port(addresses, port, workers, backlog)
        except OSError as error:
            if port or error.errno != errno.EADDRINUSE or attempt == _FREE_PORT_ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


def _resolve(host: str, port: int) -> list[_Address]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        # UnicodeError: a label of the name is empty or too long.
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise socket.gaierror(socket.EAI_NONAME, f"{host} does not resolve: {reason}") from error
    return list(dict.fromkeys((family, address) for family, _, _, _, address in infos))


def _bind_port(addresses: list[_Address], port: int, workers: int, backlog: int) -> list[Sockets]:
    """Binds all addresses, or none. An address that this host does not have is left out if there is another one."""
    bound: list[Sockets] = []
    with contextlib.ExitStack() as undo:
        absent: list[OSError] = []
        for family, address in addresses:
            # A socket for :: takes IPv4 too, unless the name has addresses of both kinds.
            only_v6 = family is socket.AF_INET6 and len(addresses) > 1
            try:
                sockets = _bind_workers(family, (address[0], port, *address[2:]), workers, backlog, only_v6)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent.append(error)
                continue
            for sock in sockets:
                undo.callback(sock.close)
            bound.append(sockets)
            port = sockets[0].getsockname()[1]
        if not bound:
            raise absent[0]
        for failure in absent:
            _log.warning("%s", failure.strerror)
        undo.pop_all()
    return list(zip(*bound, strict=True))


def _bind_workers(
    family: socket.AddressFamily, address: tuple[str | int | bytes, ...], workers: int, backlog: int, only_v6: bool
) -> Sockets:
    """Returns a socket for each worker on one address."""
    with contextlib.ExitStack() as undo, _listen(family, address, backlog, only_v6) as guard:
        guard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        address = (address[0], guard.getsockname()[1], *address[2:])
        sockets = []
        for _ in range(workers):
            sockets.append(_listen(family, address, backlog, only_v6, share=True))
            undo.callback(sockets[-1].close)
        undo.pop_all()
    return tuple(sockets)


def _listen(
    family: socket.AddressFamily,
    address: tuple[str | int | bytes, ...],
    backlog: int,
    only_v6: bool,
    *,
    share: bool = False,
) -> socket.socket:
    where = authority(str(address[0]), int(address[1]))
    with _named(where):
        sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        with _named(where):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if share:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family is socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(only_v6))
            # Accepted connections inherit it.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
            sock.bind(address)
            sock.listen(backlog)
            sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _named(where: str) -> Iterator[None]:
    """Adds the address to the message of an OSError."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
