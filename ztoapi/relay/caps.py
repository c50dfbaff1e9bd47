"""Caps on the requests that a credential has in flight, in all and by model: exact over all workers of a machine.

They are limits like others (:mod:`ztoapi.limits`), on the same board, but of the upstream's and not of a client's: one
that is reached refuses nobody while another credential has room.
"""

from collections.abc import Callable, Sequence
from typing import Final

from ztoapi.config.model import Credential, Platform
from ztoapi.limits.board import BoardGrant, BoardLimiter
from ztoapi.limits.model import Demand, InFlightLimit, Scope

__all__ = ["PlatformCaps", "cap_scopes"]

_ANY_MODEL: Final = "*"
_OTHER_MODELS: Final = 256
"""Models that ``*`` counts apart from each other; names come from clients, and further ones share a place."""


def cap_scopes(platforms: Sequence[Platform]) -> list[Scope]:
    """The scopes that a board needs for the caps of ``platforms``; empty where nothing is capped."""
    return [
        scope
        for platform in platforms
        for credential in platform.credentials
        for scope in _scopes(platform.id, credential).values()
    ]


class PlatformCaps:
    """The caps of one platform, through one worker's ``limiter``; see :class:`~ztoapi.relay.credentials.Caps`."""

    def __init__(self, platform: Platform, limiter: BoardLimiter) -> None:
        self._limiter = limiter
        self._scopes = [_scopes(platform.id, credential) for credential in platform.credentials]

    def take(self, credential: int, model: str) -> Callable[[], None] | None:
        scopes = self._scopes[credential]
        demand: Demand = ()
        if (whole := scopes.get("")) is not None:
            demand = ((whole, ""),)
        if (one := scopes.get(model) or scopes.get(_ANY_MODEL)) is not None:
            demand = (*demand, (one, model))
        if not demand:
            return _nothing
        grant = self._limiter.take(demand)
        return grant.finish if isinstance(grant, BoardGrant) else None


def _nothing() -> None:
    """A place where there is room for all."""


def _scopes(platform: str, credential: Credential) -> dict[str, Scope]:
    """By model; the empty name is for all together."""
    caps = dict(credential.max_in_flight_per_model)
    if credential.max_in_flight is not None:
        caps[""] = credential.max_in_flight
    return {
        model: Scope(name, (InFlightLimit(name, most),), _OTHER_MODELS if model == _ANY_MODEL else 1)
        for model, most in caps.items()
        for name in (f"{platform} {credential.name} {model}",)
    }
