"""Applies the budgets of client keys to requests (see ``ztoapi/limits/budgets.py``).

A request is charged its estimate when its body has been read, before the rate limits: a request that they refuse gets
the charge back. It is settled when it ends.
"""

import asyncio
import datetime
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from ztoapi.config.model import ClientKey, KeyBudgets
from ztoapi.config.prices import PriceOf
from ztoapi.errors import ApiError, Ending
from ztoapi.limits.budgets import Account, Budget, BudgetLedger, Charge, Exhausted, budgets_of, next_period
from ztoapi.limits.estimate import LimitedRequest, completion_estimate, estimate, sent_tokens
from ztoapi.server.exchange import CLIENT_CLOSED, Exchange
from ztoapi.telemetry.figures import BudgetFigures
from ztoapi.telemetry.recorder import cached_tokens
from ztoapi.telemetry.samples import Sample

if TYPE_CHECKING:
    from ztoapi.limits.redis_budgets import RedisBudgets

__all__ = ["Budgets"]

_IN_FLIGHT_WAIT_SECONDS = 1.0
"""Retry-After while the rest of a budget is charged for requests in flight: their end cannot be predicted."""
_NO_RETRY = b"x-should-retry: false\r\n"
"""OpenAI's and Anthropic's SDKs obey it: they would repeat the request twice otherwise."""
_RESET = "%Y-%m-%dT%H:%M:%SZ"
_SAMPLED_KEYS = 256
"""Keys with series of their own, as for the metrics of keys."""
_KEYS_PER_TURN = 20
"""Keys whose figures are computed in one turn of the event loop: 1 ms, and 4 ms with a common store."""

_log = logging.getLogger(__name__)


