"""``ztoapi credentials``: shows the upstream credentials of a running gateway, and puts them back into service."""

import argparse
import asyncio
import json
import sys
from typing import Final, TypeVar

import httpx
import msgspec

from ztoapi.cli.admin import GatewayError, ask, open_client
from ztoapi.cli.top_frame import clean
from ztoapi.server.context import ServerContext
from ztoapi.telemetry.figures import CredentialFigures, CredentialsPage, ResetRequest, ResetResponse

__all__ = ["run"]

T = TypeVar("T")

_HEADINGS: Final = ("CREDENTIAL", "STATE", "IN FLIGHT", "REQUESTS", "FAILED", "LAST FAILURE")
_STATES: Final = {"ok": "ready", "cooling": "resting", "disabled": "refused"}
_FAILING: Final = "circuit open"
"""The state of a credential that rests because the upstream fails."""


def run(args: argparse.Namespace) -> int:
    """Shows or resets credentials. Returns 0, or 1 if the gateway has not done it. Raises ConfigError."""
    client, _ = open_client(args)
    try:
        asyncio.run(_run(client, args))
    except GatewayError as error:
        print(f"ztoapi credentials: {clean(str(error))}", file=sys.stderr)
        return 1
    return 0


async def _run(client: httpx.AsyncClient, args: argparse.Namespace) -> None:
    async with client:
        if args.action == "reset":
            await _reset(client, args)
        else:
            await _show(client, args)


async def _show(client: httpx.AsyncClient, args: argparse.Namespace) -> None:
    content = await ask(client, "/admin/credentials")
    if args.json:
        print(json.dumps(json.loads(content), indent=2))
        return
    page = _decode(content, CredentialsPage)
    now = ServerContext.wall_clock()
    rows = [_HEADINGS, *(_row(each, now) for each in page.credentials)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


async def _reset(client: httpx.AsyncClient, args: argparse.Namespace) -> None:
    request = ResetRequest(credential=args.name, all=args.all)
    content = await ask(client, "/admin/credentials/reset", msgspec.json.encode(request))
    if args.json:
        print(json.dumps(json.loads(content), indent=2))
        return
    for each in _decode(content, ResetResponse).reset:
        print(clean(f"{each.platform}/{each.credential} is back in service"))


def _decode(content: bytes, kind: type[T]) -> T:
    """Raises GatewayError."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise GatewayError(f"not a ztoapi gateway of a compatible version: {error}") from error


def _row(each: CredentialFigures, now: float) -> tuple[str, ...]:
    last = "-"
    if each.last_fault is not None and each.last_failed is not None:
        last = f"{each.last_fault}, {_span(now - each.last_failed)} ago"
    cells = (f"{each.platform}/{each.credential}", _state(each, now), each.in_flight, each.requests, each.failed, last)
    return tuple(clean(str(cell)) for cell in cells)


def _state(each: CredentialFigures, now: float) -> str:
    state = _FAILING if each.state == "cooling" and each.fault == "upstream" else _STATES.get(each.state, each.state)
    if each.until is not None:
        state += f" for {_span(each.until - now)}"
    return f"{state}, but not for {each.models} model(s)" if each.models and each.state == "ok" else state


def _span(seconds: float) -> str:
    """Returns whole seconds, minutes or hours."""
    whole = max(round(seconds), 0)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h"
