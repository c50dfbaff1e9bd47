"""POST /v1/responses and /v1/responses/input_tokens: OpenAI's Responses API.

https://platform.openai.com/docs/api-reference/responses
"""

from collections.abc import Callable

import msgspec

from ztoapi.apis.responses.errors import error_body
from ztoapi.apis.responses.events import ResponseWriter
from ztoapi.apis.responses.request import ResponsesRequest
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities
from ztoapi.errors import ApiError
from ztoapi.relay.completions import Completions
from ztoapi.relay.prompt_tokens import PromptTokens
from ztoapi.relay.sessions import session_of
from ztoapi.relay.translated_response import TranslatedResponse
from ztoapi.server.exchange import Exchange
from ztoapi.server.responses import error_headers

__all__ = ["ResponsesHandler", "responses_errors"]

_encode = msgspec.json.Encoder().encode


class _Count(msgspec.Struct):
    input_tokens: int
    object: str = "response.input_tokens"


class ResponsesHandler:
    """Serves requests of the Responses API by ``completions``.

    ``find`` returns the capabilities of a requested model, ``next_id`` unique ids, ``clock`` Unix seconds; ``tokens``
    estimates the tokens of prompts.
    """

    def __init__(
        self,
        completions: Completions,
        find: Callable[[str], ModelCapabilities],
        tokens: PromptTokens,
        next_id: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._completions = completions
        self._find = find
        self._tokens = tokens
        self._next_id = next_id
        self._clock = clock

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        response = ResponsesRequest(exchange.request.body)
        request, context = response.chat(self._find(response.model))
        writer = ResponseWriter(context, self._next_id(), self._clock)
        self._tokens.estimate_and_compare(request, exchange)
        key = response.session_key
        self._completions.serve(
            exchange,
            request,
            TranslatedResponse(exchange, writer),
            stream=response.stream,
            session=key.encode() if key else session_of(exchange.request.headers),
        )

    def handle_count(self, exchange: Exchange) -> None:
        """Responds with the estimated number of tokens of an input. Raises ApiError for an invalid request."""
        response = ResponsesRequest(exchange.request.body, counts=True)
        exchange.record.model = response.model
        request, _ = response.chat(UNKNOWN)
        exchange.respond(200, _encode(_Count(self._tokens.estimate(request))))


def responses_errors(error: ApiError, _request_id: str) -> tuple[int, bytes, bytes]:
    """The format of errors: OpenAI's, with the type that Codex reads."""
    return error.status, error_headers(error), error_body(error)
