"""Budgets: the tokens and the money that a client key may use in a day and in a month (UTC).

Each key has one row of counters in memory that all workers share. With a path this memory is a file, so the counters
survive the end of all processes, however they end; the kernel writes the file to the disk within about 30 seconds.
Money is counted in nano-dollars (:mod:`ztoapi.config.prices`).

A request is admitted while every counter of its key is below its limit. Its estimate is charged at once, under the
lock, and replaced by what it has used when it ends. The counters therefore always contain the requests in flight. They
exceed a limit by the last admitted request at most, and by what requests in flight use beyond their estimates. A worker
that dies leaves the estimates of its requests charged.

A day begins at the next tick after midnight. A request counts for the day and month in which it begins.
"""

import datetime
import hashlib
import mmap
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ztoapi.config.model import KeyBudgets
from ztoapi.config.prices import NANOS_PER_DOLLAR
from ztoapi.limits.buckets import Words
from ztoapi.limits.lock import ProcessLock
from ztoapi.limits.table import CHANGES, NO_KEY, RowTable
from ztoapi.telemetry.shared_memory import SharedMemory

__all__ = [
    "Account",
    "Budget",
    "BudgetLedger",
    "BudgetMemory",
    "Charge",
    "Exhausted",
    "budgets_of",
    "month_of",
    "next_period",
    "periods",
]

_WORD_BYTES: Final = 8
_FORMAT_AT: Final = CHANGES + 1
_FORMAT: Final = 0x7A746F_00000001
"""Marks the file, with the version of its format."""
_TABLE: Final = _FORMAT_AT + 1
_KEYS: Final = 10_000
"""Keys with a row of their own, as for rate limits."""
_DAY: Final = 1
_MONTH: Final = 4
"""Places in a row: the number of the day and of the month; each is followed by the tokens and the money."""
_TOKENS: Final = 1
_MONEY: Final = 2
_VALUES: Final = 6
_ALL: Final = -1
"""Not the position of a counter."""
_MONTHS: Final = 12
_SECONDS_PER_DAY: Final = 86400
_EPOCH_ORDINAL: Final = 719163
"""The number of the day 1970-01-01 in ``datetime``."""


class Budget(NamedTuple):
    """One limit. ``place`` is that of its counter in the row; ``limit`` is in tokens or nano-dollars."""

    name: str
    place: int
    limit: int

    @property
    def by_money(self) -> bool:
        return self.place in (_DAY + _MONEY, _MONTH + _MONEY)

    @property
    def monthly(self) -> bool:
        return self.place > _MONTH

    def amount(self, count: int) -> int | float:
        """Returns a count in tokens or US dollars."""
        return count / NANOS_PER_DOLLAR if self.by_money else count


class Account:
    """The budgets of one key. ``counters`` are the position, the limit and the unit of each (whether it is money)."""

    __slots__ = ("at", "budgets", "by_money", "counters", "hash")

    def __init__(self, name: str, budgets: tuple[Budget, ...]) -> None:
        self.budgets = budgets
        self.by_money = any(budget.by_money for budget in budgets)
        digest = hashlib.blake2b(name.encode(), digest_size=_WORD_BYTES).digest()
        self.hash = int.from_bytes(digest, "little", signed=True) or NO_KEY + 1
        self.move(0)

    def move(self, at: int) -> None:
        """Sets the position of the row."""
        self.at = at
        self.counters = tuple((at + budget.place, budget.limit, budget.by_money) for budget in self.budgets)


class Charge(msgspec.Struct, frozen=True):
    """The estimates that a request in flight has been charged."""

    account: Account
    tokens: int
    nanos: int
    day: int


class Exhausted(NamedTuple):
    """A refusal. ``in_flight``: the rest of the budget is charged for requests in flight, and may become free."""

    budget: Budget
    in_flight: bool


