"""``ztoapi top``: shows a running gateway in a terminal. ``docs/profiling.md`` is the manual.

It fetches the figures once a second over one connection, and reconnects when the connection is lost.
"""

import argparse
import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import httpx
import msgspec

from ztoapi.cli.admin import GatewayError, ask, decoded, open_client
from ztoapi.cli.terminal import Terminal, next_key
from ztoapi.cli.top_frame import ORDERS, TABLES, View, ordered, render
from ztoapi.telemetry.figures import Figures, RequestsPage
from ztoapi.telemetry.terminal_text import clean

__all__ = ["run"]

_INTERRUPTED: Final = 130
"""The exit code after Ctrl-C, as of shells."""
_SECONDS: Final = 1.0
"""The interval between two fetches: the figures change once a second."""
_ROWS_AHEAD: Final = 100
"""Requests fetched beyond the visible ones, to scroll to."""
_MAX_ROWS: Final = 500
"""The largest page that the gateway returns."""
_ROWS_ONCE: Final = 20
_COLUMNS: Final = (160, 24)
"""Size of a frame without a terminal, unless COLUMNS is set."""


def run(args: argparse.Namespace) -> int:
    """Shows the gateway until the user quits, and returns 0. With ``--once`` or ``--json``, or without a terminal, it
    prints one frame and returns 0, or 1 if there are no figures. Raises ConfigError."""
    client, url = open_client(args)
    live = not (args.once or args.json) and sys.stdin.isatty() and sys.stdout.isatty()
    if live:
        with Terminal() as terminal:
            return asyncio.run(_Top(client, View(url), terminal).run())
    return asyncio.run(_print_once(client, url, as_json=args.json))


async def _print_once(client: httpx.AsyncClient, url: str, *, as_json: bool) -> int:
    async with client:
        try:
            if as_json:
                # Encoded again as ASCII: clients choose some texts, and a terminal interprets control characters.
                print(json.dumps(json.loads(await ask(client, "/dashboard/stats")), indent=2))
                return 0
            figures, page = await _fetch(client, _ROWS_ONCE)
        except GatewayError as error:
            print(f"ztoapi top: {clean(str(error))}", file=sys.stderr)
            return 1
    width = shutil.get_terminal_size(_COLUMNS).columns
    encoding = sys.stdout.encoding
    for text, _ in render(figures, page, View(url), width, None):
        print(text.encode(encoding, "replace").decode(encoding))
    return 0


async def _fetch(client: httpx.AsyncClient, rows: int, text: str = "") -> tuple[Figures, RequestsPage]:
    """Returns the figures, and the newest requests that have ``text`` in a field. Raises GatewayError."""
    figures = await ask(client, "/dashboard/stats")
    page = await ask(client, f"/dashboard/requests?page_size={rows}&q={quote(text)}")
    return decoded(figures, Figures), decoded(page, RequestsPage)


class _Top:
    """The live view."""

    def __init__(self, client: httpx.AsyncClient, view: View, terminal: Terminal) -> None:
        self._client = client
        self._view = view
        self._terminal = terminal
        self._figures: Figures | None = None
        self._page: RequestsPage | None = None
        self._stop = asyncio.Event()
        self._code = 0

    async def run(self) -> int:
        """Returns the exit code."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._terminal.fileno(), self._press)
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        async with self._client:
            refreshing = asyncio.create_task(self._refresh_forever())
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait((refreshing, stopped), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if refreshing.done():
                # It only ends by an exception.
                refreshing.result()
            refreshing.cancel()
        return self._code

    def _interrupt(self) -> None:
        self._code = _INTERRUPTED
        self._stop.set()

    async def _refresh_forever(self) -> None:
        # A request may swallow the cancellation.
        while not self._stop.is_set():
            self._draw()
            if not self._view.paused:
                await self._refresh()
                self._draw()
            await asyncio.sleep(_SECONDS)

    async def _refresh(self) -> None:
        view, lines = self._view, self._terminal.size()[1]
        # Another order needs all rows.
        rows = view.first + lines + _ROWS_AHEAD if view.order == ORDERS[0] else _MAX_ROWS
        try:
            figures, page = await _fetch(self._client, min(rows, _MAX_ROWS), view.filter)
        except GatewayError as error:
            self._view = self._view._replace(problem=f"{error}; retrying")
            return
        # The view may have been paused, or have another filter, since the fetch has begun.
        if not self._view.paused and self._view.filter == view.filter:
            self._figures = figures
            self._page = page
            self._view = self._view._replace(problem="")

    def _press(self) -> None:
        text = self._terminal.read()
        if not text:
            self._stop.set()
        while text:
            if self._view.typed is not None:
                self._type(text[0], self._view.typed)
                text = text[1:]
            else:
                key, text = next_key(text)
                self._act(key)
        self._draw()

    def _act(self, key: str) -> None:
        view = self._view
        if key == "quit":
            self._stop.set()
        elif key == "pause":
            self._view = view._replace(paused=not view.paused)
        elif key == "tables":
            self._view = view._replace(tables=_after(TABLES, view.tables))
        elif key == "sort":
            self._view = view._replace(order=_after(ORDERS, view.order), first=0)
        elif key == "filter":
            self._view = view._replace(typed=view.filter)
        elif key == "details":
            self._view = view._replace(details=not view.details)
        elif key:
            self._scroll(key)

    def _type(self, letter: str, typed: str) -> None:
        """Changes the filter: Enter applies it, Escape keeps the one before."""
        if letter in "\r\n":
            self._view = self._view._replace(filter=typed, typed=None, first=0)
        elif letter == "\x1b":
            self._view = self._view._replace(typed=None)
        elif letter in "\x7f\b":
            self._view = self._view._replace(typed=typed[:-1])
        elif letter.isprintable():
            self._view = self._view._replace(typed=typed + letter)

    def _scroll(self, key: str) -> None:
        half = max(self._terminal.size()[1] // 2, 1)
        step = {"up": -1, "down": 1, "page up": -half, "page down": half, "home": -_MAX_ROWS}[key]
        last = max(len(self._page.requests) - 1, 0) if self._page is not None else 0
        self._view = self._view._replace(first=min(max(self._view.first + step, 0), last))

    def _draw(self) -> None:
        columns, lines = self._terminal.size()
        page = self._page
        if page is not None:
            page = msgspec.structs.replace(page, requests=ordered(page.requests, self._view.order))
        self._terminal.draw(render(self._figures, page, self._view, columns, lines))


def _after(values: Sequence[str], value: str) -> str:
    """Returns the value after ``value``, the first one after the last."""
    return values[(values.index(value) + 1) % len(values)]
