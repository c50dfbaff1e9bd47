"""``ztoapi keys budgets``: the used part of each budget of the client keys, from a running gateway."""

import argparse
import json
from typing import Final

import httpx

from ztoapi.cli.admin import ask, call_gateway, decoded
from ztoapi.cli.table import print_table
from ztoapi.telemetry.figures import BudgetFigures, BudgetsPage
from ztoapi.telemetry.terminal_text import clean

__all__ = ["show"]

_HEADINGS: Final = ("KEY", "BUDGET", "USED", "LIMIT", "SHARE", "RESET")
_NUMBERS: Final = ("USED", "LIMIT", "SHARE")


def show(args: argparse.Namespace) -> int:
    """Prints the budgets. Returns 0, or 1 if the gateway has not sent them. Raises ConfigError."""
    return call_gateway("keys budgets", args, _show)


async def _show(client: httpx.AsyncClient, args: argparse.Namespace) -> None:
    content = await ask(client, "/admin/keys")
    if args.json:
        print(json.dumps(json.loads(content)["budgets"], indent=2))
        return
    print_table(_HEADINGS, map(_row, decoded(content, BudgetsPage).budgets), _NUMBERS)


def _row(each: BudgetFigures) -> tuple[str, ...]:
    used = "-" if each.used is None else _amount(each.used)
    share = "-" if each.used is None else f"{each.used / each.limit:.0%}"
    reset = f"{each.reset:%Y-%m-%dT%H:%M:%SZ}"
    return clean(each.key), clean(each.budget), used, _amount(each.limit), share, reset


def _amount(value: int | float) -> str:
    """Returns tokens as a whole number. Returns US dollars with cents, or below ten cents with six decimals."""
    if isinstance(value, float):
        return f"{value:.6f}" if 0 < value < 0.1 else f"{value:,.2f}"
    return f"{value:,}"
