"""The HTTP status and the failure that an upstream's error is equivalent to, for all dialects."""

import re
from typing import Final

from ztoapi.dialects.reports import Report
from ztoapi.errors import Failure

__all__ = ["effective_status", "names_rate_limit", "normalised", "refined"]

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
_CONTEXT_CODES: Final = frozenset(
    (
        "contextlengthexceeded",
        "contextwindowexceeded",
        "contextwindowexceedederror",
        "exceedcontextsizeerror",
        "modelmaxprompttokensexceeded",
        "prompttoolong",
    )
)
"""From OpenAI, LiteLLM, llama.cpp, Copilot and Anthropic, without separators."""
_REJECTIONS: Final = (400, 413, 422)
_GENERAL_FAILURES: Final = frozenset((Failure.INVALID, Failure.TOO_LARGE, Failure.UNEXPECTED))
_GREATER: Final = r"(?:exceed\w*|overflow\w*|too (?:long|large|big)|(?:longer|larger|greater|more) than)"
_CONTEXT: Final = re.compile(
    # vLLM, DeepSeek, OpenRouter, LM Studio, Mistral, Ollama, llama.cpp, SGLang, OpenAI's Responses, MiniMax.
    rf"{_GREATER}.{{0,160}}\b(?:context|model) (?:length|window|size|limit)"
    rf"|\bcontext[ _-]?(?:length|window|size|limit)\b.{{0,40}}{_GREATER}"
    r"|\bmaximum (?:context|model) (?:length|window|size)\b.{0,120}\b(?:requested|contains?|has|given)\b"
    # Anthropic, Bedrock, Ollama, vLLM's "The prompt (total length 9000) is too long to fit into the model".
    r"|\b(?:prompt|input)(?: \([^)]*\))? (?:(?:is|was|are) )?too long\b"
    # Gemini, Copilot, SGLang, Z.ai's "Prompt exceeds max length".
    r"|\b(?:input|prompt)(?: tokens?)? (?:count|length)\b.{0,40}\bexceed\w* (?:the )?(?:max|limit|model|allowed)"
    r"|\b(?:prompt|input tokens?) exceeds? (?:the )?(?:model's )?max"
    # DashScope; TGI; xAI; Moonshot; Groq and OpenAI.
    r"|\brange of input length should be\b|`inputs` tokens \+ `max_new_tokens` must be"
    r"|\bmaximum prompt length is \d+ but\b|\bexceeded model token limit\b"
    r"|\breduce the length of (?:the |your )?(?:messages|prompt|input)\b",
    re.IGNORECASE,
)
"""Messages about a prompt that is longer than the model's context, of servers without a code for it."""
_PERIOD: Final = re.compile(r"\bper (?:second|min|minute|hour|day)\b|\b[tr]p[md]\b", re.IGNORECASE)
"""Names a limit on a rate, whose messages also have a number of tokens that is too large."""
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


def _names_context(text: str) -> bool:
    """Whether a message is about a prompt that is longer than the model's context."""
    return _CONTEXT.search(text) is not None and _PERIOD.search(text) is None and not names_rate_limit(text)


def refined(failure: Failure, report: Report, status: int) -> Failure:
    """Returns ``failure``, or the more specific one that the codes or the message of ``report`` describe. ``status``
    is that of the response.

    A message counts only in a rejected request, or within a success. In a stream, some servers report every error as
    their own failure."""
    if any(normalised(code) in _CONTEXT_CODES for code in report.codes):
        return Failure.CONTEXT
    embedded = status < 400
    general = failure in _GENERAL_FAILURES or (embedded and failure is Failure.SERVER_ERROR)
    if general and (embedded or status in _REJECTIONS) and _names_context(report.text):
        return Failure.CONTEXT
    return failure