class BudgetMemory:
    """The counters of all keys, shared by the ``slots`` slots of workers; create it before the fork.

    Raises OSError, or ValueError if the file at ``path`` is no such file.
    """

    def __init__(self, slots: int = 1, path: Path | None = None) -> None:
        self.slots = slots
        self.path = path
        size = _TABLE + RowTable.size(_KEYS, _VALUES)
        self.lock: AbstractContextManager[None] = nullcontext()
        if path is not None:
            self.words, self.lock = _open(path, size)
        elif slots > 1:
            self.words = memoryview(SharedMemory(size * _WORD_BYTES).mapping).cast("q")
            self.lock = ProcessLock()
        else:
            self.words = [0] * size
        with self.lock:
            if path is not None and self.words[_FORMAT_AT] not in (0, _FORMAT):
                raise ValueError("it is not a file of budgets, or of another version of ztoapi")
            self.words[_FORMAT_AT] = _FORMAT
        self.table = RowTable(self.words, _TABLE, _KEYS, _VALUES)
        self._reserved_bytes = -(-size * _WORD_BYTES // mmap.PAGESIZE) * mmap.PAGESIZE
        self._reserved = SharedMemory(slots * self._reserved_bytes).mapping

    def reserved(self, slot: int) -> Words:
        """Returns the estimates of worker ``slot`` for its requests in flight, at the positions of their counters."""
        start = slot * self._reserved_bytes
        return memoryview(self._reserved)[start : start + self._reserved_bytes].cast("q")

    def reclaim(self, slot: int) -> None:
        """Clears the estimates of worker ``slot``, which is dead. They stay in the counters."""
        self._reserved.madvise(mmap.MADV_REMOVE, slot * self._reserved_bytes, self._reserved_bytes)


def _open(path: Path, size: int) -> tuple[Words, ProcessLock]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # A lock of the file itself, so that gateways may share it. It closes the file after an error, too.
    lock = ProcessLock(descriptor)
    # A write to a page without a block would end the process if the disk is full.
    os.posix_fallocate(descriptor, 0, size * _WORD_BYTES)
    return memoryview(mmap.mmap(descriptor, size * _WORD_BYTES)).cast("q"), lock


class BudgetLedger:
    """The budgets as worker ``slot`` uses them. ``clock`` returns Unix seconds. The deadlines call it at each tick."""

    deadline = 0.0

    def __init__(self, memory: BudgetMemory, slot: int, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._words = memory.words
        self._reserved = memory.reserved(slot)
        self._lock = memory.lock
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        self._day, self._month = periods(clock())
        is_alone = memory.slots == 1 and memory.path is None
        self.charge: Callable[[Account, int, int], Charge | Exhausted] = self._charge if is_alone else self._lock_charge
        """Admits a request of an account with estimates of its tokens and its cost in nano-dollars, or refuses it."""
        self.settle: Callable[[Charge, int, int], None] = self._settle if is_alone else self._lock_settle
        """Replaces the estimates of a request by the tokens and the nano-dollars that it has used."""
        memory.reclaim(slot)

    def on_deadline(self, now: float) -> None:
        day, month = periods(self._clock())
        if day <= self._day:
            return
        new_month = month > self._month
        self._day, self._month = day, month
        with self._lock:
            for account in self._accounts.values():
                for budget in account.budgets:
                    if new_month or not budget.monthly:
                        self._reserved[account.at + budget.place] = 0
                self._place(account)

    def account(self, name: str, budgets: tuple[Budget, ...]) -> Account:
        """Returns the account of the key ``name``."""
        account = self._accounts.get(name)
        if account is None or account.budgets != budgets:
            account = self._accounts[name] = Account(name, budgets)
            with self._lock:
                self._place(account)
        return account

    def _place(self, account: Account) -> None:
        """Finds or allocates the row of an account, and begins its day and month. The caller holds the lock."""
        words = self._words
        at = self._memory.table.find(account.hash, lambda row: words[row + _MONTH] < self._month)
        for place, period in ((_DAY, self._day), (_MONTH, self._month)):
            # A period that lies ahead began before the clock was set back: it continues.
            if words[at + place] < period:
                words[at + place + _TOKENS] = words[at + place + _MONEY] = 0
                words[at + place] = period
        account.move(at)

    def _lock_charge(self, account: Account, tokens: int, nanos: int) -> Charge | Exhausted:
        with self._lock:
            return self._charge(account, tokens, nanos)

    def _charge(self, account: Account, tokens: int, nanos: int) -> Charge | Exhausted:
        words, reserved = self._words, self._reserved
        # One pass, because nearly every request is admitted.
        for at, limit, by_money in account.counters:
            used = words[at]
            if used >= limit:
                self._add(account, -tokens, -nanos, until=at)
                return self._exhausted(account)
            amount = nanos if by_money else tokens
            words[at] = used + amount
            reserved[at] += amount
        return Charge(account, tokens, nanos, self._day)

    def _add(self, account: Account, tokens: int, nanos: int, until: int = _ALL) -> None:
        """Charges the counters before ``until``, without a look at their limits."""
        for at, _, by_money in account.counters:
            if at == until:
                return
            amount = nanos if by_money else tokens
            self._words[at] += amount
            self._reserved[at] += amount

    def add(self, account: Account, tokens: int, nanos: int) -> Charge:
        """Charges a request that was admitted elsewhere."""
        with self._lock:
            self._add(account, tokens, nanos)
        return Charge(account, tokens, nanos, self._day)

    def _exhausted(self, account: Account) -> Exhausted:
        """Returns the refusal by the budget that is whole again last."""
        exhausted = [
            Exhausted(budget, in_flight=used - self._reserved_at(at) < limit)
            for budget, (at, limit, _) in zip(account.budgets, account.counters, strict=True)
            if (used := self._words[at]) >= limit
        ]
        return max(exhausted, key=lambda each: (not each.in_flight, each.budget.monthly))

    def _reserved_at(self, at: int) -> int:
        return sum(self._memory.reserved(slot)[at] for slot in range(self._memory.slots))

    def _lock_settle(self, charge: Charge, tokens: int, nanos: int) -> None:
        with self._lock:
            self._settle(charge, tokens, nanos)

    def _settle(self, charge: Charge, tokens: int, nanos: int) -> None:
        if charge.day != self._day:
            self._settle_late(charge, tokens, nanos)
            return
        words, reserved = self._words, self._reserved
        for at, _, by_money in charge.account.counters:
            if by_money:
                words[at] += nanos - charge.nanos
                reserved[at] -= charge.nanos
            else:
                words[at] += tokens - charge.tokens
                reserved[at] -= charge.tokens

    def _settle_late(self, charge: Charge, tokens: int, nanos: int) -> None:
        """The day of the request is over, and its month may be."""
        if month_of(charge.day) != self._month:
            return
        for budget, (at, _, by_money) in zip(charge.account.budgets, charge.account.counters, strict=True):
            if budget.monthly:
                used, estimate = (nanos, charge.nanos) if by_money else (tokens, charge.tokens)
                self._words[at] += used - estimate
                self._reserved[at] -= estimate

    def used(self, account: Account) -> dict[str, int]:
        """Returns the counters by the names of the budgets."""
        return {budget.name: self._words[account.at + budget.place] for budget in account.budgets}


def budgets_of(limits: KeyBudgets, default: KeyBudgets) -> tuple[Budget, ...]:
    """Returns the budgets of a key; ``default`` applies where it has none of its own."""
    budgets: list[Budget] = []
    for name, place, unit in (
        ("tokens_per_day", _DAY + _TOKENS, 1),
        ("tokens_per_month", _MONTH + _TOKENS, 1),
        ("usd_per_day", _DAY + _MONEY, NANOS_PER_DOLLAR),
        ("usd_per_month", _MONTH + _MONEY, NANOS_PER_DOLLAR),
    ):
        own = getattr(limits, name)
        limit = getattr(default, name) if own is None else own
        if limit is not None:
            budgets.append(Budget(name, place, max(round(limit * unit), 1)))
    return tuple(budgets)


def periods(now: float) -> tuple[int, int]:
    """Returns the numbers of the day and of the month at ``now`` (Unix seconds)."""
    day = int(now // _SECONDS_PER_DAY)
    return day, month_of(day)


def month_of(day: int) -> int:
    date = _date(day)
    return date.year * _MONTHS + date.month - 1


def next_period(budget: Budget, now: float) -> datetime.datetime:
    """Returns the moment at which ``budget`` is whole again."""
    day, month = periods(now)
    if budget.monthly:
        year, number = divmod(month + 1, _MONTHS)
        return datetime.datetime(year, number + 1, 1, tzinfo=datetime.UTC)
    date = _date(day + 1)
    return datetime.datetime(date.year, date.month, date.day, tzinfo=datetime.UTC)


def _date(day: int) -> datetime.date:
    return datetime.date.fromordinal(_EPOCH_ORDINAL + day)
