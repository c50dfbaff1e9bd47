"""POST /v1/embeddings.

https://platform.openai.com/docs/api-reference/embeddings
"""

from ztoapi.apis.embeddings import Embeddings, EmbeddingsRequest
from ztoapi.dialects.field_errors import missing
from ztoapi.dialects.request import read_body
from ztoapi.errors import ApiError
from ztoapi.relay.native import NativeEndpoints
from ztoapi.server.exchange import Exchange
from ztoapi.server.large_bodies import LargeBodies
from ztoapi.wire.limits import EMBEDDING_VALUES, LARGE_CHAT_BODY_BYTES

__all__ = ["EmbeddingsHandler"]


class EmbeddingsHandler:
    """Passes requests on to the ``endpoints`` of upstreams with OpenAI's format."""

    def __init__(self, endpoints: NativeEndpoints, bodies: LargeBodies) -> None:
        self._endpoints = endpoints
        self._bodies = bodies

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        self._bodies.decode(exchange, _read, self._serve, LARGE_CHAT_BODY_BYTES)

    def _serve(self, exchange: Exchange, request: EmbeddingsRequest) -> None:
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


def _read(body: bytes | bytearray) -> EmbeddingsRequest:
    return EmbeddingsRequest(*read_body(body, EMBEDDING_VALUES))
