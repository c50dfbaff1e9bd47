"""The configured upstreams, ready for use: origin, target, tokens in turn, prebuilt request heads."""

import itertools
from collections.abc import Iterator

import httpx

from ztoapi import __version__
from ztoapi.config.model import Platform
from ztoapi.errors import UpstreamError
from ztoapi.upstream.client import UpstreamRequest
from ztoapi.upstream.transport import origin_of

__all__ = ["Upstream"]

_USER_AGENT = f"ztoapi/{__version__}"


class Upstream:
    """One platform. Requests take its tokens in turn, so that a second try uses another one where there is one."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        url = httpx.URL(platform.chat_url)
        self._origin = origin_of(url)
        self._chat_target = url.raw_path
        self._base_target = httpx.URL(platform.base_url).raw_path.rstrip(b"/")
        self._tokens: Iterator[str] = itertools.cycle([token.reveal() for token in platform.tokens])

    def __repr__(self) -> str:
        return f"<Upstream {self.platform.id} {self._origin.authority}>"

    def request(self, body: bytes | bytearray, *, stream: bool, path: str | None = None) -> UpstreamRequest:
        """A POST of ``body`` to the chat URL, or to ``path`` under the base URL. Raises UpstreamError without a
        token where one is needed."""
        target = self._chat_target if path is None else self._base_target + path.encode("ascii")
        head = b"POST %b HTTP/1.1\r\nhost: %b\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (
            target,
            self._origin.authority.encode("ascii"),
            "".join(f"{name}: {value}\r\n" for name, value in self.headers(stream=stream).items()).encode("ascii"),
            len(body),
        )
        return UpstreamRequest(self._origin, "POST", head, body)

    def headers(self, *, stream: bool) -> dict[str, str]:
        """Header fields of every request; takes the next token."""
        headers = {
            # Anything else would let the upstream compress, and so hold back, a stream.
            "accept-encoding": "identity",
            "accept": "text/event-stream" if stream else "application/json",
            "accept-language": "en-US,en",
            "user-agent": _USER_AGENT,
        }
        token = next(self._tokens, None)
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        elif self.platform.dialect != "openai":
            raise UpstreamError(
                f"the gateway has no token for the platform {self.platform.id}: set "
                f"{self.platform.id.upper()}_TOKEN (or UPSTREAM_TOKEN for the default platform)",
                status=503,
                code="token_unavailable",
            )
        return headers
