"""POST /v1/embeddings.

https://platform.openai.com/docs/api-reference/embeddings
"""

from ztoapi.apis.embeddings import Embeddings, EmbeddingsRequest
from ztoapi.dialects.field_errors import missing
from ztoapi.errors import ApiError
from ztoapi.relay.native import NativeEndpoints
from ztoapi.server.exchange import Exchange

__all__ = ["EmbeddingsHandler"]


class EmbeddingsHandler:
    """Passes requests on to the ``endpoints`` of upstreams with OpenAI's format."""

    def __init__(self, endpoints: NativeEndpoints) -> None:
        self._endpoints = endpoints

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        request = EmbeddingsRequest(exchange.request.body)
        if "input" not in request.fields:
            raise missing("input", "send a string or a list of strings")
        if request.stream:
            raise ApiError("stream: embeddings are not streamed", code="unsupported_parameter", param="stream")
        if not self._endpoints.serves(request.model):
            raise ApiError(
                f"the platform of the model {request.model!r} has no embeddings: name a model of a platform with "
                "OpenAI's format",
                code="unsupported_model",
                param="model",
            )
        self._endpoints.serve(exchange, request, Embeddings())
