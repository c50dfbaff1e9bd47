"""``ztoapi usage``: tokens and cost by day, client key and model, from a running gateway."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlencode

import httpx
import msgspec

from ztoapi.cli.admin import GatewayError, ask, call_gateway, decoded
from ztoapi.cli.table import print_table
from ztoapi.telemetry.terminal_text import clean

__all__ = ["run"]

_QUERY: Final = ("from", "to", "key", "model", "by")
_HEADINGS: Final = {
    "day": "DAY",
    "key": "KEY",
    "model": "MODEL",
    "requests": "REQUESTS",
    "denied": "DENIED",
    "input_tokens": "INPUT",
    "cached_tokens": "CACHED",
    "output_tokens": "OUTPUT",
    "cost_usd": "COST (USD)",
}
_SUMS: Final = ("requests", "denied", "input_tokens", "cached_tokens", "output_tokens", "cost_usd")
_Row = dict[str, str | int | float | None]


class _Page(msgspec.Struct):
    kept: bool
    usage: list[_Row]


def run(args: argparse.Namespace) -> int:
    """Prints the usage. Returns 0, or 1 if the gateway has not sent it. Raises ConfigError."""
    return call_gateway("usage", args, _show)


async def _show(client: httpx.AsyncClient, args: argparse.Namespace) -> None:
    values = vars(args)
    query = {name: values[name] for name in _QUERY if values[name] is not None}
    if args.csv:
        query["format"] = "csv"
    content = await ask(client, f"/admin/usage?{urlencode(query)}")
    if args.csv:
        sys.stdout.write(content.decode("utf-8").replace("\r\n", "\n"))
        return
    if args.json:
        sys.stdout.write(msgspec.json.format(content, indent=2).decode("utf-8") + "\n")
        return
    page = decoded(content, _Page)
    if not page.kept:
        raise GatewayError("the gateway keeps no history: set history_file")
    labels = [name for name in (args.by or "day,key,model").split(",") if name in _HEADINGS]
    columns = [*labels, *_SUMS]
    rows = [*page.usage]
    if len(rows) > 1:
        rows.append(_total(rows, labels[0]))
    cells = [[_cell(row, name) for name in columns] for row in rows]
    print_table([_HEADINGS[name] for name in columns], cells, [_HEADINGS[name] for name in _SUMS])


def _total(rows: Sequence[_Row], label: str) -> _Row:
    """Returns the sum of the rows, which is named in the column ``label``."""
    sums = (*_SUMS, "unpriced_requests")
    return {label: "total", **{name: sum(float(row.get(name) or 0) for row in rows) for name in sums}}


def _cell(row: _Row, name: str) -> str:
    value = row.get(name)
    if name == "cost_usd" and isinstance(value, int | float):
        # Without a price there is no cost; with some it is too low.
        mark = "+" if row.get("unpriced_requests") else ""
        return f"{value:,.6f}{mark}"
    if isinstance(value, int | float):
        return f"{value:,.0f}"
    # The row of the sum has only one label.
    return "-" if value is None and name in row else clean(value or "")
