"""POST /v1/completions: OpenAI's legacy completions API.

https://platform.openai.com/docs/api-reference/completions
"""

from collections.abc import Callable

from ztoapi.apis.completions import CompletionRequest, CompletionWriter
from ztoapi.dialects.capabilities import ModelCapabilities
from ztoapi.dialects.request import ChatRequest
from ztoapi.relay.completions import Completions
from ztoapi.relay.translated_response import TranslatedResponse
from ztoapi.server.exchange import Exchange
from ztoapi.server.large_bodies import LargeBodies

__all__ = ["CompletionsHandler"]


class CompletionsHandler:
    """Serves legacy completions by ``completions``. ``find`` returns the capabilities of a requested model, ``next_id``
    unique ids, ``clock`` Unix seconds."""

    def __init__(
        self,
        completions: Completions,
        bodies: LargeBodies,
        find: Callable[[str], ModelCapabilities],
        next_id: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._completions = completions
        self._bodies = bodies
        self._find = find
        self._next_id = next_id
        self._clock = clock

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        self._bodies.decode(exchange, self._read, self._serve)

    def _read(self, body: bytes | bytearray) -> tuple[CompletionRequest, ChatRequest]:
        request = CompletionRequest(body)
        return request, request.chat(self._find(request.model))

    def _serve(self, exchange: Exchange, read: tuple[CompletionRequest, ChatRequest]) -> None:
        request, chat = read
        writer = CompletionWriter(
            request.model, f"cmpl-{self._next_id()}", int(self._clock()), include_usage=request.include_usage
        )
        self._completions.serve(
            exchange, chat, TranslatedResponse(exchange, writer), stream=request.stream, large=chat.is_large
        )
