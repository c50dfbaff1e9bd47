"""Translates Z.ai's error codes, and the errors of other upstreams with OpenAI's format, into OpenAI's errors.

Codes: https://docs.z.ai/api-reference/api-code. ``reports.py`` reads the bodies, and ``error_status.py`` other codes.
"""

import datetime
import re
from typing import Final

from ztoapi.dialects.error_status import effective_status, normalised, refined
from ztoapi.dialects.reports import Report, read_report
from ztoapi.errors import Failure, UpstreamError

__all__ = ["read_error"]


_CODES: Final[dict[str, Failure]] = {
    "500": Failure.SERVER_ERROR,
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004"), Failure.REFUSED),
    **dict.fromkeys(("1100", "1110", "1111", "1112", "1120", "1121"), Failure.ACCOUNT),
    "1113": Failure.QUOTA,
    **dict.fromkeys(("1200", "1210", "1212", "1213", "1214", "1215"), Failure.INVALID),
    "1211": Failure.NO_MODEL,
    "1220": Failure.EXCLUDED,
    **dict.fromkeys(("1221", "1222"), Failure.FORBIDDEN),
    "1230": Failure.SERVER_ERROR,
    "1231": Failure.INVALID,
    "1234": Failure.FAILED,
    "1261": Failure.CONTEXT,
    **dict.fromkeys(("1300", "1301"), Failure.POLICY),
    **dict.fromkeys(("1302", "1303"), Failure.THROTTLED),
    **dict.fromkeys(("1304", "1308", "1309", "1310"), Failure.QUOTA),
    **dict.fromkeys(("1305", "1312"), Failure.OVERLOADED),
    "1311": Failure.EXCLUDED,
    "1313": Failure.RESTRICTED,
}

_WORDS: Final[dict[str, Failure]] = {
    **dict.fromkeys(("contentfilter", "contentpolicyviolation", "contentpolicyviolationerror"), Failure.POLICY),
}
"""Codes and types of other servers that a status cannot express, without separators."""

_STATUSES: Final[dict[int, Failure]] = {
    400: Failure.INVALID,
    401: Failure.REFUSED,
    402: Failure.QUOTA,
    403: Failure.FORBIDDEN,
    404: Failure.NO_MODEL,
    408: Failure.SERVER_ERROR,
    413: Failure.TOO_LARGE,
    422: Failure.INVALID,
    429: Failure.THROTTLED,
    434: Failure.POLICY,
    435: Failure.POLICY,
    500: Failure.SERVER_ERROR,
    502: Failure.FAILED,
    503: Failure.OVERLOADED,
    504: Failure.FAILED,
    529: Failure.OVERLOADED,
}


_RESET: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_ZONE: Final = "+08:00"
"""The zone of Z.ai's times, which have none, is Beijing's: https://github.com/can1357/oh-my-pi/issues/11014"""


def read_error(body: bytes, status: int, retry_after: float | None = None) -> UpstreamError:
    """Returns the error that an upstream's ``body`` with the HTTP ``status`` reports."""
    report = read_report(body)
    code, failure = _failure(report, status)
    failure = refined(failure, report, status)
    text = report.text or f"the upstream responded with {status}"
    if report.page:
        title = f": {report.text}" if report.text else ""
        text = f"the upstream responded with {status} with an HTML page{title}"
    if failure is Failure.REFUSED:
        text = f"the upstream refused the gateway's token: {text}"
    if code is not None:
        text = f"{text} (upstream code {code})"
    return UpstreamError(
        text,
        failure,
        param=report.param,
        retry_after=retry_after,
        upstream_code=report.codes[0] if report.codes else str(status),
        reset_at=_reset_at(text) if failure is Failure.QUOTA else None,
    )


def _failure(report: Report, status: int) -> tuple[str | None, Failure]:
    """Returns the failure that a report describes, and Z.ai's own code if that decides."""
    for code in report.codes:
        if code in _CODES:
            return code, _CODES[code]
    for code in report.codes:
        if (word := normalised(code)) in _WORDS:
            return None, _WORDS[word]
    status = effective_status(report, status)
    if status < 400:
        return None, Failure.UNEXPECTED
    return None, _STATUSES.get(status, Failure.SERVER_ERROR if status >= 500 else Failure.INVALID)


def _reset_at(text: str) -> float | None:
    """Returns the end of a used-up quota (Unix seconds): "Your limit will reset at 2026-09-12 00:35:41"."""
    match = _RESET.search(text)
    if match is None:
        return None
    try:
        return datetime.datetime.fromisoformat(match[0] + _ZONE).timestamp()
    except ValueError:
        return None
