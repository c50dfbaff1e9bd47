"""One frame of ``ztoapi top``: figures to lines of text.

Model names, keys and user agents come from whoever asks the gateway. Nothing but printable characters gets into a line,
so that none of them can speak to the terminal, and each line is cut to the columns that there are.
"""

import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from ztoapi.cli.figures import Credential, Page, Request, Stats, Times, Worker

__all__ = ["Line", "View", "clean", "cut", "render"]

_BARS: Final = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_UNKNOWN: Final = "\ufffd"
"""In the place of what must not be printed."""
_LABEL: Final = 16
_SHARE_OF_HEIGHT: Final = 5
"""A list of workers or credentials may have one in so many lines."""
_LEAST_LISTED: Final = 2
_SPARED: Final = frozenset(("hit", "shared"))
"""What the response cache did where the upstream was not asked."""


class Line(NamedTuple):
    """``style`` is "", "bold", "dim", "bad" or "heading"."""

    text: str
    style: str = ""


class View(NamedTuple):
    """What the person at the keyboard wants to see, and what is wrong with it."""

    url: str
    paused: bool = False
    first: int = 0
    """How many requests are scrolled past."""
    problem: str = ""


class _Column(NamedTuple):
    """Numbers, whose ``width`` is negative, stand to the right."""

    title: str
    width: int


def clean(text: str) -> str:
    """``text`` without anything that is not seen as a character: no control characters, none that turn the direction of
    writing."""
    return "".join(letter if letter.isprintable() else _UNKNOWN for letter in text)


