"""The configured limits as scopes."""

from typing import Final

from ztoapi.config.model import ClientKey, LimitsConfig, TrafficLimits
from ztoapi.limits.model import InFlightLimit, Limit, RateLimit, Scope, Unit
from ztoapi.structures.bucket import SECOND_NS, Rate

__all__ = ["Scopes"]

_KEYS: Final = 10_000
_MODELS: Final = 1_000
_ADDRESSES: Final = 50_000
"""Subjects with buckets of their own, 32 bytes for each subject and limit. Further addresses share one bucket."""


class Scopes:
    """The configured limits as scopes. A scope without limits is None. A key with limits of its own has a scope of its
    own."""

    def __init__(self, limits: LimitsConfig) -> None:
        self._key_limits = limits.key
        self.everybody = _scope("global", limits.everybody, 1)
        self.key = _scope("key", limits.key, _KEYS)
        self.model = _scope("model", limits.model, _MODELS)
        self.address = _scope("address", limits.address, _ADDRESSES)
        self._own: dict[str, tuple[TrafficLimits, Scope]] = {}

    def all(self) -> list[Scope]:
        """Returns the scopes that exist at start; those of single keys are added later."""
        return [scope for scope in (self.everybody, self.key, self.model, self.address) if scope is not None]

    def of_key(self, key: ClientKey) -> Scope | None:
        """Returns the scope for ``key``: its own, if the key has limits of its own, else that of all keys."""
        if key.limits == TrafficLimits():
            return self.key
        cached = self._own.get(key.name)
        if cached is not None and cached[0] == key.limits:
            return cached[1]
        values = {
            field: default if (own := getattr(key.limits, field)) is None else own
            for field in TrafficLimits.__struct_fields__
            if (default := getattr(self._key_limits, field)) is not None or getattr(key.limits, field) is not None
        }
        scope = _scope("key", TrafficLimits(**values), 1, owner=key.name)
        assert scope is not None
        self._own[key.name] = (key.limits, scope)
        return scope


def _scope(kind: str, limits: TrafficLimits, subjects: int, owner: str = "") -> Scope | None:
    """Builds a scope; None without limits.

    With an ``owner`` the names of the limits contain the owner and the values, so a changed limit starts with a new
    bucket.
    """
    scope_limits: list[Limit] = []

    def add(option: str, unit: Unit, period_ns: int, burst: int | None = None) -> None:
        value: int | None = getattr(limits, option)
        if value is not None:
            name = f"{kind}_{option}/{owner}/{value}/{burst}" if owner else f"{kind}_{option}"
            scope_limits.append(RateLimit(name, unit, Rate(value, period_ns, burst)))

    add("requests_per_second", Unit.REQUESTS, SECOND_NS, limits.burst)
    add("requests_per_minute", Unit.REQUESTS, 60 * SECOND_NS, limits.burst)
    add("tokens_per_minute", Unit.TOKENS, 60 * SECOND_NS)
    add("bandwidth_bytes_per_second", Unit.BANDWIDTH, SECOND_NS)
    if limits.max_concurrency is not None:
        name = f"{kind}_max_concurrency"
        scope_limits.append(
            InFlightLimit(f"{name}/{owner}/{limits.max_concurrency}" if owner else name, limits.max_concurrency)
        )
    return Scope(kind, tuple(scope_limits), subjects) if scope_limits else None
