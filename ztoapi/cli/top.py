"""``ztoapi top``: a running gateway in a terminal. ``docs/profiling.md`` is the manual.

It asks for the figures once a second, as a browser's dashboard would, over a connection that is made again when it is
lost.
"""

import argparse
import asyncio
import json
import shutil
import signal
import sys
from typing import Final

import httpx
import msgspec

from ztoapi.cli.figures import Page, Stats
from ztoapi.cli.options import load_config, own_origin
from ztoapi.cli.terminal import Terminal
from ztoapi.cli.top_frame import View, clean, render
from ztoapi.config.host import is_loopback
from ztoapi.errors import ConfigError

__all__ = ["run"]

_SECONDS: Final = 1.0
"""Between two looks: the gateway's own figures are no newer."""
_TIMEOUT_SECONDS: Final = 5.0
_AHEAD: Final = 100
"""Requests that are fetched beyond those that are seen, to scroll to."""
_MOST: Final = 500
"""What the gateway gives at once."""
_ROWS_ONCE: Final = 20
_COLUMNS: Final = (160, 24)
"""Of a frame that goes to no terminal, unless COLUMNS says otherwise."""
_PROBLEM_CHARACTERS: Final = 300
_SCHEMES: Final = ("all://", "http://", "https://")
"""What httpx reads proxies for from the environment."""


class _NoFiguresError(Exception):
    """What to say to the person."""


def run(args: argparse.Namespace) -> int:
    """Show the gateway until told to stop; 0. With ``--once`` or ``--json``, or where there is no terminal, one look:
    0, or 1 if there are no figures. Raises ConfigError."""
    config = load_config(args).config
    url = args.url or own_origin(config)
    headers = {} if config.admin_key is None else {"authorization": f"Bearer {config.admin_key.reveal()}"}
    try:
        host = httpx.URL(url).host
        # The admin key for a gateway on this host is for nobody else, least of all for a proxy.
        direct = dict.fromkeys(_SCHEMES) if args.url is None or is_loopback(host) else None
        client = httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS, mounts=direct)
    except (httpx.InvalidURL, ValueError) as error:
        raise ConfigError((f"--url: {error}",)) from error
    if client.base_url.scheme not in ("http", "https") or not client.base_url.host:
        raise ConfigError((f"--url: {url!r} is not an http or https URL",))
    live = not (args.once or args.json) and sys.stdin.isatty() and sys.stdout.isatty()
    if live:
        with Terminal() as terminal:
            return asyncio.run(_Top(client, View(url), terminal).run())
    return asyncio.run(_look_once(client, url, as_json=args.json))


async def _look_once(client: httpx.AsyncClient, url: str, *, as_json: bool) -> int:
    async with client:
        try:
            if as_json:
                # Escaped anew: a terminal is no place for other people's characters.
                print(json.dumps(json.loads(await _get(client, "/dashboard/stats")), indent=2))
                return 0
            stats, page = await _figures(client, _ROWS_ONCE)
        except _NoFiguresError as error:
            print(f"ztoapi top: {clean(str(error))}", file=sys.stderr)
            return 1
    width = shutil.get_terminal_size(_COLUMNS).columns
    encoding = sys.stdout.encoding
    for text, _ in render(stats, page, View(url), width, None):
        print(text.encode(encoding, "replace").decode(encoding))
    return 0


async def _figures(client: httpx.AsyncClient, rows: int) -> tuple[Stats, Page]:
    """Raises _NoFiguresError."""
    stats = await _get(client, "/dashboard/stats")
    page = await _get(client, f"/dashboard/requests?page_size={rows}")
    try:
        return msgspec.json.decode(stats, type=Stats), msgspec.json.decode(page, type=Page)
    except msgspec.DecodeError as error:
        raise _NoFiguresError(f"this is no gateway of a version that this program knows: {error}") from error


async def _get(client: httpx.AsyncClient, path: str) -> bytes:
    """Raises _NoFiguresError."""
    try:
        answer = await client.get(path)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _NoFiguresError(f"no answer from {client.base_url}: {error or type(error).__name__}") from error
    if answer.status_code != 200:
        raise _NoFiguresError(f"{client.base_url} answers {answer.status_code}: {_said(answer)[:_PROBLEM_CHARACTERS]}")
    return answer.content


def _said(answer: httpx.Response) -> str:
    try:
        return msgspec.json.decode(answer.content, type=_Refusal).error.message
    except msgspec.DecodeError:
        return answer.text


class _Error(msgspec.Struct):
    message: str


class _Refusal(msgspec.Struct):
    error: _Error


class _Top:
    """The live view."""

    def __init__(self, client: httpx.AsyncClient, view: View, terminal: Terminal) -> None:
        self._client = client
        self._view = view
        self._terminal = terminal
        self._stats: Stats | None = None
        self._page: Page | None = None
        self._stop = asyncio.Event()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._terminal.fileno(), self._press)
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        async with self._client:
            looking = asyncio.create_task(self._look_on())
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait((looking, stopped), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if looking.done():
                # It goes on for ever, unless it fails.
                looking.result()
            looking.cancel()
        return 0

    async def _look_on(self) -> None:
        while True:
            self._draw()
            if not self._view.paused:
                await self._look()
                self._draw()
            await asyncio.sleep(_SECONDS)

    async def _look(self) -> None:
        lines = self._terminal.size()[1]
        try:
            found = await _figures(self._client, min(self._view.first + lines + _AHEAD, _MOST))
        except _NoFiguresError as error:
            self._view = self._view._replace(problem=f"{error}; trying again")
            return
        # What comes after a key was pressed is not looked at.
        if not self._view.paused:
            self._stats, self._page = found
            self._view = self._view._replace(problem="")

    def _press(self) -> None:
        for key in self._terminal.read_keys():
            if key == "quit":
                self._stop.set()
            elif key == "pause":
                self._view = self._view._replace(paused=not self._view.paused)
            else:
                self._scroll(key)
        self._draw()

    def _scroll(self, key: str) -> None:
        half = max(self._terminal.size()[1] // 2, 1)
        step = {"up": -1, "down": 1, "page up": -half, "page down": half, "home": -_MOST}[key]
        last = max(len(self._page.requests) - 1, 0) if self._page is not None else 0
        self._view = self._view._replace(first=min(max(self._view.first + step, 0), last))

    def _draw(self) -> None:
        columns, lines = self._terminal.size()
        self._terminal.draw(render(self._stats, self._page, self._view, columns, lines))
