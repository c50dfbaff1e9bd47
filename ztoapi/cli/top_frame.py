"""Renders one frame of ``ztoapi top``: figures to lines of text.

Model names, keys and user agents are chosen by clients. A line contains only printable characters, so that no text can
control the terminal, and is cut to the width of the terminal.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ztoapi.telemetry.figures import (
    CredentialFigures,
    Figures,
    LatencyFigures,
    LiveRequest,
    ModelFigures,
    RequestsPage,
    WorkerFigures,
)
from ztoapi.telemetry.terminal_text import clean, cut
from ztoapi.wire.address import authority

__all__ = ["ORDERS", "TABLES", "Line", "View", "ordered", "render"]

_BARS: Final = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_ANY_HOST: Final = re.compile(r"//(0\.0\.0\.0|\[::\]):")
"""A host to listen on that is not one to connect to."""
_LABEL_WIDTH: Final = 16
_LIST_SHARE: Final = 5
"""A list of workers or credentials takes at most a fifth of the lines."""
_MIN_LISTED: Final = 2
_GAP: Final = "   "
_CACHED: Final = frozenset(("hit", "shared"))
"""Cache results of requests that were not sent upstream."""


TABLES: Final = ("workers and credentials", "models and keys")
ORDERS: Final = ("newest", "slowest", "first token", "tokens")


class Line(NamedTuple):
    """``style`` is "", "bold", "dim", "bad" or "heading"."""

    text: str
    style: str = ""


class View(NamedTuple):
    """What the user has chosen to see, and the current problem."""

    url: str
    paused: bool = False
    first: int = 0
    """Number of requests scrolled past."""
    problem: str = ""
    tables: str = TABLES[0]
    """One of :data:`TABLES`."""
    order: str = ORDERS[0]
    """One of :data:`ORDERS`."""
    filter: str = ""
    """Text that the requests have in a field."""
    typed: str | None = None
    """The filter while it is typed."""
    details: bool = False
    """Whether the first visible request is shown with all its fields, instead of everything else."""


class _Column(NamedTuple):
    """A negative ``width`` aligns the cells to the right. ``rank`` is 0 for columns that are always shown; of the
    others a narrow terminal leaves out the one with the highest first."""

    title: str
    width: int
    rank: int = 0


def render(
    figures: Figures | None, page: RequestsPage | None, view: View, width: int, height: int | None
) -> list[Line]:
    """Returns the frame in ``width`` columns and, unless it is None, ``height`` lines."""
    lines = [_title(figures, view)]
    if view.problem:
        lines.append(Line(view.problem, "bad"))
    if page is not None and view.details and page.requests[view.first :]:
        lines += _details(page.requests[view.first])
    elif figures is not None and page is not None:
        listed = None if height is None else max(height // _LIST_SHARE, _MIN_LISTED)
        urls = [part for url in _api_urls(figures, view.url) for part in (f"{url}/v1 (OpenAI)", f"{url} (Anthropic)")]
        lines += [Line(_labelled("base URLs", urls, width))] if urls else []
        lines += _summary(figures, width)
        if height is None or view.tables == TABLES[0]:
            lines += _list(_WORKERS, [_worker_row(worker) for worker in figures.workers], width, listed)
            rows = [_credential_row(credential, figures.now) for credential in figures.credentials]
            lines += _list(_CREDENTIALS, rows, width, listed)
        if height is None or view.tables == TABLES[1]:
            lines += _list(_MODELS, [_model_row(model) for model in figures.models], width, listed)
            lines += _list(_CLIENTS, _key_rows(page.requests), width, listed)
        lines += _requests(page, view, width, hints=height is not None)
    if height is not None:
        lines = lines[: height - 1]
        lines += [Line("")] * (height - 1 - len(lines))
        lines.append(Line("q quit   p pause   up/down, page up/down, home: requests", "dim"))
    return [Line(cut(text, width) if height is not None else cut(text, width).rstrip(), style) for text, style in lines]


def _api_urls(figures: Figures, url: str) -> list[str]:
    """Returns the origins of the API of the gateway at ``url``."""
    if figures.api_urls is None:
        return [url]
    host = authority(urlsplit(url).hostname or "", 0).removesuffix(":0")
    return [_ANY_HOST.sub(f"//{host}:", one) for one in figures.api_urls]


def _title(figures: Figures | None, view: View) -> Line:
    about = (
        "" if figures is None else f"   ztoapi {figures.version}   up {_age(figures.uptime)}   {_clock(figures.now)}"
    )
    return Line(f"{view.url}{about}{'   PAUSED' if view.paused else ''}", "bold")


def _summary(figures: Figures, width: int) -> list[Line]:
    requests = figures.requests
    tokens = figures.tokens
    limits = figures.rate_limits
    failed = (
        f"{requests.error_rate:.1%} of the last minute",
        f"{_count(requests.failed)} failed",
        f"{_count(requests.refused)} refused",
        f"{_count(limits.denied)} over a limit",
        f"{_count(requests.cancelled)} cancelled",
    )
    served = (
        f"{requests.per_second:.1f}/s",
        f"{_count(requests.total)} so far",
        f"{_count(requests.in_flight)} in flight",
        f"{_count(requests.streams)} streams",
        f"{_count(requests.waiting)} waiting",
        f"{_count(requests.connections)} connections",
    )
    latencies = (
        ("duration", figures.duration),
        ("first token", figures.time_to_first_token),
        ("between tokens", figures.inter_token),
        ("gateway's own", figures.overhead),
    )
    return [
        Line(_labelled("requests", served, width)),
        Line(_labelled("errors", failed, width), "bad" if requests.error_rate else ""),
        Line(
            f"{'tokens':<{_LABEL_WIDTH}}{tokens.output_per_second:.1f}/s   {_count(tokens.input)} in   "
            f"{_count(tokens.output)} out"
        ),
        Line(f"{'requests/s':<{_LABEL_WIDTH}}{_spark(figures.series.requests, width - _LABEL_WIDTH)}"),
        Line(f"{'tokens/s':<{_LABEL_WIDTH}}{_spark(figures.series.output_tokens, width - _LABEL_WIDTH)}"),
        Line(""),
        Line(f"{f'last {figures.window}':<{_LABEL_WIDTH}}{'p50':>9}{'p95':>9}{'p99':>9}{'max':>9}", "heading"),
        *(Line(f"{name:<{_LABEL_WIDTH}}{_times(latency)}") for name, latency in latencies),
    ]


def _labelled(label: str, parts: Sequence[str], width: int) -> str:
    """Returns those of ``parts``, the most important ones first, that have room in ``width`` columns."""
    line = f"{label:<{_LABEL_WIDTH}}{parts[0]}"
    for part in parts[1:]:
        if len(line) + len(_GAP) + len(part) > width:
            break
        line += f"{_GAP}{part}"
    return line


def _spark(values: Sequence[float], width: int) -> str:
    """Returns the newest values as bars; the highest value is a full bar."""
    visible = values[-max(width - 12, 1) :]
    highest = max(visible, default=0)
    if not highest:
        return "-"
    return (
        "".join(_BARS[min(int(value / highest * len(_BARS)), len(_BARS) - 1)] for value in visible)
        + f" max {_count(highest)}"
    )


def _times(latency: LatencyFigures) -> str:
    return "".join(f"{_seconds(value):>9}" for value in (latency.p50, latency.p95, latency.p99, latency.maximum))


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
    _Column("STATE", 28),
    _Column("IN FLIGHT", -10, 2),
    _Column("REQUESTS", -10, 1),
    _Column("FAILED", -8),
    _Column("LATENCY", -9, 3),
)
_MODELS: Final = (
    _Column("MODEL", 30),
    _Column("REQUESTS", -10),
    _Column("FAILED", -8),
    _Column("REFUSED", -9),
    _Column("TOKENS", -10),
)
_CLIENTS: Final = (
    _Column("KEY (requests below)", 30),
    _Column("REQUESTS", -10),
    _Column("FAILED", -8),
    _Column("REFUSED", -9),
    _Column("TOKENS", -10),
)
_REQUESTS: Final = (
    _Column("STARTED", 10),
    _Column("STATUS", 8),
    _Column("ENDING", 19, 2),
    _Column("MODEL", 20),
    _Column("KEY", 14, 1),
    _Column("FIRST", -8),
    _Column("TOOK", -8),
    _Column("TOKENS", -8),
    _Column("  CLIENT", 22, 3),
    _Column("USER AGENT", 20, 4),
)


def _list(columns: Sequence[_Column], rows: Sequence[Sequence[str]], width: int, max_lines: int | None) -> list[Line]:
    visible = rows if max_lines is None or len(rows) <= max_lines else rows[: max_lines - 1]
    lines = [Line(""), Line(_row(columns, [column.title for column in columns], width), "heading")]
    lines += [Line(_row(columns, row, width)) for row in visible]
    if len(visible) < len(rows):
        lines.append(Line(f"and {len(rows) - len(visible)} more", "dim"))
    return lines


def _row(columns: Sequence[_Column], cells: Iterable[str], width: int) -> str:
    shown = _fitting(columns, width)
    return "".join(_cell(column, text) for column, text in zip(columns, cells, strict=True) if column in shown)


def _fitting(columns: Sequence[_Column], width: int) -> list[_Column]:
    """Returns the columns without those that have no room in ``width``, the ones with the highest rank first."""
    shown = list(columns)
    for column in sorted(columns, key=lambda column: -column.rank):
        if not column.rank or sum(abs(one.width) for one in shown) <= width:
            break
        shown.remove(column)
    return shown


def _cell(column: _Column, text: str) -> str:
    if column.width < 0:
        return clean(text).rjust(-column.width)
    if column == _REQUESTS[-1]:
        # It takes the rest of the line.
        return text
    return cut(text, column.width - 1) + " "


def _worker_row(worker: WorkerFigures) -> list[str]:
    return [
        str(worker.number),
        "-" if worker.pid is None else str(worker.pid),
        f"{worker.cpu:.0%}",
        "-" if worker.memory_bytes is None else f"{worker.memory_bytes / 1e6:.0f} MB",
        "-" if worker.open_files is None else str(worker.open_files),
        str(worker.in_flight),
        _seconds(worker.loop_lag_p99),
    ]


def _credential_row(credential: CredentialFigures, now: float) -> list[str]:
    return [
        f"{credential.platform}/{credential.credential}",
        credential.state_text(_age((credential.until or now) - now)),
        str(credential.in_flight),
        _count(credential.requests),
        _count(credential.failed),
        _seconds(credential.latency),
    ]


def _model_row(model: ModelFigures) -> list[str]:
    return [model.model, *map(_count, (model.requests, model.failed, model.refused, model.output_tokens))]


def _key_rows(requests: Sequence[LiveRequest]) -> list[list[str]]:
    """Returns a row for each client key, the busiest first."""
    groups: dict[str, list[LiveRequest]] = {}
    for request in requests:
        groups.setdefault(request.key or "-", []).append(request)
    rows = []
    for name, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        outcomes = [request.outcome for request in group]
        tokens = sum(request.output_tokens or 0 for request in group)
        counts = (len(group), outcomes.count("failed"), outcomes.count("refused"), tokens)
        rows.append([name, *map(_count, counts)])
    return rows


def ordered(requests: Sequence[LiveRequest], order: str) -> list[LiveRequest]:
    """Returns the requests in one of the :data:`ORDERS`; the gateway sends the newest first."""
    keys: dict[str, Callable[[LiveRequest], float]] = {
        "slowest": lambda request: -request.duration,
        "first token": lambda request: -(request.time_to_first_token or 0.0),
        "tokens": lambda request: -(request.output_tokens or 0),
    }
    return sorted(requests, key=keys[order]) if order in keys else list(requests)


def _requests(page: RequestsPage, view: View, width: int, *, hints: bool) -> list[Line]:
    rows = page.requests[view.first :]
    place = f"requests from {view.first + 1} of {page.total}   " if view.first else ""
    if view.filter:
        place += f"{page.total} with {view.filter!r}   "
    if view.typed is not None:
        place = f"filter: {view.typed}_"
    elif hints:
        other = TABLES[1 - TABLES.index(view.tables)]
        place += f"m {other}   s sort: {view.order}   / filter   enter details"
    heading = _row(_REQUESTS, [column.title for column in _REQUESTS], width)
    listed = (Line(_row(_REQUESTS, _request_row(request), width), _style(request)) for request in rows)
    return [Line(place.rstrip(), "dim" if place else ""), Line(heading, "heading"), *listed]


def _details(request: LiveRequest) -> Iterator[Line]:
    """Yields the fields of a request that have a value."""
    yield Line(f"request {request.id}   (Enter: the list)", "heading")
    seconds = {"duration", "time_to_first_token"}
    for name, value in msgspec.structs.asdict(request).items():
        if value is None or name == "id":
            continue
        text = _seconds(value) if name in seconds else _clock(value) if name == "started" else str(value)
        yield Line(f"{name.replace('_', ' '):<22}{text}")


def _style(request: LiveRequest) -> str:
    return "bad" if request.status >= 400 and request.status != 499 else "bold" if request.phase != "done" else ""


def _outcome(request: LiveRequest) -> str:
    outcome = request.phase if request.ending is None else request.ending
    return f"{outcome} ({request.cache})" if request.cache in _CACHED else outcome


def _request_row(request: LiveRequest) -> tuple[str, ...]:
    return (
        _clock(request.started),
        str(request.status or "-"),
        _outcome(request),
        request.path if request.model is None else request.model,
        request.key or "-",
        _seconds(request.time_to_first_token),
        _seconds(request.duration),
        "-" if request.output_tokens is None else _count(request.output_tokens),
        f"  {request.client or '-'}",
        request.user_agent or "-",
    )


# -- numbers ----------------------------------------------------------------------------------------------------------


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


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
