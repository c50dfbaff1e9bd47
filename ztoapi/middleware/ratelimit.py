"""Holds chat requests to the limits of all their scopes: everybody, the client's key, the model, the client's address.

The decision is one for all of them and costs nothing if it is no; see ``ztoapi/limits``. It is asked when the body has
been read, because the model and the number of tokens stand in there.
"""

import ipaddress
from typing import Final

from ztoapi.config.model import ClientKey, Config
from ztoapi.dialects.request import ChatRequest
from ztoapi.errors import ApiError, Ending
from ztoapi.limits.estimate import estimate
from ztoapi.limits.fields import go_duration, ietf_fields, openai_fields, said
from ztoapi.limits.model import Demand, Denial, Grant, InFlightLimit, Limiter, RateLimit, Scope, Unit
from ztoapi.limits.scopes import Scopes
from ztoapi.server.address import client_address
from ztoapi.server.exchange import Exchange
from ztoapi.structures.bucket import SECOND_NS

__all__ = ["RateLimits"]

_UNITS: Final = {Unit.REQUESTS: b"requests", Unit.TOKENS: b"tokens"}
_NAMES: Final = {"global": "the gateway", "key": "this API key", "model": "this model", "address": "this address"}


class RateLimits:
    """What the chat handler asks. ``denied`` counts denials by limit, ``granted`` the requests let in."""

    def __init__(self, config: Config, scopes: Scopes, limiter: Limiter) -> None:
        self._scopes = scopes
        self._limiter = limiter
        self._added: set[Scope] = set(scopes.all())
        self._ietf = config.limits.ietf_headers
        self._proxies = tuple(ipaddress.ip_network(one) for one in config.server.trusted_proxies)
        self.granted = 0
        self.denied: dict[str, int] = {}

    def enter(self, exchange: Exchange, key: ClientKey | None, request: ChatRequest) -> bool:
        """Decide. False: only the common store can, ask :meth:`wait_to_enter`. Raises ApiError (429, or 503 without
        the store)."""
        demand, most_tokens = self._demand(exchange, key, request.model)
        if not demand:
            return True
        tokens = min(estimate(request), most_tokens) if most_tokens else 0
        answer = self._limiter.take(demand, tokens)
        if answer is None:
            return False
        self._take(exchange, answer)
        return True

    async def wait_to_enter(self, exchange: Exchange, key: ClientKey | None, request: ChatRequest) -> None:
        """As :meth:`enter`, with the network."""
        demand, most_tokens = self._demand(exchange, key, request.model)
        tokens = min(estimate(request), most_tokens) if most_tokens else 0
        answer = await self._limiter.ask(demand, tokens)
        self._take(exchange, answer)

    def _demand(self, exchange: Exchange, key: ClientKey | None, model: str) -> tuple[Demand, int]:
        """Whose limits hold, and the smallest burst of those on tokens: a request that is larger than the whole bucket
        takes a full one and leaves a debt, instead of never being let in."""
        scopes = self._scopes
        demand: list[tuple[Scope, str]] = []
        if scopes.everybody is not None:
            demand.append((scopes.everybody, ""))
        if key is not None:
            scope = scopes.of_key(key)
            if scope is not None:
                if scope not in self._added:
                    self._limiter.add(scope)
                    self._added.add(scope)
                demand.append((scope, key.name))
        if scopes.model is not None:
            demand.append((scopes.model, model.lower()))
        if scopes.address is not None:
            demand.append((scopes.address, client_address(exchange, self._proxies)))
        bursts = [
            limit.rate.burst
            for scope, _ in demand
            for limit in scope.limits
            if isinstance(limit, RateLimit) and limit.unit is Unit.TOKENS
        ]
        return tuple(demand), min(bursts, default=0)

    def _take(self, exchange: Exchange, answer: Grant | Denial) -> None:
        quotas = [(name, quota) for unit, name in _UNITS.items() if (quota := answer.quota(unit)) is not None]
        exchange.extra_headers += b"".join([openai_fields(name, quota) for name, quota in quotas])
        if self._ietf:
            exchange.extra_headers += ietf_fields([quota for _, quota in quotas])
        if isinstance(answer, Denial):
            raise self._refusal(answer)
        self.granted += 1
        _Lease(exchange, answer)

    def _refusal(self, denial: Denial) -> ApiError:
        limit = denial.limit
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
        wait = None if denial.wait_ns is None else denial.wait_ns / SECOND_NS
        return ApiError(
            f"{_NAMES[name.partition('_')[0]]} may take {said(limit)}: "
            + ("this request alone is more" if wait is None else f"try again in {go_duration(denial.wait_ns or 0)}"),
            status=429,
            type="tokens" if isinstance(limit, RateLimit) and limit.unit is Unit.TOKENS else "requests",
            code="concurrency_limit_exceeded" if isinstance(limit, InFlightLimit) else "rate_limit_exceeded",
            retry_after=wait,
            ending=Ending.RATE_LIMITED,
        )


class _Lease:
    """Gives a grant back when its exchange is finished, and settles the tokens if they are known by then."""

    __slots__ = ("_before", "_exchange", "_grant")

    def __init__(self, exchange: Exchange, grant: Grant) -> None:
        self._exchange = exchange
        self._grant = grant
        self._before = exchange.on_finish
        exchange.on_finish = self
        if grant.paced:
            exchange.pace = grant.charge

    def __call__(self) -> None:
        if self._before is not None:
            self._before()
        record = self._exchange.record
        if record.usage is not None:
            self._grant.finish(record.usage.total_tokens)
        elif record.status == 200:
            self._grant.finish()
        else:
            # Nothing was generated, as far as anybody knows.
            self._grant.finish(0)
