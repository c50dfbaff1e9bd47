"""What an undocumented upstream's refusal means: its status and words to the error the client sees.

chat.z.ai and zread.ai have no error reference; what is read here was seen in the clients of others. The two share
it because both are web applications behind the same kind of edge: a status, a JSON object or an HTML page.
"""

import msgspec

from ztoapi.errors import Fault, UpstreamError

__all__ = ["reason", "status_error", "value_text"]

MESSAGE_CHARS = 300
"""How much of the upstream's own words is passed on: enough for a reason, not for a page."""

BUSY = frozenset({500, 502, 503, 504, 529})
_FAULTS = {502: Fault.UPSTREAM, 503: Fault.OVERLOADED, 504: Fault.UPSTREAM, 529: Fault.OVERLOADED}
"""As in ``zai_errors.py``: a plain 500 may be the request's own doing."""
_RATE_WORDS = ("too many requests", "concurrency", "rate limit", "rate_limit")


class _Reason(msgspec.Struct):
    """The fields that have been seen to carry the reason, in the order in which they are believed."""

    error: msgspec.Raw = msgspec.Raw()
    detail: msgspec.Raw = msgspec.Raw()
    message: msgspec.Raw = msgspec.Raw()
    msg: msgspec.Raw = msgspec.Raw()
    code: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Reason).decode
_decode_scalar = msgspec.json.Decoder(str | int | float | bool | None).decode


def value_text(raw: bytes | msgspec.Raw) -> str:
    """A JSON string or number as text; ``""`` for anything else."""
    try:
        value = _decode_scalar(raw)
    except msgspec.DecodeError:
        return ""
    return "" if value is None or isinstance(value, bool) else str(value)


def reason(raw: bytes | msgspec.Raw, depth: int = 3) -> tuple[str, str]:
    """(code, text) of an error value: a string, or an object that nests one at most ``depth`` deep."""
    text = value_text(raw)
    if text or not depth:
        return "", text
    try:
        fields = _decode(raw)
    except msgspec.DecodeError:
        return "", ""
    code = value_text(fields.code)
    for inner in (fields.error, fields.detail, fields.message, fields.msg):
        inner_code, text = reason(inner, depth - 1) if bytes(inner) else ("", "")
        code = code or inner_code
        if text:
            break
    return code, text


def status_error(upstream: str, status: int, code: str, text: str, retry_after: float | None) -> UpstreamError:
    """The error for an upstream's ``status``; ``code`` and ``text`` are its own words, ``""`` where it gave none."""
    words = f": {_line(text)}" if text.strip() else ""
    own_code = code or str(status)
    if status == 429 or any(word in text.lower() for word in _RATE_WORDS):
        return UpstreamError(
            f"{upstream} limits its use{words}",
            status=429,
            type="rate_limit_error",
            code="rate_limit_exceeded",
            retry_after=retry_after,
            retryable=True,
            upstream_code=own_code,
            fault=Fault.THROTTLED,
        )
    if status == 401:
        # 502, not 401: it is the gateway's credential that was refused, and the client's own key is fine.
        return UpstreamError(
            f"{upstream} refused the credential{words}",
            type="authentication_error",
            code="upstream_authentication",
            upstream_code=own_code,
            fault=Fault.REFUSED,
        )
    if status == 403:
        return UpstreamError(
            f"{upstream} refused access{words}",
            type="permission_error",
            code="upstream_forbidden",
            retry_after=retry_after,
            upstream_code=own_code,
        )
    if status in {400, 413, 422}:
        return UpstreamError(
            f"{upstream} did not accept the request{words}",
            status=400,
            type="invalid_request_error",
            code="upstream_invalid_request",
            upstream_code=own_code,
        )
    busy = status in BUSY
    return UpstreamError(
        f"{upstream} failed ({status}){words}" if status != 200 else f"{upstream} failed{words}",
        status=503 if status in {503, 529} else 502,
        retry_after=retry_after,
        retryable=busy,
        upstream_code=own_code,
        fault=_FAULTS.get(status, Fault.REQUEST),
    )


def _line(text: str) -> str:
    """The upstream's words, fit for one line of a message."""
    return " ".join(text.split())[:MESSAGE_CHARS]