class Budgets:
    """The budgets of requests. ``default`` applies to keys without a budget of their own; ``price_of`` returns the
    price of a model; ``shared`` holds the counters of several gateways, if there are any."""

    def __init__(
        self,
        ledger: BudgetLedger,
        default: KeyBudgets,
        price_of: PriceOf,
        clock: Callable[[], float],
        shared: "RedisBudgets | None",
    ) -> None:
        self._ledger = ledger
        self._default = default
        self._price_of = price_of
        self._clock = clock
        self._shared = shared
        self._accounts: dict[str, tuple[ClientKey, Account | None]] = {}
        self._refusals: dict[tuple[str, str], int] = {}
        """By budget and reason."""
        self._logged: dict[tuple[str, str], datetime.datetime] = {}
        """The resets of the budgets that were logged as used up, by key and budget."""

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics. With a common store the counters of this gateway are a part of a budget only."""
        for labels, count in self._refusals.items():
            yield Sample("ztoapi_budget_refusals", count, *labels)
        if self._shared is None:
            accounts = ((name, account) for name, (_, account) in self._accounts.items() if account is not None)
            for name, account in itertools.islice(accounts, _SAMPLED_KEYS):
                counts = self._ledger.used(account)
                for budget in account.budgets:
                    yield Sample("ztoapi_budget_used_ratio", counts[budget.name] / budget.limit, name, budget.name)

    async def figures(self, keys: Iterable[ClientKey]) -> list[BudgetFigures]:
        """Returns the budgets of those ``keys`` that have any."""
        figures: list[BudgetFigures] = []
        # The keys may be reloaded meanwhile.
        left = iter([*keys])
        while some := [*itertools.islice(left, _KEYS_PER_TURN)]:
            figures += await self._figures(some)
            await asyncio.sleep(0)
        return figures

    async def _figures(self, keys: list[ClientKey]) -> list[BudgetFigures]:
        entries = [
            (key.name, account, budgets_of(key.budgets, self._default))
            for key in keys
            if not key.revoked and (account := self._account(key)) is not None
        ]
        accounts = [account for _, account, _ in entries]
        if self._shared is None:
            counts = [self._ledger.used(account) for account in accounts]
        else:
            counts = await self._shared.used(accounts)
        now = self._clock()
        return [
            BudgetFigures(
                key=name,
                budget=budget.name,
                used=budget.amount(used[budget.name]) if used else None,
                limit=budget.amount(budget.limit),
                reset=next_period(budget, now),
            )
            for (name, _, budgets), used in zip(entries, counts, strict=True)
            for budget in budgets
        ]

    def enter(self, exchange: Exchange, key: ClientKey, request: LimitedRequest) -> bool:
        """Decides at once. Returns False if the decision needs the common store; call :meth:`wait_to_enter` then.

        Raises ApiError if a budget is used up.
        """
        cached = self._accounts.get(key.name)
        account = cached[1] if cached is not None and cached[0] is key else self._find(key)
        if account is None:
            return True
        if self._shared is not None:
            return False
        tokens = estimate(request)
        nanos = self._cost_estimate(request, tokens) if account.by_money else 0
        self._take(exchange, request, self._ledger.charge(account, tokens, nanos))
        return True

    async def wait_to_enter(self, exchange: Exchange, key: ClientKey, request: LimitedRequest) -> None:
        """Decides with the common store. Raises ApiError."""
        shared = self._shared
        cached = self._accounts[key.name]
        account = cached[1]
        if account is None or shared is None:
            return
        tokens = estimate(request)
        nanos = self._cost_estimate(request, tokens) if account.by_money else 0
        charge = await shared.charge(account, budgets_of(key.budgets, self._default), tokens, nanos)
        if charge is None:
            raise ApiError(
                "the gateway cannot count tokens at the moment: try again later",
                status=503,
                type="server_error",
                code="limits_unavailable",
                retry_after=_IN_FLIGHT_WAIT_SECONDS,
                ending=Ending.REJECTED,
            )
        self._take(exchange, request, charge)

    def _take(self, exchange: Exchange, request: LimitedRequest, charge: Charge | Exhausted) -> None:
        """Settles the charge of an admitted request at its end. Raises ApiError for one that is refused."""
        if isinstance(charge, Exhausted):
            raise self._error(exchange, charge)
        exchange.on_finish(partial(self._settle, charge, request.generates))

    def _find(self, key: ClientKey) -> Account | None:
        """Returns the account of a key that has sent a request."""
        account = self._account(key)
        # A reload creates new key objects, which may have other budgets.
        self._accounts[key.name] = key, account
        return account

    def _account(self, key: ClientKey) -> Account | None:
        budgets = budgets_of(key.budgets, self._default)
        if self._shared is not None:
            budgets = self._shared.shares(budgets)
        return self._ledger.account(key.name, budgets) if budgets else None

    def _cost_estimate(self, request: LimitedRequest, tokens: int) -> int:
        """Returns the cost of the estimate in nano-dollars. Raises ApiError without a price."""
        price = self._price_of(request.model) if request.model else None
        if price is None:
            name = f"the model {request.model!r}" if request.model else "this path"
            raise ApiError(
                f"{name} has no price, and this API key has a budget in US dollars: use a model that /v1/models lists "
                'with prices, or set input_price and output_price in [models."NAME"]',
                status=403,
                type="invalid_request_error",
                code="model_not_priced",
                param="model",
            )
        completion = completion_estimate(request)
        return price.cost(tokens - completion, 0, completion)

    def _error(self, exchange: Exchange, exhausted: Exhausted) -> ApiError:
        budget = exhausted.budget
        reason = "in_flight" if exhausted.in_flight else "used_up"
        self._refusals[budget.name, reason] = self._refusals.get((budget.name, reason), 0) + 1
        if exhausted.in_flight:
            return ApiError(
                f"the rest of this API key's budget of {_describe(budget)} is reserved for its requests in flight: "
                "try again when one of them has ended",
                status=429,
                type="tokens",
                code="rate_limit_exceeded",
                retry_after=_IN_FLIGHT_WAIT_SECONDS,
                ending=Ending.RATE_LIMITED,
            )
        now = self._clock()
        reset = next_period(budget, now)
        self._log_once(exchange.record.key or "", budget, reset)
        exchange.extra_headers += _NO_RETRY
        return ApiError(
            f"this API key has used up its budget of {_describe(budget)}: it is reset at {reset:{_RESET}}",
            status=429,
            type="insufficient_quota",
            code="insufficient_quota",
            retry_after=reset.timestamp() - now,
            ending=Ending.RATE_LIMITED,
        )

    def _log_once(self, key: str, budget: Budget, reset: datetime.datetime) -> None:
        """Logs the first refusal of a period."""
        if self._logged.get((key, budget.name)) != reset:
            self._logged[key, budget.name] = reset
            text = "client key %s has used up its budget of %s: its requests get 429 until %s"
            _log.warning(text, key, _describe(budget), f"{reset:{_RESET}}")

    def _settle(self, charge: Charge, generates: bool, exchange: Exchange) -> None:
        usage = exchange.record.usage
        if usage is not None and self._shared is None and not charge.account.by_money:
            # Most requests.
            tokens = usage.prompt_tokens + usage.completion_tokens
            self._ledger.settle(charge, tokens if tokens > 0 else 0, 0)
            return
        tokens, nanos = self._used(charge, generates, exchange)
        if self._shared is None:
            self._ledger.settle(charge, tokens, nanos)
        else:
            self._shared.settle(charge, tokens, nanos)

    def _used(self, charge: Charge, generates: bool, exchange: Exchange) -> tuple[int, int]:
        """Returns the tokens and the cost of a request that has ended, as far as they are known."""
        record = exchange.record
        usage = record.usage
        if usage is not None:
            tokens = usage.prompt_tokens + usage.completion_tokens
            if not charge.account.by_money:
                return max(tokens, 0), 0
            price = self._price_of(record.served_model or record.model or "")
            if price is None:
                # A fallback without a price.
                return max(tokens, 0), charge.nanos
            return max(tokens, 0), price.cost(usage.prompt_tokens, cached_tokens(usage), usage.completion_tokens)
        if record.status == 200 and generates:
            # A client that leaves early is charged for what it was sent; upstreams do not report that amount.
            sent = sent_tokens(record.bytes_out, record.event_bytes if record.stream else None)
            if sent > charge.tokens:
                return sent, charge.nanos * sent // max(charge.tokens, 1)
            return charge.tokens, charge.nanos
        if 200 <= record.status < 300 or (record.status == CLIENT_CLOSED and record.attempts):
            return charge.tokens, charge.nanos
        # A failed request without usage is assumed to have used nothing.
        return 0, 0


def _describe(budget: Budget) -> str:
    period = "a month" if budget.monthly else "a day"
    if budget.by_money:
        # Cents, and what is below them.
        whole, _, fraction = f"{budget.amount(budget.limit):.9f}".rstrip("0").partition(".")
        return f"{whole}.{fraction:0<2} US dollars {period}"
    return f"{budget.limit} tokens {period}"
