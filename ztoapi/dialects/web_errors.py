"""Errors of undocumented upstreams.

chat.z.ai and zread.ai have no error reference; the statuses and fields here are those that other clients report. Both
are web applications behind the same kind of proxy: a response is a status, a JSON object or an HTML page.
"""

from typing import Final

import msgspec

from ztoapi.dialects.error_status import effective_status, names_rate_limit, refined
from ztoapi.dialects.reports import Report
from ztoapi.errors import Failure, UpstreamError

__all__ = ["status_error", "value_text"]

_MESSAGE_CHARACTERS: Final = 300
"""Longest message of an undocumented upstream: enough for the reason."""


_FAILURES: Final = {
    400: Failure.INVALID,
    # Not a 401 for the client: the upstream has refused the gateway's credential, and the client's own key is valid.
    401: Failure.REFUSED,
    402: Failure.QUOTA,
    403: Failure.FORBIDDEN,
    413: Failure.TOO_LARGE,
    422: Failure.INVALID,
    429: Failure.THROTTLED,
    500: Failure.SERVER_ERROR,
    502: Failure.FAILED,
    503: Failure.OVERLOADED,
    504: Failure.FAILED,
    529: Failure.OVERLOADED,
}
_EFFECTS: Final = {
    Failure.INVALID: "did not accept the request",
    Failure.TOO_LARGE: "did not accept the request",
    Failure.CONTEXT: "did not accept the request",
    Failure.REFUSED: "refused the credential",
    Failure.QUOTA: "reports a quota that is used up",
    Failure.FORBIDDEN: "refused access",
    Failure.THROTTLED: "limits its use",
}
"""Completions of a sentence that begins with the upstream's name."""

_decode_scalar = msgspec.json.Decoder(str | int | float | bool | None).decode


def value_text(raw: bytes | msgspec.Raw) -> str:
    """Returns a JSON string or number as text; ``""`` for any other value."""
    try:
        value = _decode_scalar(raw)
    except msgspec.DecodeError:
        return ""
    return "" if value is None or isinstance(value, bool) else str(value)


def status_error(upstream: str, report: Report, status: int, retry_after: float | None = None) -> UpstreamError:
    """Returns the error for an undocumented upstream's ``report`` with the HTTP ``status``."""
    response_status, status = status, effective_status(report, status)
    if names_rate_limit(report.text):
        status = 429
    failure = refined(_FAILURES.get(status, Failure.UNEXPECTED), report, response_status)
    effect = _EFFECTS.get(failure) or (f"failed ({status})" if status >= 400 else "failed")
    page = " with an HTML page" if report.page else ""
    words = f": {report.text[:_MESSAGE_CHARACTERS]}" if report.text else ""
    return UpstreamError(
        f"{upstream} {effect}{page}{words}",
        failure,
        retry_after=retry_after,
        upstream_code=report.codes[0] if report.codes else str(status),
    )
