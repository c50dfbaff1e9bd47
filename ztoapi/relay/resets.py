"""Resets: an operator puts a credential back into service, in all workers.

Health is kept by each worker. The worker that serves the request writes a stamp for the credential to memory that all
workers share, and each worker compares the stamps at its next tick. A credential has the number of its place in the
configuration. A worker starts with all credentials in service, so stamps from before its start have no effect on it.
"""

import time
from collections.abc import Iterable
from typing import Final

from ztoapi.relay.upstreams import Upstream
from ztoapi.telemetry.shared_memory import SharedMemory

__all__ = ["CredentialResets", "ResetWatch"]

_WORD_BYTES: Final = 8
MAX_CREDENTIALS: Final = 65535
"""Far more than the metrics have room for. The memory of words that are never written is not allocated."""


class CredentialResets:
    """The stamps: the time of the last reset of each credential, and of any. The workers are forked after this is
    made."""

    def __init__(self) -> None:
        memory = SharedMemory((1 + MAX_CREDENTIALS) * _WORD_BYTES)
        self._stamps = memoryview(memory.mapping).cast("q")

    @property
    def latest(self) -> int:
        """The stamp of the last reset of any credential."""
        return self._stamps[0]

    def stamp(self, credential: int) -> int:
        return self._stamps[1 + credential % MAX_CREDENTIALS]

    def write(self, credential: int) -> None:
        """Stamps a credential. Other workers notice it by ``latest``, which is therefore written last."""
        now = time.monotonic_ns()
        self._stamps[1 + credential % MAX_CREDENTIALS] = now
        self._stamps[0] = now


class ResetWatch:
    """Applies the resets to the ``upstreams`` of one worker. The deadlines call it at each tick."""

    deadline = 0.0

    def __init__(self, resets: CredentialResets, upstreams: Iterable[Upstream]) -> None:
        self._resets = resets
        self._credentials = [(upstream, number) for upstream in upstreams for number in range(len(upstream.pool))]
        self._latest = resets.latest
        self._stamps = [resets.stamp(place) for place in range(len(self._credentials))]

    def on_deadline(self, now: float) -> None:
        latest = self._resets.latest
        if latest != self._latest:
            self._latest = latest
            self._apply()

    def reset(self, name: str | None) -> list[tuple[str, str]]:
        """Resets the credentials with this name, or with ``platform/name``; None means all. Returns the platform and
        the name of each."""
        found = []
        for place, (upstream, number) in enumerate(self._credentials):
            platform = upstream.platform
            credential = platform.credentials[number].name
            if name in (None, credential, f"{platform.id}/{credential}"):
                self._resets.write(place)
                found.append((platform.id, credential))
        self._apply()
        return found

    def _apply(self) -> None:
        for place, (upstream, number) in enumerate(self._credentials):
            stamp = self._resets.stamp(place)
            if stamp != self._stamps[place]:
                self._stamps[place] = stamp
                upstream.reset(number)
