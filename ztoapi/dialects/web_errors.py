"""Errors of undocumented upstreams, and, for all dialects, the HTTP status that an error is equivalent to.

chat.z.ai and zread.ai have no error reference; the statuses and fields here are those that other clients report. Both
are web applications behind the same kind of proxy: a response is a status, a JSON object or an HTML page.
"""

import re
from typing import Final

import msgspec

from ztoapi.dialects.reports import Report
from ztoapi.errors import Failure, UpstreamError

__all__ = ["effective_status", "normalised", "status_error", "value_text"]

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
    Failure.REFUSED: "refused the credential",
    Failure.QUOTA: "reports a quota that is used up",
    Failure.FORBIDDEN: "refused access",
    Failure.THROTTLED: "limits its use",
}
"""Completions of a sentence that begins with the upstream's name."""
_RATE_WORDS = ("too many requests", "concurrency", "rate limit", "rate_limit")

_decode_scalar = msgspec.json.Decoder(str | int | float | bool | None).decode


def _words(status: int, words: str) -> dict[str, int]:
    return dict.fromkeys(words.split(), status)


_CERTAIN: Final = {
    **_words(
        402,
        "insufficientquota insufficientuserquota quotaexceeded insufficientbalance insufficientcredits "
        "billinghardlimitreached billingnotactive billingerror creditbalancetoolow usagelimitreached",
    ),
    **_words(
        429,
        "ratelimitexceeded ratelimiterror ratelimitreached ratelimit ratelimited toomanyrequests resourceexhausted "
        "throttlingexception",
    ),
    **_words(
        503,
        "overloadederror overloaded engineoverloaded engineoverloadederror modeloverloaded serveroverloaded "
        "serverisoverloaded serviceunavailable serviceunavailableerror",
    ),
    **_words(401, "invalidapikey incorrectapikey"),
}
"""Codes and types that override any HTTP status, without separators. 402 is a used-up quota. From OpenAI, Anthropic,
Gemini, OpenRouter, DeepSeek, vLLM and one-api."""

_GENERAL: Final = {
    **_words(
        400,
        "invalidrequesterror invalidrequest invalidargument badrequest badrequesterror failedprecondition outofrange "
        "validationerror invalidprompt invalidvalue unsupportedvalue unsupportedparameter missingrequiredparameter "
        "unprocessableentity unprocessableentityerror",
    ),
    **_words(401, "authenticationerror unauthorized unauthenticated invalidauthentication"),
    **_words(403, "permissionerror permissiondenied permissiondeniederror forbidden"),
    **_words(404, "modelnotfound notfound notfounderror"),
    **_words(413, "requesttoolarge"),
    **_words(500, "servererror apierror internalerror internal internalservererror"),
    **_words(502, "badgateway"),
    **_words(503, "unavailable"),
    **_words(504, "timeouterror deadlineexceeded gatewaytimeout"),
}
"""Codes and types that apply if neither the HTTP status nor a numeric code reports an error: OpenAI's 401, 403 and 404
also have the type ``invalid_request_error``."""

_USED_UP: Final = "credit balance is too low"
"""Anthropic's message, which has the type ``invalid_request_error`` and the status 400."""
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")


def normalised(code: str) -> str:
    """Returns a code without case and separators: ``rate_limit_error`` and ``RateLimitError`` are equal."""
    return _SEPARATORS.sub("", code.lower())


def effective_status(report: Report, status: int) -> int:
    """Returns the HTTP status that ``report`` is equivalent to; ``status`` is that of the response, often 200. 402 is a
    used-up quota. A status below 400 means that the report has no status."""
    words = [normalised(code) for code in report.codes]
    for word in words:
        if word in _CERTAIN:
            return _CERTAIN[word]
    if _USED_UP in report.text.lower():
        return 402
    if status >= 400:
        return status
    for code in report.codes:
        if len(code) == 3 and code.isdecimal() and code.isascii() and 400 <= int(code) <= 599:
            return int(code)
    for word in words:
        if word in _GENERAL:
            return _GENERAL[word]
    text = report.text.lower()
    return 429 if any(word in text for word in _RATE_WORDS) else status


def value_text(raw: bytes | msgspec.Raw) -> str:
    """Returns a JSON string or number as text; ``""`` for any other value."""
    try:
        value = _decode_scalar(raw)
    except msgspec.DecodeError:
        return ""
    return "" if value is None or isinstance(value, bool) else str(value)


def status_error(upstream: str, report: Report, status: int, retry_after: float | None = None) -> UpstreamError:
    """Returns the error for an undocumented upstream's ``report`` with the HTTP ``status``."""
    status = effective_status(report, status)
    if any(word in report.text.lower() for word in _RATE_WORDS):
        status = 429
    failure = _FAILURES.get(status, Failure.UNEXPECTED)
    effect = _EFFECTS.get(failure) or (f"failed ({status})" if status >= 400 else "failed")
    page = " with an HTML page" if report.page else ""
    words = f": {report.text[:_MESSAGE_CHARACTERS]}" if report.text else ""
    return UpstreamError(
        f"{upstream} {effect}{page}{words}",
        failure,
        retry_after=retry_after,
        upstream_code=report.codes[0] if report.codes else str(status),
    )
