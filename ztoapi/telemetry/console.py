"""The console: requests and messages for a person at a terminal, in one form and on one clock, the local time.

A request is one row within the width of the terminal:

    21:30:07 200 chat      stream glm-5.3 > zai-1    1.23s  250ms     9 > 120 alice
    21:30:09 429 messages  whole  glm-5.3          0.4ms [alice] insufficient_quota: this API key has used up its budget
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from ztoapi.errors import Ending
from ztoapi.telemetry.access_line import Lines
from ztoapi.telemetry.record import Outcome, RequestRecord
from ztoapi.telemetry.terminal_text import clean, cut

__all__ = ["ConsoleFormatter", "ConsoleLines"]

_APIS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/messages": "messages",
    "/v1/messages/count_tokens": "count",
    "/v1/responses": "responses",
    "/v1/completions": "complete",
    "/v1/embeddings": "embed",
    "/v1/models": "models",
}
"""A word for each API, by the template of the route. Other requests show their method and path."""
_API_COLUMNS: Final = 9
_MODE_COLUMNS: Final = 6
_TIME_COLUMNS: Final = 6
_TOKEN_COLUMNS: Final = 11
_MIN_TARGET_COLUMNS: Final = 14
_MAX_TARGET_COLUMNS: Final = 40
_KEY_COLUMNS: Final = 8
"""Reserved for the name of the key, which may be longer if there is room."""
_MIN_COLUMNS: Final = 40
"""Narrower terminals wrap the lines."""
_FIXED_COLUMNS: Final = 9 + 4 + _API_COLUMNS + 1 + _MODE_COLUMNS + 1
"""Time, status, API and mode, with the blanks between them."""
_FIGURE_COLUMNS: Final = 2 * (_TIME_COLUMNS + 1) + _TOKEN_COLUMNS + 1
_GREEN, _YELLOW, _RED, _DIM, _PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_OUTCOMES: Final = {
    Outcome.ANSWERED: _GREEN,
    Outcome.REFUSED: _YELLOW,
    Outcome.FAILED: _RED,
    Outcome.CANCELLED: _DIM,
}
_LEVELS: Final = {
    "DEBUG": _DIM,
    "INFO": "",
    "WARNING": _YELLOW,
    "ERROR": _RED,
    "CRITICAL": _RED,
}


class ConsoleFormatter(logging.Formatter):
    """Formats messages: local time, level and text, without the name of the module."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
        self._colour = colour

    def formatMessage(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname:<8}"
        if self._colour and (style := _LEVELS.get(record.levelname)):
            level = f"{style}{level}{_PLAIN}"
        return f"{record.asctime} {level} {record.message}"


class ConsoleLines:
    """Formats requests in rows of ``width()`` columns.

    ``quiet`` leaves out requests that have succeeded. Those for operators, such as the figures of the dashboard, are
    always left out if they have succeeded.
    """

    def __init__(self, width: Callable[[], int], *, colour: bool, quiet: bool) -> None:
        self._width = width
        self._colour = colour
        self._quiet = quiet

    def __call__(self, records: Sequence[RequestRecord], offset: float) -> list[Lines]:
        """Returns the rows. ``offset`` converts monotonic to Unix seconds."""
        width = max(self._width(), _MIN_COLUMNS)
        shown = (record for record in records if not (self._quiet or record.monitoring) or _style(record) != _GREEN)
        return [self._line(record, offset, width) for record in shown]

    def _line(self, record: RequestRecord, offset: float, width: int) -> Lines:
        assert record.finished is not None
        return Lines(record.finished, 1, self._row(record, offset, width).encode("utf-8", "backslashreplace") + b"\n")

    def _row(self, record: RequestRecord, offset: float, width: int) -> str:
        assert record.finished is not None
        clock = time.strftime("%H:%M:%S", time.localtime(record.finished + offset))
        status = f"{record.status:<3}" if record.status else "-  "
        rest = cut(_rest(record, width), width - 13).rstrip()
        if self._colour:
            status = f"{_style(record)}{status}{_PLAIN}"
        return f"{clock} {status} {rest}"


def _style(record: RequestRecord) -> str:
    assert record.outcome is not None
    return _OUTCOMES[record.outcome]


def _rest(record: RequestRecord, width: int) -> str:
    """Returns the row after the status."""
    free = width - _FIXED_COLUMNS - _FIGURE_COLUMNS - _KEY_COLUMNS
    columns = min(max(free, _MIN_TARGET_COLUMNS), _MAX_TARGET_COLUMNS)
    api = _APIS.get(record.route, record.method)
    mode = ("stream" if record.stream else "whole") if record.route in _APIS and record.method == "POST" else ""
    parts = [cut(api, _API_COLUMNS), cut(mode, _MODE_COLUMNS)]
    duration = f"{_duration(record.finished, record.started):>{_TIME_COLUMNS}}"
    if record.ending is Ending.DONE and record.error_code is None:
        first = _duration(record.first_byte if record.stream else None, record.whole)
        parts += [cut(_target(record), columns), duration, f"{first:>{_TIME_COLUMNS}}"]
        parts += [f"{_tokens(record):>{_TOKEN_COLUMNS}}", record.key or ""]
    else:
        parts += [cut(_target(record), columns), duration]
        if record.key is not None:
            parts.append(f"[{record.key}]")
        parts.append(_reason(record))
    return " ".join(parts)


def _target(record: RequestRecord) -> str:
    """Returns the model and the credential that has served it, or the path."""
    if record.model is None:
        return record.path if record.route not in _APIS else "-"
    served = record.model if record.served_model in (None, record.model) else f"{record.model} = {record.served_model}"
    if record.credential is not None:
        return f"{served} > {record.credential}"
    return f"{served} > cache" if record.cache == "hit" else served


def _reason(record: RequestRecord) -> str:
    assert record.ending is not None
    code = record.error_code or record.ending.value
    return clean(f"{code}: {record.error_message}") if record.error_message else code


def _tokens(record: RequestRecord) -> str:
    usage = record.usage
    if usage is None or (not usage.total_tokens and not usage.prompt_tokens):
        return ""
    return f"{_count(usage.prompt_tokens)} > {_count(usage.completion_tokens or 0)}"


def _count(number: int) -> str:
    if number < 10_000:
        return str(number)
    return f"{number / 1e3:.0f}k" if number < 1_000_000 else f"{number / 1e6:.1f}M"


def _duration(end: float | None, start: float | None) -> str:
    if end is None or start is None:
        return ""
    seconds = end - start
    if seconds < 0.01:
        return f"{seconds * 1000:.1f}ms"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.2f}s" if seconds < 100 else f"{seconds:.0f}s"