def _columns(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in ("W", "F") else 1


def cut(text: str, width: int) -> str:
    """``text``, cleaned, in exactly ``width`` columns of a terminal."""
    used, kept = 0, list[str]()
    for letter in clean(text):
        columns = _columns(letter)
        # A letter has few accents; a text that has hundreds wants to write over the lines above it.
        if used + columns > width or (not columns and len(kept) > 2 * width):
            break
        used += columns
        kept.append(letter)
    return "".join(kept) + " " * (width - used)


def render(stats: Stats | None, page: Page | None, view: View, width: int, height: int | None) -> list[Line]:
    """The frame in ``width`` columns and, unless it is None, ``height`` lines."""
    lines = [_title(stats, view)]
    if view.problem:
        lines.append(Line(view.problem, "bad"))
    if stats is not None and page is not None:
        listed = None if height is None else max(height // _SHARE_OF_HEIGHT, _LEAST_LISTED)
        lines += _figures(stats, width)
        lines += _list(_WORKERS, [_worker_row(worker) for worker in stats.workers], listed)
        rows = [_credential_row(one, stats.now) for one in stats.credentials]
        lines += _list(_CREDENTIALS, rows, listed)
        lines += _requests(page, view)
    if height is not None:
        lines = lines[: height - 1]
        lines += [Line("")] * (height - 1 - len(lines))
        lines.append(Line("q quit   p pause   up/down, page up/down, home: requests", "dim"))
    return [Line(cut(text, width) if height is not None else cut(text, width).rstrip(), style) for text, style in lines]


def _title(stats: Stats | None, view: View) -> Line:
    about = "" if stats is None else f"   ztoapi {stats.version}   up {_age(stats.uptime)}   {_clock(stats.now)}"
    return Line(f"{view.url}{about}{'   PAUSED' if view.paused else ''}", "bold")


def _figures(stats: Stats, width: int) -> list[Line]:
    requests, tokens, limits = stats.requests, stats.tokens, stats.rate_limits
    failed = Line(
        f"{'errors':<{_LABEL}}{requests.error_rate:.1%} of the last minute   {_count(requests.failed)} failed   "
        f"{_count(requests.cancelled)} cancelled   {_count(limits.get('denied', 0))} over a limit",
        "bad" if requests.error_rate else "",
    )
    times = (
        ("duration", stats.duration),
        ("first token", stats.time_to_first_token),
        ("between tokens", stats.inter_token),
        ("gateway's own", stats.overhead),
    )
    return [
        Line(
            f"{'requests':<{_LABEL}}{requests.per_second:.1f}/s   {_count(requests.total)} so far   "
            f"{_count(requests.in_flight)} in flight   {_count(requests.streams)} streams   "
            f"{_count(requests.waiting)} waiting   {_count(requests.connections)} connections"
        ),
        failed,
        Line(
            f"{'tokens':<{_LABEL}}{tokens.output_per_second:.1f}/s   {_count(tokens.input)} in   "
            f"{_count(tokens.output)} out"
        ),
        Line(f"{'requests/s':<{_LABEL}}{_spark(stats.series.requests, width - _LABEL)}"),
        Line(f"{'tokens/s':<{_LABEL}}{_spark(stats.series.output_tokens, width - _LABEL)}"),
        Line(""),
        Line(f"{f'last {stats.window}':<{_LABEL}}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}", "heading"),
        *(Line(f"{name:<{_LABEL}}{_times(one)}") for name, one in times),
    ]


def _spark(values: Sequence[float], width: int) -> str:
    """The newest values as bars, the highest one full."""
    shown = values[-max(width - 12, 1) :]
    most = max(shown, default=0)
    if not most:
        return "-"
    return (
        "".join(_BARS[min(int(value / most * len(_BARS)), len(_BARS) - 1)] for value in shown) + f" max {_count(most)}"
    )


def _times(times: Times) -> str:
    return "".join(f"{_seconds(value):>9}" for value in (times.p50, times.p95, times.p99, times.maximum))


# -- lists ------------------------------------------------------------------------------------------------------------

_WORKERS: Final = (
    _Column("WORKER", 8),
    _Column("PID", -8),
    _Column("CPU", -7),
    _Column("MEMORY", -9),
    _Column("FILES", -7),
    _Column("IN FLIGHT", -11),
    _Column("LAG p99", -9),
)
_CREDENTIALS: Final = (
    _Column("CREDENTIAL", 26),
    _Column("STATE", 18),
    _Column("IN FLIGHT", -10),
    _Column("REQUESTS", -10),
    _Column("FAILED", -8),
    _Column("LATENCY", -9),
)
_REQUESTS: Final = (
    _Column("STARTED", 10),
    _Column("STATUS", 8),
    _Column("ENDING", 19),
    _Column("MODEL", 20),
    _Column("KEY", 14),
    _Column("FIRST", -8),
    _Column("TOOK", -8),
    _Column("TOKENS", -8),
    _Column("  CLIENT", 22),
    _Column("USER AGENT", 40),
)


def _list(columns: Sequence[_Column], rows: Sequence[Sequence[str]], most: int | None) -> list[Line]:
    shown = rows if most is None or len(rows) <= most else rows[: most - 1]
    lines = [Line(""), Line(_row(columns, [column.title for column in columns]), "heading")]
    lines += [Line(_row(columns, row)) for row in shown]
    if len(shown) < len(rows):
        lines.append(Line(f"and {len(rows) - len(shown)} more", "dim"))
    return lines


def _row(columns: Iterable[_Column], cells: Iterable[str]) -> str:
    return "".join(map(_cell, columns, cells))


def _cell(column: _Column, text: str) -> str:
    if column.width < 0:
        return clean(text).rjust(-column.width)
    return cut(text, column.width - 1) + " "


def _worker_row(worker: Worker) -> list[str]:
    return [
        str(worker.number),
        "-" if worker.pid is None else str(worker.pid),
        f"{worker.cpu:.0%}",
        "-" if worker.memory_bytes is None else f"{worker.memory_bytes / 1e6:.0f} MB",
        "-" if worker.open_files is None else str(worker.open_files),
        str(worker.in_flight),
        _seconds(worker.loop_lag_p99),
    ]


def _credential_row(one: Credential, now: float) -> list[str]:
    wait = "" if one.until is None else f" for {_age(one.until - now)}"
    return [
        f"{one.platform}/{one.credential}",
        f"{one.state}{wait}",
        str(one.in_flight),
        _count(one.requests),
        _count(one.failed),
        _seconds(one.latency),
    ]


def _requests(page: Page, view: View) -> list[Line]:
    rows = page.requests[view.first :]
    heading = _row(_REQUESTS, [column.title for column in _REQUESTS])
    place = f"from the {view.first + 1}. of {page.total} requests on" if view.first else ""
    return [Line(place), Line(heading, "heading"), *(Line(_request_row(one), _style(one)) for one in rows)]


def _style(request: Request) -> str:
    return "bad" if request.status >= 400 and request.status != 499 else "bold" if request.phase != "done" else ""


def _outcome(one: Request) -> str:
    outcome = one.phase if one.ending is None else one.ending
    return f"{outcome} ({one.cache})" if one.cache in _SPARED else outcome


def _request_row(one: Request) -> str:
    cells = (
        _clock(one.started),
        str(one.status or "-"),
        _outcome(one),
        one.path if one.model is None else one.model,
        one.key or "-",
        _seconds(one.time_to_first_token),
        _seconds(one.duration),
        "-" if one.output_tokens is None else _count(one.output_tokens),
        f"  {one.client or '-'}",
        one.user_agent or "-",
    )
    return _row(_REQUESTS, cells)


# -- numbers ----------------------------------------------------------------------------------------------------------


def _clock(at: float, local: Callable[[float], time.struct_time] = time.localtime) -> str:
    return time.strftime("%H:%M:%S", local(at))


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    if value < 0.01:
        return f"{value * 1000.0:.2f} ms"
    if value < 1.0:
        return f"{value * 1000.0:.0f} ms"
    return f"{value:.2f} s" if value < 100.0 else _age(value)


def _age(seconds: float) -> str:
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    hours = whole // 3600
    return f"{hours}h{whole % 3600 // 60:02}m" if hours < 48 else f"{hours // 24} d"


def _count(value: float) -> str:
    if value < 10_000:
        return f"{value:.0f}"
    return f"{value / 1e3:.1f}k" if value < 1_000_000 else f"{value / 1e6:.2f}M"
