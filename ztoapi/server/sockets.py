"""Listening sockets: every address of a host, on one port, for each worker.

Workers share the port with SO_REUSEPORT, which would let a second gateway of the same user join them. A guard socket
prevents that: it is bound and listening without the option, which the kernel allows only while nothing else listens on
the address. Afterwards it gets the option, so that the workers' sockets can join, and is closed. Two gateways that
start at the same moment are refused in the same way, and connections in TIME_WAIT do not count (SO_REUSEADDR).
"""

import contextlib
import errno
import itertools
import logging
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from typing import Final, Self, TypeAlias

from ztoapi.config.listen import Listen
from ztoapi.wire.address import authority
from ztoapi.wire.limits import SOCKET_BUFFER_BYTES

__all__ = ["KeptSocket", "Listeners", "ListeningSocket", "Sockets", "bind", "bind_all", "close_others"]

Sockets: TypeAlias = "tuple[ListeningSocket, ...]"
"""The listening sockets of one worker, one for each address."""
_Address: TypeAlias = tuple[socket.AddressFamily, tuple[str | int | bytes, ...]]

_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""This host has no such address: `localhost` often includes ::1 although IPv6 is off."""
_FREE_PORT_ATTEMPTS: Final = 20
"""A port that the kernel has chosen for one address may be in use on another."""

_log = logging.getLogger(__name__)


class ListeningSocket(socket.socket):
    """A listening socket, the configured address that it belongs to, and the length of its accept queue: the event loop
    sets it again."""

    address = Listen()
    backlog = 0


KeptSocket: TypeAlias = tuple[int, int]
"""A descriptor, and the number of its address."""


class Listeners:
    """The listening sockets of all workers on ``addresses``. Raises OSError, which names the address.

    Sockets of ``previous`` listeners on the same places are used again, because they cannot be bound twice.
    """

    def __init__(
        self, addresses: tuple[Listen, ...], workers: int, *, backlog: int, previous: "Sequence[Listeners]" = ()
    ) -> None:
        self.addresses = addresses
        self.sockets: list[Sockets] = [()] * workers
        with contextlib.ExitStack() as undo:
            undo.callback(self.keep_only, [])
            for address in addresses:
                self._add(address, backlog, previous)
            undo.pop_all()

    @classmethod
    def adopt(cls, addresses: tuple[Listen, ...], kept: list[list[KeptSocket]], *, backlog: int) -> Self:
        """Returns the listeners of a previous program, which :meth:`pass_on` of it has returned."""
        self = cls((), 0, backlog=0)
        self.addresses = addresses
        sockets: dict[int, ListeningSocket] = {}
        for worker in kept:
            for number, address in worker:
                if number not in sockets:
                    sockets[number] = ListeningSocket(fileno=number)
                    sockets[number].set_inheritable(False)
                    sockets[number].address = addresses[address]
                    sockets[number].backlog = backlog
            self.sockets.append(tuple(sockets[number] for number, _ in worker))
        return self

    def pass_on(self) -> list[list[KeptSocket]]:
        """Returns the descriptors and their addresses, by worker. A program that is executed now inherits them."""
        for sock in itertools.chain(*self.sockets):
            sock.set_inheritable(True)
        return [[(sock.fileno(), self.addresses.index(sock.address)) for sock in worker] for worker in self.sockets]

    def _add(self, address: Listen, backlog: int, previous: "Sequence[Listeners]") -> None:
        workers = len(self.sockets)
        added: list[Sockets]
        if earlier := [sockets for listeners in previous if (sockets := listeners.at(address))]:
            added = _share(earlier[-1], workers, backlog)
            if address.path:
                os.chmod(address.path, address.mode)
        elif address.path:
            added = [(_listen_unix(address.path, address.mode, backlog),)] * workers
        elif address.descriptor is not None:
            added = [(_inherit(address.descriptor, backlog),)] * workers
        else:
            added = bind_all(address.host, address.port, workers, backlog=backlog)
        for worker in added:
            for sock in worker:
                sock.address = address
        self.sockets = [old + new for old, new in zip(self.sockets, added, strict=True)]

    def at(self, address: Listen) -> list[Sockets]:
        """Returns the sockets of each worker on the place of ``address``; empty if there are none."""
        by_worker = [tuple(sock for sock in worker if sock.address.place == address.place) for worker in self.sockets]
        return [sockets for sockets in by_worker if sockets]

    @property
    def port(self) -> int | None:
        """The port of the first TCP address; None if there is none."""
        return next((port for _, port in self.ports() if port), None)

    def ports(self) -> list[tuple[Listen, int | None]]:
        """Returns each address with its port; None for a Unix socket and a descriptor."""
        ports = {sock.address: sock.getsockname()[1] for sock in self.sockets[0] if sock.address.host}
        return [(address, ports.get(address)) for address in self.addresses]

    def grow(self, workers: int, *, backlog: int) -> None:
        """Adds sockets until there are those of ``workers`` workers. Raises OSError."""
        while len(self.sockets) < workers:
            self.sockets.append(tuple(_listen_beside(sock, backlog) for sock in self.sockets[0]))

    def keep_only(self, kept: list[Sockets]) -> None:
        """Closes all sockets but ``kept``."""
        close_others(self.sockets, kept)
        self.sockets = [worker for worker in self.sockets if worker in kept]

    @property
    def paths(self) -> set[str]:
        """The files of Unix sockets."""
        return {address.path for address in self.addresses if address.path}


def close_others(sockets: list[Sockets], kept: list[Sockets]) -> None:
    """Closes those of ``sockets`` that are not in ``kept``. Several workers may share one."""
    left = set(itertools.chain(*kept))
    for sock in itertools.chain(*sockets):
        if sock not in left:
            sock.close()


def _share(earlier: list[Sockets], workers: int, backlog: int) -> list[Sockets]:
    """Returns ``earlier`` sockets for ``workers`` workers, under descriptors of their own."""
    shared = {sock: _again(sock, backlog) for sock in set(itertools.chain(*earlier[:workers]))}
    added = [tuple(shared[sock] for sock in worker) for worker in earlier[:workers]]
    while len(added) < workers:
        added.append(tuple(_listen_beside(sock, backlog) for sock in added[0]))
    return added


def _again(sock: ListeningSocket, backlog: int) -> ListeningSocket:
    again = ListeningSocket(fileno=os.dup(sock.fileno()))
    again.backlog = backlog
    return again


def _listen_beside(sock: ListeningSocket, backlog: int) -> ListeningSocket:
    """Returns another socket on the address of ``sock``, for a further worker; for a socket that all workers share,
    this one. It is bound and does not listen: a connection would wait for a worker that may never start."""
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT):
        return sock
    only_v6 = sock.family is socket.AF_INET6 and bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
    beside = _bind(sock.family, sock.getsockname(), backlog, only_v6, share=True)
    beside.address = sock.address
    return beside


def _listen_unix(path: str, mode: int, backlog: int) -> ListeningSocket:
    """Returns a listening Unix socket. The file of a program that has ended is replaced."""
    sock = ListeningSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _named(f"unix:{path}"):
            if _is_abandoned(path):
                os.unlink(path)
            before = os.umask(~mode & 0o777)
            try:
                sock.bind(path)
            finally:
                os.umask(before)
            sock.listen(backlog)
            sock.backlog = backlog
            sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _is_abandoned(path: str) -> bool:
    """Whether there is a Unix socket at ``path`` to which no program listens."""
    with contextlib.suppress(OSError):
        # A connection to a file of another kind is refused too.
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _inherit(descriptor: int, backlog: int) -> ListeningSocket:
    """Returns the listening socket that the parent process has passed on."""
    with _named(f"fd:{descriptor}"):
        sock = ListeningSocket(fileno=os.dup(descriptor))
        try:
            if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise OSError(errno.EINVAL, "it is not a listening socket")
        except OSError:
            sock.close()
            raise
        sock.backlog = backlog
        sock.setblocking(False)
        return sock


def bind(host: str, port: int, *, backlog: int) -> ListeningSocket:
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
) -> ListeningSocket:
    sock = _bind(family, address, backlog, only_v6, share=share)
    try:
        with _named(authority(str(address[0]), int(address[1]))):
            sock.listen(backlog)
    except OSError:
        sock.close()
        raise
    return sock


def _bind(
    family: socket.AddressFamily,
    address: tuple[str | int | bytes, ...],
    backlog: int,
    only_v6: bool,
    *,
    share: bool = False,
) -> ListeningSocket:
    where = authority(str(address[0]), int(address[1]))
    with _named(where):
        sock = ListeningSocket(family, socket.SOCK_STREAM)
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
            sock.backlog = backlog
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
        raise OSError(error.errno, f"cannot listen on {where}: {error.strerror or error}") from error
