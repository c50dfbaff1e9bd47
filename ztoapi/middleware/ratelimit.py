"""Holds chat requests to the limits of all their scopes: everybody, the client's key, the model, the client's address.

The decision is one for all of them and costs nothing if it is no; see ``ztoapi/limits``. It is asked when the body has
been read, because the model and the number of tokens stand in there.
"""

import ipaddress
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

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
from ztoapi.telemetry.samples import Sample

__all__ = ["RateLimits"]

_REMEMBERED: Final = 4096
"""Demands that are remembered, about 0.5 KiB each; all are forgotten when there are more."""
_LEAST_PIECE_BYTES: Final = 512
"""About two events: a read of less than one would cost more than it paces."""
_UNITS: Final = (Unit.REQUESTS, Unit.TOKENS)
_NAMES: Final = {"global": "the gateway", "key": "this API key", "model": "this model", "address": "this address"}
_Held: TypeAlias = tuple[ClientKey | None, Demand, int, bool]
"""A client's key, whose limits hold for it, the smallest burst of those on tokens, and whether one is on bandwidth. A
request that is larger than the whole bucket takes a full one and leaves a debt, instead of never being let in."""


class RateLimits:
    """What the chat handler asks. ``release`` is called at the end of every exchange it has let in. ``denied`` counts
    denials by limit, ``granted`` the requests let in."""

    def __init__(self, config: Config, scopes: Scopes, limiter: Limiter, release: Callable[[Exchange], None]) -> None:
        self._scopes = scopes
        self._limiter = limiter
        self._by_address = scopes.address is not None
        self._held: dict[tuple[str | None, str, str], _Held] = {}
        self._ietf = config.limits.ietf_headers
        self._proxies = tuple(ipaddress.ip_network(one) for one in config.server.trusted_proxies)
        self._release = release
        self._leave: Callable[[Exchange], None] = self._finish
        self.granted = 0
        self.denied: dict[str, int] = {}

    def samples(self) -> Iterator[Sample]:
        """What telemetry shows of it. A limit's scope is whom it holds for; one of a single key is a key's."""
        yield Sample("ztoapi_ratelimit_decisions", self.granted, "granted", "all")
        denied: dict[str, int] = {}
        for name, count in self.denied.items():
            scope = name.partition("_")[0]
            denied[scope] = denied.get(scope, 0) + count
        for scope, count in denied.items():
            yield Sample("ztoapi_ratelimit_decisions", count, "denied", scope)

    def enter(self, exchange: Exchange, key: ClientKey | None, request: ChatRequest) -> bool:
        """Decide. False: only the common store can, ask :meth:`wait_to_enter`. Raises ApiError (429, or 503 without
        the store)."""
        _, demand, most_tokens, paced = self._held_to(exchange, key, request.model)
        if not demand:
            return True
        answer = self._limiter.take(demand, min(estimate(request), most_tokens) if most_tokens else 0)
        if answer is None:
            return False
        self._take(exchange, answer, paced)
        return True

    async def wait_to_enter(self, exchange: Exchange, key: ClientKey | None, request: ChatRequest) -> None:
        """As :meth:`enter`, with the network."""
        _, demand, most_tokens, paced = self._held_to(exchange, key, request.model)
        answer = await self._limiter.ask(demand, min(estimate(request), most_tokens) if most_tokens else 0)
        self._take(exchange, answer, paced)

    def _held_to(self, exchange: Exchange, key: ClientKey | None, model: str) -> _Held:
        address = client_address(exchange, self._proxies) if self._by_address else ""
        who = (exchange.record.key, model, address)
        held = self._held.get(who)
        # A reload makes new keys, which may have other limits.
        if held is not None and held[0] is key:
            return held
        if len(self._held) >= _REMEMBERED:
            self._held.clear()
        demand = self._make_demand(key, model, address)
        rates = [limit for scope, _ in demand for limit in scope.limits if isinstance(limit, RateLimit)]
        bursts = [self._limiter.burst(limit) for limit in rates if limit.unit is Unit.TOKENS]
        paced = any(limit.unit is Unit.BANDWIDTH for limit in rates)
        held = self._held[who] = key, demand, min(bursts, default=0), paced
        return held

    def _make_demand(self, key: ClientKey | None, model: str, address: str) -> Demand:
        scopes = self._scopes
        demand: list[tuple[Scope, str]] = []
        if scopes.everybody is not None:
            demand.append((scopes.everybody, ""))
        if key is not None:
            scope = scopes.of_key(key)
            if scope is not None:
                if scope is not scopes.key:
                    self._limiter.add(scope)
                demand.append((scope, key.name))
        if scopes.model is not None:
            demand.append((scopes.model, model.lower()))
        if scopes.address is not None:
            demand.append((scopes.address, address))
        return tuple(demand)

    def _take(self, exchange: Exchange, answer: Grant | Denial, paced: bool) -> None:
        exchange.extra_headers += openai_fields(answer.quotas) if isinstance(answer, Denial) else answer.fields()
        if self._ietf:
            quotas = [quota for unit in _UNITS if (quota := answer.quota(unit)) is not None]
            exchange.extra_headers += ietf_fields(quotas)
        if isinstance(answer, Denial):
            raise self._refusal(answer)
        self.granted += 1
        exchange.grant = answer
        exchange.on_finish = self._leave
        if paced:
            exchange.pace = answer.charge
            exchange.piece_bytes = max(answer.piece, _LEAST_PIECE_BYTES)

    def _finish(self, exchange: Exchange) -> None:
        """Give the grant back, and settle the tokens if they are known by now."""
        grant, record = exchange.grant, exchange.record
        if grant is not None:
            if record.usage is not None:
                grant.finish(record.usage.total_tokens)
            elif record.status == 200:
                grant.finish()
            else:
                # Nothing was generated, as far as anybody knows.
                grant.finish(0)
        self._release(exchange)

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
        wait, remedy = None, "this request alone is more"
        if denial.wait_ns is not None:
            wait, remedy = denial.wait_ns / SECOND_NS, f"try again in {go_duration(denial.wait_ns).decode('ascii')}"
        return ApiError(
            f"{_NAMES[name.partition('_')[0]]} may take {said(limit)}: {remedy}",
            status=429,
            type="tokens" if isinstance(limit, RateLimit) and limit.unit is Unit.TOKENS else "requests",
            code="concurrency_limit_exceeded" if isinstance(limit, InFlightLimit) else "rate_limit_exceeded",
            retry_after=wait,
            ending=Ending.RATE_LIMITED,
        )
