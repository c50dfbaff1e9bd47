"""Caps on the requests that a credential has in flight, in total and per model: exact over all workers of a machine.

They are ordinary limits (:mod:`ztoapi.limits`) in the same shared memory, but they belong to the upstream: a credential
at its cap is skipped while another has room, and the client is not refused.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ztoapi.config.model import Credential, Platform
from ztoapi.limits.model import Descriptors, InFlightLimit, Scope
from ztoapi.limits.shared_limits import LocalLimiter, LocalReservation

__all__ = ["PlatformCaps", "cap_scopes"]

_ANY_MODEL: Final = "*"
_OTHER_MODELS: Final = 256
"""Models that ``*`` counts separately. Names come from clients; further models share one count."""


def cap_scopes(platforms: Sequence[Platform]) -> list[Scope]:
    """Returns the scopes for the caps of ``platforms``; empty without caps."""
    return [
        scope
        for platform in platforms
        for credential in platform.credentials
        for scope in _scopes(platform.id, credential).values()
    ]


class PlatformCaps:
    """The caps of one platform, through one worker's ``limiter``; see :class:`~ztoapi.relay.credentials.Caps`."""

    def __init__(self, platform: Platform, limiter: LocalLimiter) -> None:
        self._limiter = limiter
        self._scopes = [_scopes(platform.id, credential) for credential in platform.credentials]

    def take(self, credential: int, model: str) -> Callable[[], None] | None:
        scopes = self._scopes[credential]
        descriptors: Descriptors = ()
        if (total := scopes.get("")) is not None:
            descriptors = ((total, ""),)
        if (per_model := scopes.get(model) or scopes.get(_ANY_MODEL)) is not None:
            descriptors = (*descriptors, (per_model, model))
        if not descriptors:
            return _nothing
        reservation = self._limiter.reserve(descriptors)
        return reservation.finish if isinstance(reservation, LocalReservation) else None


def _nothing() -> None:
    """Releases nothing: no cap applies."""


def _scopes(platform: str, credential: Credential) -> dict[str, Scope]:
    """Returns the scopes by model. The empty name is the total over all models."""
    caps = dict(credential.max_in_flight_per_model)
    if credential.max_in_flight is not None:
        caps[""] = credential.max_in_flight
    return {
        model: Scope(name, (InFlightLimit(name, max_requests),), _OTHER_MODELS if model == _ANY_MODEL else 1)
        for model, max_requests in caps.items()
        for name in (f"{platform} {credential.name} {model}",)
    }
