"""Memory of a worker: above its limit the supervisor replaces it, and well above it refuses new requests.

The supervisor (:mod:`ztoapi.server.workers`) starts a successor at ``server.worker_max_memory_bytes``: the worker stops
listening, and its streams finish. If it grows on, because its successor cannot start or because the load grows faster,
it keeps its streams and refuses new requests.
"""

from collections.abc import Callable
from typing import Final

__all__ = ["MemoryGuard"]

_SHED_SHARE: Final = 1.2
"""The part of the limit above which requests are refused: a successor has begun long before."""
_INTERVAL_SECONDS: Final = 1.0


class MemoryGuard:
    """Compares ``resident_bytes()`` with ``limit_bytes`` once a second, and calls ``shed`` with the result; the
    deadlines call it."""

    def __init__(
        self, limit_bytes: int, resident_bytes: Callable[[], int | None], shed: Callable[[bool], None]
    ) -> None:
        self.deadline = 0.0
        self._most = limit_bytes * _SHED_SHARE
        self._resident_bytes = resident_bytes
        self._shed = shed

    def on_deadline(self, now: float) -> None:
        self.deadline = now + _INTERVAL_SECONDS
        self._shed((self._resident_bytes() or 0) > self._most)
