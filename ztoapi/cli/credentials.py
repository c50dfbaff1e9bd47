"""``ztoapi credentials``: shows the upstream credentials of a running gateway, and puts them back into service."""

import argparse
import json
from typing import Final

import httpx
import msgspec

from ztoapi.cli.admin import ask, call_gateway, decoded
from ztoapi.cli.table import print_table
from ztoapi.server.context import ServerContext
from ztoapi.telemetry.figures import CredentialFigures, CredentialsPage, ResetRequest, ResetResponse
from ztoapi.telemetry.terminal_text import clean

__all__ = ["run"]

_HEADINGS: Final = ("CREDENTIAL", "STATE", "IN FLIGHT", "REQUESTS", "FAILED", "LAST FAILURE")


def run(args: argparse.Namespace) -> int:
    """Shows or resets credentials. Returns 0, or 1 if the gateway has not done it. Raises ConfigError."""
    return call_gateway("credentials", args, _reset if args.action == "reset" else _show)


async def _show(client: httpx.AsyncClient, args: argparse.Namespace) -> None:
    content = await ask(client, "/admin/credentials")
    if args.json:
        print(json.dumps(json.loads(content), indent=2))
        return
    page = decoded(content, CredentialsPage)
    now = ServerContext.wall_clock()
    print_table(_HEADINGS, (_row(each, now) for each in page.credentials), ("IN FLIGHT", "REQUESTS", "FAILED"))


async def _reset(client: httpx.AsyncClient, args: argparse.Namespace) -> None:
    request = ResetRequest(credential=args.name, all=args.all)
    content = await ask(client, "/admin/credentials/reset", msgspec.json.encode(request))
    if args.json:
        print(json.dumps(json.loads(content), indent=2))
        return
    for each in decoded(content, ResetResponse).reset:
        print(clean(f"{each.platform}/{each.credential} is back in service"))


def _row(each: CredentialFigures, now: float) -> tuple[str, ...]:
    last = "-"
    if each.last_fault is not None and each.last_failed is not None:
        last = f"{each.last_fault}, {_span(now - each.last_failed)} ago"
    state = each.state_text(_span((each.until or now) - now))
    cells = (f"{each.platform}/{each.credential}", state, each.in_flight, each.requests, each.failed, last)
    return tuple(clean(str(cell)) for cell in cells)


def _span(seconds: float) -> str:
    """Returns whole seconds, minutes or hours."""
    whole = max(round(seconds), 0)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"
