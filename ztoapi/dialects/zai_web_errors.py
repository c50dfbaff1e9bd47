"""What chat.z.ai's refusals and reported errors mean to a client."""

from ztoapi.dialects.refusals import reason, status_error
from ztoapi.errors import UpstreamError

__all__ = ["empty", "refusal", "reported"]

_UPSTREAM = "chat.z.ai"


def refusal(status: int, content_type: bytes, body: bytes, retry_after: float | None = None) -> UpstreamError:
    """The error for an answer that is no event stream."""
    if b"html" in content_type.lower() or body.lstrip()[:1] == b"<":
        # The application answers in JSON; a page comes from the firewall before it.
        if status in {400, 401, 403, 405}:
            return _client_check(str(status))
        return status_error(_UPSTREAM, status, "", "", retry_after)
    code, text = reason(body)
    return reported(status, code, text, retry_after)


def reported(status: int, code: str, text: str, retry_after: float | None = None) -> UpstreamError:
    """The error for what the upstream says went wrong, in an answer or within a stream (status 200)."""
    if status == 426 or _names_client_check(code, text):
        return _client_check(code or str(status))
    if status == 404:
        return UpstreamError(
            "chat.z.ai does not know this model (or no longer answers at this address)",
            status=404,
            type="invalid_request_error",
            code="model_not_found",
            upstream_code=code or "404",
        )
    return status_error(_UPSTREAM, status, code, text, retry_after)


def _names_client_check(code: str, text: str) -> bool:
    words = f"{code} {text}".lower()
    if "captcha" in words or "signature" in words:
        return True
    return "client" in words and any(word in words for word in ("check", "version", "verif", "outdated", "update"))


def _client_check(code: str) -> UpstreamError:
    return UpstreamError(
        "chat.z.ai serves only its own web client and refused this one. Use the official API instead: "
        "https://api.z.ai with an API key (https://z.ai/manage-apikey/apikey-list).",
        code="upstream_client_check",
        upstream_code=code,
    )


def empty() -> UpstreamError:
    """The error for a stream that ends and has said nothing."""
    return UpstreamError("The upstream sent an empty answer", code="upstream_empty", retryable=True)
