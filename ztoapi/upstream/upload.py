"""The body of a request that is written in parts, at the pace of the slower of client and upstream."""

from typing import Protocol

__all__ = ["Upload"]


class Upload(Protocol):
    """The writer of one body; it calls ``write`` of the :class:`~ztoapi.upstream.client.UpstreamCall`."""

    @property
    def chunked(self) -> bool:
        """Whether the body goes out in HTTP chunks, as the head of the request has it."""

    def on_writable(self) -> None:
        """The upstream takes parts of the body: the request's head has been sent, or there is room again."""

    def on_full(self) -> None:
        """The upstream is slow: no more parts until ``on_writable``."""
