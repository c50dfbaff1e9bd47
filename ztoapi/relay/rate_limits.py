"""Applies the limits of all scopes to a request: the gateway, the client key, the model and the client's address.

One decision covers all scopes, and a refusal charges nothing (see ``ztoapi/limits``). The decision is made when the
body has been read, because it depends on the model and on the number of tokens.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from ztoapi.config.model import ClientKey, Config, ModelRoute
from ztoapi.errors import ApiError, Ending
from ztoapi.limits.estimate import LimitedRequest, estimate, sent_tokens
from ztoapi.limits.fields import describe, go_duration, ietf_fields, openai_fields
from ztoapi.limits.model import Descriptors, InFlightLimit, Limiter, RateLimit, Rejection, Reservation, Scope, Unit
from ztoapi.limits.scopes import Scopes
from ztoapi.relay.budgets import Budgets
from ztoapi.server.exchange import CLIENT_CLOSED, Exchange
from ztoapi.structures.bucket import SECOND_NS
from ztoapi.telemetry.samples import Sample
from ztoapi.wire.address import limited_part

__all__ = ["RateLimits"]

_MAX_CACHED: Final = 4096
"""Cached descriptors, about 0.5 KiB each. A full cache is cleared."""
_MIN_PIECE_BYTES: Final = 512
"""About two events: pacing reads of less than one event costs more than it smooths."""
_UNITS: Final = (Unit.REQUESTS, Unit.TOKENS)
_NAMES: Final = {"global": "the gateway", "key": "this API key", "model": "this model", "address": "this address"}


class _RequestLimits(NamedTuple):
    """The limits of a request with this client ``key``."""

    key: ClientKey | None
    descriptors: Descriptors
    reserve: Callable[[int], Reservation | Rejection | None] | None
    """Reserves for a number of tokens; None without limits."""
    max_tokens: int
    """The smallest burst of the token limits, 0 without one. A request larger than a whole token bucket takes a full
    bucket and leaves a debt; otherwise it could never be served."""
    paced: bool
    """Whether there is a bandwidth limit."""


class RateLimits:
    """The rate limits of requests. ``denied`` counts rejections by limit, ``granted`` the admitted requests.

    ``route_of`` finds the route of a model. Names of Claude's with the same route share the limit of its model.
    ``budgets`` are None if they are not configured."""

    def __init__(
        self,
        config: Config,
        scopes: Scopes,
        limiter: Limiter,
        route_of: Callable[[str], ModelRoute],
        budgets: Budgets | None = None,
    ) -> None:
        self._budgets = budgets
        self._is_limited = bool(scopes.all()) or config.key_file is not None
        self._scopes = scopes
        self._limiter = limiter
        self._route_of = route_of
        self._by_address = scopes.address is not None
        self._cached: dict[tuple[str | None, str, str], _RequestLimits] = {}
        self._ietf = config.limits.ietf_headers
        self.granted = 0
        self.denied: dict[str, int] = {}

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics of decisions by scope. The limits of a single key count under the scope "key"."""
        yield Sample("ztoapi_ratelimit_decisions", self.granted, "granted", "all")
        denied: dict[str, int] = {}
        for name, count in self.denied.items():
            scope = name.partition("_")[0]
            denied[scope] = denied.get(scope, 0) + count
        for scope, count in denied.items():
            yield Sample("ztoapi_ratelimit_decisions", count, "denied", scope)

    def enter(self, exchange: Exchange, key: ClientKey | None, request: LimitedRequest) -> bool:
        """Decides at once. Returns False if the decision needs the common store; call :meth:`wait_to_enter` then.

        Raises ApiError: 429, or 503 if the store is unreachable and the policy is "deny".
        """
        if self._budgets is not None and key is not None and not self._budgets.enter(exchange, key, request):
            return False
        if not self._is_limited:
            return True
        record = exchange.record
        address = record.client or "" if self._by_address else ""
        limits = self._cached.get((record.key, request.model, address))
        # A reload creates new key objects, which may have other limits.
        if limits is None or limits.key is not key:
            limits = self._limits_of(key, record.key, request.model, address)
        _, _, reserve, max_tokens, paced = limits
        if reserve is None:
            return True
        tokens = estimate(request) if max_tokens else 0
        decision = reserve(tokens if tokens < max_tokens else max_tokens)
        if decision is None:
            return False
        self._take(exchange, decision, paced, request.generates)
        return True

    async def wait_to_enter(self, exchange: Exchange, key: ClientKey | None, request: LimitedRequest) -> None:
        """Same as :meth:`enter`; may wait for the network."""
        if self._budgets is not None and key is not None:
            await self._budgets.wait_to_enter(exchange, key, request)
        record = exchange.record
        address = record.client or "" if self._by_address else ""
        _, descriptors, reserve, max_tokens, paced = self._limits_of(key, record.key, request.model, address)
        if reserve is None:
            return
        tokens = min(estimate(request), max_tokens) if max_tokens else 0
        decision = reserve(tokens)
        if decision is None:
            decision = await self._limiter.wait_to_reserve(descriptors, tokens)
        self._take(exchange, decision, paced, request.generates)

    async def enter_later(
        self, exchange: Exchange, key: ClientKey | None, request: LimitedRequest, begin: Callable[[], None]
    ) -> None:
        """Waits for :meth:`wait_to_enter`, then calls ``begin``."""
        await self.wait_to_enter(exchange, key, request)
        begin()

    def _limits_of(self, key: ClientKey | None, name: str | None, model: str, address: str) -> _RequestLimits:
        cached = self._cached.get((name, model, address))
        if cached is not None and cached.key is key:
            return cached
        if len(self._cached) >= _MAX_CACHED:
            self._cached.clear()
        descriptors = self._make_descriptors(key, model, address)
        rates = [limit for scope, _ in descriptors for limit in scope.limits if isinstance(limit, RateLimit)]
        bursts = [self._limiter.burst(limit) for limit in rates if limit.unit is Unit.TOKENS]
        paced = any(limit.unit is Unit.BANDWIDTH for limit in rates)
        reserve = self._limiter.reserver(descriptors) if descriptors else None
        limits = _RequestLimits(key, descriptors, reserve, min(bursts, default=0), paced)
        self._cached[name, model, address] = limits
        return limits

    def _make_descriptors(self, key: ClientKey | None, model: str, address: str) -> Descriptors:
        scopes = self._scopes
        descriptors: list[tuple[Scope, str]] = []
        if scopes.everybody is not None:
            descriptors.append((scopes.everybody, ""))
        if key is not None:
            scope = scopes.of_key(key)
            if scope is not None:
                if scope is not scopes.key:
                    self._limiter.add(scope)
                descriptors.append((scope, key.name))
        # A request whose body is not read has no model.
        if scopes.model is not None and model:
            descriptors.append((scopes.model, self._route_of(model).public.lower()))
        if scopes.address is not None:
            descriptors.append((scopes.address, limited_part(address)))
        return tuple(descriptors)

    def _take(self, exchange: Exchange, decision: Reservation | Rejection, paced: bool, generates: bool) -> None:
        if self._ietf:
            statuses = [status for unit in _UNITS if (status := decision.status(unit)) is not None]
            exchange.extra_headers += ietf_fields(statuses)
        if isinstance(decision, Rejection):
            exchange.extra_headers += openai_fields(decision.statuses)
            raise self._error(decision)
        exchange.extra_headers += decision.fields()
        self.granted += 1
        exchange.on_finish(partial(_settle if generates else _settle_input, decision))
        if paced:
            exchange.pace = decision.charge
            exchange.piece_bytes = max(decision.piece, _MIN_PIECE_BYTES)

    def _error(self, rejection: Rejection) -> ApiError:
        limit = rejection.limit
        name = "store" if limit is None else limit.name.partition("/")[0]
        self.denied[name] = self.denied.get(name, 0) + 1
        if limit is None:
            return ApiError(
                "the gateway cannot count requests at the moment: try again later",
                status=503,
                type="server_error",
                code="limits_unavailable",
                retry_after=1.0,
                ending=Ending.REJECTED,
            )
        wait = None
        remedy = "this request alone is more"
        if rejection.wait_ns is not None:
            wait = rejection.wait_ns / SECOND_NS
            remedy = f"try again in {go_duration(rejection.wait_ns).decode('ascii')}"
        return ApiError(
            f"{_NAMES[name.partition('_')[0]]} may take {describe(limit)}: {remedy}",
            status=429,
            type="tokens" if isinstance(limit, RateLimit) and limit.unit is Unit.TOKENS else "requests",
            code="concurrency_limit_exceeded" if isinstance(limit, InFlightLimit) else "rate_limit_exceeded",
            retry_after=wait,
            ending=Ending.RATE_LIMITED,
        )


def _settle(reservation: Reservation, exchange: Exchange) -> None:
    """Finishes the reservation, and charges the tokens that the request has used, as far as they are known."""
    record = exchange.record
    if record.usage is not None:
        reservation.finish(record.usage.total_tokens)
    elif record.status == 200:
        # A client that leaves early is charged for what it was sent; upstreams do not report that amount.
        reservation.finish(sent=sent_tokens(record.bytes_out, record.event_bytes if record.stream else None))
    elif record.status == CLIENT_CLOSED and record.attempts:
        # The upstream has begun to work for it.
        reservation.finish()
    else:
        # A failed request without usage is assumed to have generated no tokens.
        reservation.finish(0)


def _settle_input(reservation: Reservation, exchange: Exchange) -> None:
    """The same for a response without tokens: nothing is charged for its size."""
    record = exchange.record
    if record.usage is not None:
        reservation.finish(record.usage.total_tokens)
    elif 200 <= record.status < 300 or (record.status == CLIENT_CLOSED and record.attempts):
        reservation.finish()
    else:
        reservation.finish(0)
