"""The configured upstreams, ready for use: origin, target, tokens in turn, prebuilt request heads."""

import itertools

import httpx

from ztoapi import __version__
from ztoapi.config.model import Platform
from ztoapi.dialects.openai import KnownForms
from ztoapi.errors import UpstreamError
from ztoapi.upstream.client import UpstreamRequest
from ztoapi.upstream.transport import origin_of

__all__ = ["Upstream"]

_USER_AGENT = f"ztoapi/{__version__}"


class Upstream:
    """One platform. Requests take its tokens in turn, so that a second try uses another one where there is one."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.known_forms: KnownForms = {}
        url = httpx.URL(platform.chat_url)
        self._origin = origin_of(url)
        self._chat_target = url.raw_path
        self._base_target = httpx.URL(platform.base_url).raw_path.rstrip(b"/")
        tokens: list[str | None] = [token.reveal() for token in platform.tokens]
        if not tokens and platform.dialect == "openai":
            tokens.append(None)
        self._headers = itertools.cycle([_headers(token) for token in tokens])
        self._heads = itertools.cycle([self._head(token) for token in tokens])

    def __repr__(self) -> str:
        return f"<Upstream {self.platform.id} {self._origin.authority}>"

    def request(self, body: bytes | bytearray, *, path: str | None = None) -> UpstreamRequest:
        """A POST of ``body`` to the chat URL, or to ``path`` under the base URL. Raises UpstreamError without a
        token where one is needed."""
        target = self._chat_target if path is None else self._base_target + path.encode("ascii")
        head = next(self._heads, None)
        if head is None:
            raise self._no_token()
        return UpstreamRequest(self._origin, "POST", b"POST %b%b%d\r\n\r\n" % (target, head, len(body)), body)

    def headers(self) -> dict[str, str]:
        """Header fields for other requests to the platform; takes the next token. Raises UpstreamError."""
        headers = next(self._headers, None)
        if headers is None:
            raise self._no_token()
        return headers

    def _head(self, token: str | None) -> bytes:
        """What every request with ``token`` has between its target and its length."""
        lines = [" HTTP/1.1", f"host: {self._origin.authority}", "content-type: application/json"]
        lines += [f"{name}: {value}" for name, value in _headers(token).items()]
        return "\r\n".join([*lines, "content-length: "]).encode("ascii")

    def _no_token(self) -> UpstreamError:
        return UpstreamError(
            f"the gateway has no token for the platform {self.platform.id}: set "
            f"{self.platform.id.upper()}_TOKEN (or UPSTREAM_TOKEN for the default platform)",
            status=503,
            code="token_unavailable",
        )


def _headers(token: str | None) -> dict[str, str]:
    headers = {
        # Anything else would let the upstream compress, and so hold back, a stream.
        "accept-encoding": "identity",
        "accept": "application/json, text/event-stream",
        "accept-language": "en-US,en",
        "user-agent": _USER_AGENT,
    }
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return headers
