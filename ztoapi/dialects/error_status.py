"""The HTTP status that an upstream's error is equivalent to, for all dialects."""

import re
from typing import Final

from ztoapi.dialects.reports import Report

__all__ = ["effective_status", "names_rate_limit", "normalised"]

_RATE_WORDS: Final = ("too many requests", "concurrency", "rate limit", "rate_limit")


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
    return 429 if names_rate_limit(report.text) else status


def names_rate_limit(text: str) -> bool:
    """Whether a message is about a rate limit."""
    text = text.lower()
    return any(word in text for word in _RATE_WORDS)
