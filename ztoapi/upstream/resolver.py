"""Addresses of upstreams' names, which a worker keeps for as long as the resolver may fail.

A name is looked up once for all connections that wait for it. Its addresses are used for :data:`FRESH_SECONDS` without
another lookup. After that they are used while a lookup runs in the background, and a connection waits a moment for
that lookup if they are old or if none of them could be connected to. If the lookup fails, the addresses stay in use
(RFC 8767, "serve stale"), for :data:`MAX_AGE_SECONDS` at most. A name that no longer exists is such a failure too:
resolvers also report that by mistake, and a TLS upstream has to show a certificate for its name.

Addresses are in the order in which they are to be attempted: that of getaddrinfo (RFC 6724) with the families
alternating (RFC 8305 section 4). An address that worked after an earlier one had failed comes first for a while.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, Final, Protocol

from ztoapi.telemetry.samples import Sample

__all__ = ["Address", "LookUp", "Resolver"]

FRESH_SECONDS: Final = 60.0
"""Age up to which addresses are used without a lookup: the usual time to live of the names of cloud services."""
OLD_SECONDS: Final = 600.0
"""Age from which a connection waits for a lookup, such as the first one after a quiet night."""
WAIT_SECONDS: Final = 1.8
"""Longest such wait: the client response timer of RFC 8767 section 5."""
RETRY_SECONDS: Final = 30.0
"""Between a failed lookup and the next one of a name with addresses: the failure recheck timer of RFC 8767."""
DOUBT_SECONDS: Final = 1.0
"""Between two lookups of a name whose addresses cannot be connected to: the upstream may have moved."""
MAX_AGE_SECONDS: Final = 86400.0
"""Age at which addresses are dropped: the maximum stale timer of RFC 8767."""
PREFERENCE_SECONDS: Final = 600.0
"""Time after which the first address is attempted first again (RFC 6555 section 4.2)."""
MAX_ADDRESSES: Final = 16
"""Addresses of one name that are attempted: a bound on the sockets of one request."""
MAX_NAMES: Final = 256
"""Names that are kept. The configuration names a few; the platforms of a large one would fit."""

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""An entry of the result of getaddrinfo."""

_log = logging.getLogger(__name__)


class LookUp(Protocol):
    """``getaddrinfo`` of an event loop, which resolves in a thread."""

    async def __call__(self, host: str, port: int, /, *, type: int) -> Sequence[Address]: ...


class _Name:
    """The addresses of one name, and the lookup in progress."""

    __slots__ = (
        "addresses",
        "doubtful",
        "failing",
        "looked_up_at",
        "lookup",
        "preferred",
        "preferred_until",
        "retry_at",
    )

    def __init__(self) -> None:
        self.addresses: list[Address] = []
        self.looked_up_at = 0.0
        """Time of the last lookup that succeeded."""
        self.retry_at = 0.0
        """Time of the next lookup."""
        self.doubtful = False
        """Whether no address could be connected to since then."""
        self.failing = False
        """Whether the last lookup failed although an earlier one had succeeded."""
        self.lookup: asyncio.Task[Exception | None] | None = None
        self.preferred: Address | None = None
        self.preferred_until = 0.0


class Resolver:
    """See the module docstring. ``clock`` returns monotonic seconds."""

    def __init__(self, look_up: LookUp, clock: Callable[[], float]) -> None:
        self._look_up = look_up
        self._clock = clock
        self._names: dict[tuple[str, int], _Name] = {}
        self._failures = 0

    def __repr__(self) -> str:
        return f"<Resolver {[host for host, _ in self._names]}>"

    async def resolve(self, host: str, port: int) -> list[Address]:
        """Returns the addresses of ``host``, the one to be attempted first in front. Raises OSError, or UnicodeError
        for a name that cannot be encoded."""
        name = self._names.get((host, port))
        if name is None:
            name = self._add(host, port)
        now = self._clock()
        age = now - name.looked_up_at
        if not name.addresses or age >= MAX_AGE_SECONDS:
            error = await asyncio.shield(self._start(name, host, port))
            if error is not None:
                raise error
        elif now >= name.retry_at:
            lookup = self._start(name, host, port)
            if name.doubtful or age >= OLD_SECONDS:
                await asyncio.wait((lookup,), timeout=WAIT_SECONDS)
        first = name.preferred
        if first is None or first not in name.addresses or self._clock() >= name.preferred_until:
            return name.addresses
        return [first, *(address for address in name.addresses if address != first)]

    def connected(self, host: str, port: int, address: Address) -> None:
        """A connection to ``address`` has been opened."""
        name = self._names.get((host, port))
        if name is None or not name.addresses:
            return
        name.doubtful = False
        if address == name.addresses[0]:
            # The preferred one is attempted before it: it has failed.
            name.preferred = None
        else:
            self._prefer(name, address)

    def failed(self, host: str, port: int, address: Address | None = None) -> None:
        """No connection could be opened; or ``address`` has accepted one, and TLS has failed on it."""
        name = self._names.get((host, port))
        if name is None or not name.addresses:
            return
        name.doubtful = True
        if not name.failing:
            name.retry_at = min(name.retry_at, name.looked_up_at + DOUBT_SECONDS)
        if address in name.addresses:
            following = name.addresses.index(address) + 1
            self._prefer(name, name.addresses[following % len(name.addresses)])

    def _prefer(self, name: _Name, address: Address) -> None:
        now = self._clock()
        # Later successes do not prolong the time, so that the first address is attempted again.
        if address != name.preferred or now >= name.preferred_until:
            name.preferred, name.preferred_until = address, now + PREFERENCE_SECONDS

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        yield Sample("ztoapi_upstream_lookups_failed", self._failures)
        yield Sample("ztoapi_upstream_names_stale", sum(name.failing for name in self._names.values()))

    def close(self) -> None:
        """Cancels the lookups."""
        for name in self._names.values():
            if name.lookup is not None:
                name.lookup.cancel()

    def _add(self, host: str, port: int) -> _Name:
        if len(self._names) >= MAX_NAMES:
            del self._names[next(iter(self._names))]
        name = self._names[host, port] = _Name()
        return name

    def _start(self, name: _Name, host: str, port: int) -> "asyncio.Task[Exception | None]":
        """Returns the lookup in progress, or starts one."""
        if name.lookup is None:
            name.lookup = asyncio.get_running_loop().create_task(self._refresh(name, host, port))
        return name.lookup

    async def _refresh(self, name: _Name, host: str, port: int) -> Exception | None:
        """Looks ``host`` up. Returns the error instead of raising it, because perhaps no connection waits for it."""
        try:
            found = await self._look_up(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            self._note_failure(name, host, error)
            return error
        finally:
            name.lookup = None
        if name.failing:
            name.failing = False
            _log.info("the name %s can be resolved again", host)
        name.addresses = _interleaved(found)[:MAX_ADDRESSES]
        name.looked_up_at = self._clock()
        name.retry_at = name.looked_up_at + FRESH_SECONDS
        name.doubtful = False
        return None

    def _note_failure(self, name: _Name, host: str, error: Exception) -> None:
        self._failures += 1
        now = self._clock()
        name.retry_at = now + RETRY_SECONDS
        if name.addresses and not name.failing:
            name.failing = True
            reason = getattr(error, "strerror", None) or error
            age = now - name.looked_up_at
            _log.warning("the name %s cannot be resolved (%s): using its addresses of %.0f s ago", host, reason, age)


def _interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Returns the addresses with the families alternating, that of the first address first."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for turn in zip_longest(*families.values()) for address in turn if address is not None]
