"""Workers that spend one budget, as a program: see ``tests/limits/sharing.py``."""

import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.limits.sharing import Json, counters, end, fork, gather
from ztoapi.config.model import KeyBudgets
from ztoapi.limits.budgets import Account, BudgetLedger, BudgetMemory, Charge, budgets_of

WORKERS = 4
KILLS = 40
LIMIT = 2000
ESTIMATE = 7
USE = 3
NOW = 1_795_435_200.0


def open_ledger(memory: BudgetMemory, slot: int, limit: int) -> tuple[BudgetLedger, Account]:
    ledger = BudgetLedger(memory, slot, lambda: NOW)
    return ledger, ledger.account("alice", budgets_of(KeyBudgets(tokens_per_day=limit), KeyBudgets()))


def used(memory: BudgetMemory) -> int:
    ledger, account = open_ledger(memory, 0, 10**9)
    return ledger.used(account)["tokens_per_day"]


def the_last_tokens() -> dict[str, int]:
    """Everybody takes one token after the other until none is left."""
    memory = BudgetMemory(WORKERS)
    start = counters(1)

    def work(slot: int) -> int:
        ledger, account = open_ledger(memory, slot, LIMIT)
        granted = refused = 0
        while not start[0]:
            pass
        while refused < 10:
            charge = ledger.charge(account, 1, 0)
            if isinstance(charge, Charge):
                granted += 1
                ledger.settle(charge, 1, 0)
            else:
                refused += 1
        return granted

    children = [fork(partial(work, slot)) for slot in range(WORKERS)]
    start[0] = 1
    return {"granted": sum(int(str(share)) for share in gather(children)), "used": used(memory)}


def spend(memory: BudgetMemory, counted: memoryview, slot: int) -> Json:
    ledger, account = open_ledger(memory, slot, 10**9)
    while True:
        charge = ledger.charge(account, ESTIMATE, 0)
        assert isinstance(charge, Charge)
        ledger.settle(charge, USE, 0)
        counted[slot] += USE


def killed_anywhere() -> dict[str, int]:
    """Workers are killed at any moment, and started again in the same slot."""
    memory = BudgetMemory(WORKERS)
    counted = counters(WORKERS)
    children = [fork(partial(spend, memory, counted, slot)) for slot in range(WORKERS)]
    for _ in range(KILLS):
        slot = secrets.randbelow(WORKERS)
        target = counted[slot] + USE * (1 + secrets.randbelow(20))
        while counted[slot] < target:
            os.sched_yield()
        end(children[slot])
        memory.reclaim(slot)
        children[slot] = fork(partial(spend, memory, counted, slot))
    for child in children:
        end(child)
    return {"counted": sum(counted), "used": used(memory)}


def killed_together() -> dict[str, int]:
    """A gateway with all of its workers is killed; another process opens the file."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "budgets"
        counted = counters(WORKERS)

        def serve() -> Json:
            os.setsid()
            memory = BudgetMemory(WORKERS, path)
            for slot in range(WORKERS):
                if os.fork() == 0:
                    spend(memory, counted, slot)
            signal.pause()
            return 0

        supervisor, pipe = fork(serve)
        while min(counted) < 50 * USE:
            os.sched_yield()
        os.killpg(supervisor, signal.SIGKILL)
        os.waitpid(supervisor, 0)
        # The pipe ends when the last of the processes has.
        assert os.read(pipe, 1) == b""
        return {"counted": sum(counted), "used": used(BudgetMemory(1, path))}


if __name__ == "__main__":
    experiment: Callable[[], Json] = globals()[sys.argv[1]]
    print(json.dumps(experiment()))
