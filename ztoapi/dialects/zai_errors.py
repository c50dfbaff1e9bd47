"""Z.ai's error codes, and the errors of any upstream that speaks OpenAI's format, in OpenAI's terms.

Codes: https://docs.z.ai/api-reference/api-code. ``reports.py`` reads the bodies, ``web_errors.py`` the codes of others.
"""

import datetime
import re
from typing import Final, NamedTuple

from ztoapi.dialects.reports import Report, read_report
from ztoapi.dialects.web_errors import effective_status, normalised
from ztoapi.errors import Ending, Fault, UpstreamError

__all__ = ["read_error"]


class _Meaning(NamedTuple):
    status: int
    type: str
    code: str
    fault: Fault
    retryable: bool = False


_AUTH = _Meaning(502, "server_error", "upstream_auth_error", Fault.REFUSED)
_ACCOUNT = _Meaning(502, "server_error", "upstream_account_error", Fault.REFUSED)
_QUOTA = _Meaning(429, "insufficient_quota", "insufficient_quota", Fault.QUOTA)
_INVALID = _Meaning(400, "invalid_request_error", "invalid_request", Fault.REQUEST)
_FORBIDDEN = _Meaning(403, "permission_error", "upstream_forbidden", Fault.REQUEST)
_EXCLUDED = _Meaning(403, "permission_error", "upstream_forbidden", Fault.EXCLUDED)
_RESTRICTED = _Meaning(403, "permission_error", "upstream_forbidden", Fault.QUOTA)
_POLICY = _Meaning(400, "invalid_request_error", "content_policy_violation", Fault.REQUEST)
_CONTEXT = _Meaning(400, "invalid_request_error", "context_length_exceeded", Fault.REQUEST)
_LIMIT = _Meaning(429, "rate_limit_exceeded", "rate_limit_exceeded", Fault.THROTTLED, True)
_OVERLOAD = _Meaning(503, "server_error", "upstream_overloaded", Fault.OVERLOADED, True)
_FAULT = _Meaning(502, "server_error", "upstream_error", Fault.UPSTREAM, True)
_PERHAPS = _Meaning(502, "server_error", "upstream_error", Fault.REQUEST, True)
"""A failure inside the upstream, which a request may bring about: one client must not cost the others a credential."""
_ODD = _Meaning(502, "server_error", "upstream_error", Fault.REQUEST)
"""An answer with status 200 that is not what was asked for: the upstream may have worked for it, and would again."""

_CODES: Final[dict[str, _Meaning]] = {
    "500": _PERHAPS,
    **dict.fromkeys(("1000", "1001", "1002", "1003", "1004"), _AUTH),
    **dict.fromkeys(("1100", "1110", "1111", "1112", "1120", "1121"), _ACCOUNT),
    "1113": _QUOTA,
    **dict.fromkeys(("1200", "1210", "1212", "1213", "1214", "1215"), _INVALID),
    "1211": _Meaning(404, "invalid_request_error", "model_not_found", Fault.REQUEST),
    "1220": _EXCLUDED,
    **dict.fromkeys(("1221", "1222"), _FORBIDDEN),
    "1230": _PERHAPS,
    "1231": _INVALID,
    "1234": _FAULT,
    "1261": _CONTEXT,
    **dict.fromkeys(("1300", "1301"), _POLICY),
    **dict.fromkeys(("1302", "1303"), _LIMIT),
    **dict.fromkeys(("1304", "1308", "1309", "1310"), _QUOTA),
    **dict.fromkeys(("1305", "1312"), _OVERLOAD),
    "1311": _EXCLUDED,
    "1313": _RESTRICTED,
}

_WORDS: Final[dict[str, _Meaning]] = {
    **dict.fromkeys(
        ("contextlengthexceeded", "contextwindowexceeded", "contextwindowexceedederror", "prompttoolong"), _CONTEXT
    ),
    **dict.fromkeys(("contentfilter", "contentpolicyviolation", "contentpolicyviolationerror"), _POLICY),
}
"""Codes and types of others that a status cannot express, without their separators."""

_STATUSES: Final[dict[int, _Meaning]] = {
    400: _INVALID,
    401: _AUTH,
    402: _QUOTA,
    403: _FORBIDDEN,
    404: _Meaning(404, "invalid_request_error", "model_not_found", Fault.REQUEST),
    408: _PERHAPS,
    413: _Meaning(413, "invalid_request_error", "request_too_large", Fault.REQUEST),
    422: _INVALID,
    429: _LIMIT,
    434: _POLICY,
    435: _POLICY,
    500: _PERHAPS,
    502: _FAULT,
    503: _OVERLOAD,
    504: _FAULT,
    529: _OVERLOAD,
}


_RESET: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_ZONE: Final = "+08:00"
"""Z.ai writes times without a zone, and means Beijing's: https://github.com/can1357/oh-my-pi/issues/11014"""


def read_error(body: bytes, status: int, retry_after: float | None = None) -> UpstreamError:
    """The error that an upstream's ``body`` reports; ``status`` is the HTTP status it came with."""
    report = read_report(body)
    code, meaning = _meaning(report, status)
    text = report.text or f"the upstream answered {status}"
    if report.page:
        title = f": {report.text}" if report.text else ""
        text = f"the upstream answered {status} with an HTML page{title}"
    if meaning is _AUTH:
        text = f"the upstream refused the gateway's token: {text}"
    if code is not None:
        text = f"{text} (upstream code {code})"
    return UpstreamError(
        text,
        status=meaning.status,
        type=meaning.type,
        code=meaning.code,
        param=report.param,
        retry_after=retry_after,
        ending=Ending.UPSTREAM_ERROR,
        retryable=meaning.retryable,
        upstream_code=report.codes[0] if report.codes else str(status),
        fault=meaning.fault,
        reset_at=_reset_at(text) if meaning is _QUOTA else None,
    )


def _meaning(report: Report, status: int) -> tuple[str | None, _Meaning]:
    """The meaning of a report, and Z.ai's own code where that decides."""
    for code in report.codes:
        if code in _CODES:
            return code, _CODES[code]
    for code in report.codes:
        if (word := normalised(code)) in _WORDS:
            return None, _WORDS[word]
    status = effective_status(report, status)
    if status < 400:
        return None, _ODD
    return None, _STATUSES.get(status, _PERHAPS if status >= 500 else _INVALID)


def _reset_at(text: str) -> float | None:
    """When a quota is whole again (Unix seconds): "Your limit will reset at 2026-09-12 00:35:41"."""
    found = _RESET.search(text)
    if found is None:
        return None
    try:
        return datetime.datetime.fromisoformat(found[0] + _ZONE).timestamp()
    except ValueError:
        return None
