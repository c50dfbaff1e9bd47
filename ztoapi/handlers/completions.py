"""POST /v1/completions: OpenAI's legacy completions API.

https://platform.openai.com/docs/api-reference/completions
"""

from collections.abc import Callable

from ztoapi.apis.completions import CompletionRequest, CompletionWriter
from ztoapi.dialects.capabilities import ModelCapabilities
from ztoapi.relay.completions import Completions
from ztoapi.relay.translated_response import TranslatedResponse
from ztoapi.server.exchange import Exchange

__all__ = ["CompletionsHandler"]


class CompletionsHandler:
    """Serves legacy completions by ``completions``. ``find`` returns the capabilities of a requested model, ``next_id``
    unique ids, ``clock`` Unix seconds."""

    def __init__(
        self,
        completions: Completions,
        find: Callable[[str], ModelCapabilities],
        next_id: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._completions = completions
        self._find = find
        self._next_id = next_id
        self._clock = clock

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        request = CompletionRequest(exchange.request.body)
        writer = CompletionWriter(
            request.model, f"cmpl-{self._next_id()}", int(self._clock()), include_usage=request.include_usage
        )
        self._completions.serve(
            exchange,
            request.chat(self._find(request.model)),
            TranslatedResponse(exchange, writer),
            stream=request.stream,
        )
