"""POST /v1/chat/completions."""

from ztoapi.dialects.request import decode_request
from ztoapi.relay.completions import Completions
from ztoapi.server.exchange import Exchange

__all__ = ["ChatHandler"]


class ChatHandler:
    """Serves chat requests by ``completions``. ``default_stream`` is the value of ``stream`` for requests without
    it."""

    def __init__(self, completions: Completions, *, default_stream: bool) -> None:
        self._completions = completions
        self._default_stream = default_stream

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        request = decode_request(exchange.request.body)
        stream = self._default_stream if request.stream is None else request.stream
        self._completions.serve(exchange, request, exchange, stream=stream)
