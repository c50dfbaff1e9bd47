"""Translates the errors of chat.z.ai's web service into OpenAI's errors."""

from ztoapi.dialects.error_status import effective_status
from ztoapi.dialects.reports import Report, read_report
from ztoapi.dialects.web_errors import status_error
from ztoapi.errors import Failure, UpstreamError

__all__ = ["refusal", "reported"]

_UPSTREAM = "chat.z.ai"


def refusal(status: int, body: bytes, retry_after: float | None = None) -> UpstreamError:
    """Returns the error for a response that is not an event stream."""
    if status in {400, 401, 403, 405} and body.lstrip()[:1] == b"<":
        # The application responds with JSON; a page comes from the firewall in front of it.
        return _client_check(str(status))
    return reported(read_report(body), status, retry_after)


def reported(report: Report, status: int = 200, retry_after: float | None = None) -> UpstreamError:
    """Returns the error for ``report``, in a response or within a stream (status 200)."""
    if status == 426 or _names_client_check(report):
        return _client_check(report.codes[0] if report.codes else str(status))
    if effective_status(report, status) == 404:
        return UpstreamError(
            "chat.z.ai does not have this model (or has moved)",
            Failure.NO_MODEL,
            upstream_code=report.codes[0] if report.codes else "404",
        )
    return status_error(_UPSTREAM, report, status, retry_after)


def _names_client_check(report: Report) -> bool:
    words = " ".join((*report.codes, report.text)).lower()
    if "captcha" in words or "signature" in words:
        return True
    return "client" in words and any(word in words for word in ("check", "version", "verif", "outdated", "update"))


def _client_check(code: str) -> UpstreamError:
    return UpstreamError(
        "chat.z.ai serves only its own web client and refused this one. Use the official API instead: "
        "https://api.z.ai with an API key (https://z.ai/manage-apikey/apikey-list).",
        Failure.CLIENT_CHECK,
        upstream_code=code,
    )
