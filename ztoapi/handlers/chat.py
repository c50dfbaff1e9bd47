"""POST /v1/chat/completions."""

from ztoapi.dialects.request import ChatRequest, decode_large_request, decode_request
from ztoapi.relay.completions import Completions
from ztoapi.server.exchange import Exchange
from ztoapi.server.large_bodies import LargeBodies
from ztoapi.wire.limits import LARGE_BODY_BYTES, LARGE_CHAT_BODY_BYTES

__all__ = ["ChatHandler"]


class ChatHandler:
    """Serves chat requests by ``completions``. ``default_stream`` is the value of ``stream`` for requests without
    it."""

    def __init__(self, completions: Completions, bodies: LargeBodies, *, default_stream: bool) -> None:
        self._completions = completions
        self._bodies = bodies
        self._default_stream = default_stream

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        body = exchange.request_body
        size = len(body)
        if size <= LARGE_BODY_BYTES:
            request = decode_request(body)
            stream = self._default_stream if request.stream is None else request.stream
            self._completions.serve(exchange, request, exchange, stream=stream)
        elif size <= LARGE_CHAT_BODY_BYTES:
            self._serve_large(exchange, decode_request(body))
        else:
            self._bodies.decode(exchange, decode_large_request, self._serve_large)

    def _serve_large(self, exchange: Exchange, request: ChatRequest) -> None:
        stream = self._default_stream if request.stream is None else request.stream
        self._completions.serve(exchange, request, exchange, stream=stream, large=request.is_large)
