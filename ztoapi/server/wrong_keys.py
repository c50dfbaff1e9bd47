"""Wrong keys by address: an address that sends many gets no further answer to the question whether a key is right.

Keys that were right at an address while it was being counted stay valid there, so that a neighbour behind the same
router is not shut out. A right guess is refused like a wrong one until the address has been quiet.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

from ztoapi.errors import ApiError, Ending
from ztoapi.structures.bucket import FULL, SECOND_NS, Rate
from ztoapi.telemetry.samples import Sample
from ztoapi.wire.address import limited_part

__all__ = ["WrongKeys"]

_ADDRESSES: Final = 10_000
"""Addresses that are counted at a time; the one that was quiet for longest is dropped for a new one."""
_KEYS: Final = 1000
"""Right keys that are remembered for one address."""
_PERIOD_NS: Final = 60 * SECOND_NS
_KEPT_NS: Final = 3600 * SECOND_NS
"""Time after which a quiet address is forgotten. While one is counted, every request takes the long way through the
gates."""

_log = logging.getLogger(__name__)


class _Address:
    """One address: the TAT of its bucket, and the names of keys that were right."""

    __slots__ = ("names", "refusing", "tat")

    def __init__(self) -> None:
        self.tat = FULL
        self.names: set[str] = set()
        self.refusing = False


class WrongKeys:
    """Allows ``per_minute`` wrong keys of one address, 0 for any number; ``now`` returns nanoseconds."""

    def __init__(self, per_minute: int, now: Callable[[], int]) -> None:
        self._rate = Rate(per_minute, _PERIOD_NS) if per_minute else None
        self._now = now
        self.addresses: OrderedDict[str, _Address] = OrderedDict()
        """Those that are counted. While there is none, :meth:`right` need not be called."""
        self._wrong = 0
        self._refused = 0

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        yield Sample("ztoapi_wrong_keys", self._wrong)
        yield Sample("ztoapi_wrong_keys_refused", self._refused)

    def right(self, client: str | None, name: str) -> ApiError | None:
        """A right key was sent. Returns the refusal if the address has sent too many wrong ones."""
        addresses = self.addresses
        if not addresses:
            return None
        quietest = next(iter(addresses))
        if addresses[quietest].tat + _KEPT_NS < self._now():
            del addresses[quietest]
        address = addresses.get(limited_part(client or ""))
        if address is None or name in address.names:
            return None
        if address.refusing and (refusal := self._refusal(address, self._now())):
            return refusal
        if len(address.names) < _KEYS:
            address.names.add(name)
        return None

    def wrong(self, client: str | None) -> ApiError | None:
        """A wrong key was sent: counts it. Returns the refusal if there were too many."""
        self._wrong += 1
        if self._rate is None:
            return None
        part = limited_part(client or "")
        address = self.addresses.get(part)
        if address is None:
            if len(self.addresses) >= _ADDRESSES:
                self.addresses.popitem(last=False)
            address = self.addresses[part] = _Address()
        self.addresses.move_to_end(part)
        now = self._now()
        if address.refusing and (refusal := self._refusal(address, now)):
            return refusal
        address.tat = self._rate.charge(address.tat, now, 1)
        if self._rate.wait(address.tat, now, 1):
            address.refusing = True
            _log.warning("%s has sent too many wrong keys: other keys of this address are refused for a while", part)
        return None

    def _refusal(self, address: _Address, now: int) -> ApiError | None:
        """Returns the refusal until the bucket of ``address`` is full again."""
        assert self._rate is not None, "without a limit no address is refused"
        left = self._rate.reset(address.tat, now)
        if not left:
            address.refusing = False
            return None
        self._refused += 1
        return ApiError(
            "too many wrong keys came from this address: try again later",
            status=429,
            type="rate_limit_error",
            code="too_many_wrong_keys",
            retry_after=left / SECOND_NS,
            ending=Ending.REJECTED,
        )
