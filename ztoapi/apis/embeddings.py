"""Embeddings requests, which go to the upstream as they are.

https://platform.openai.com/docs/api-reference/embeddings
"""

import msgspec

from ztoapi.apis.native import NativeReader, NativeRequest, decode_fields, rename
from ztoapi.dialects.collect import Collector
from ztoapi.dialects.lenient import read_usage
from ztoapi.dialects.reader import Usage
from ztoapi.dialects.translate import Endpoint
from ztoapi.dialects.zai_errors import read_error
from ztoapi.errors import ApiError, Failure, UpstreamError, malformed

__all__ = ["Embeddings", "EmbeddingsRequest"]


class EmbeddingsRequest(NativeRequest):
    """A request; its response has no tokens."""

    __slots__ = ()

    generates = False


class Embeddings:
    """Implements :class:`~ztoapi.apis.native.NativeAPI` for one request."""

    endpoint: Endpoint = "embeddings"
    lines = b""

    def reader(self, model: str | None) -> NativeReader:
        return _RefusingReader()

    def collector(self) -> Collector:
        return Collector()

    def whole(self, body: bytes, model: str | None) -> tuple[bytes, Usage | None]:
        try:
            fields, _ = decode_fields(body)
            if "data" not in fields:
                raise read_error(body, 200)
            return rename(body, model) or body, read_usage(fields.get("usage", b"{}"))
        except (msgspec.DecodeError, RecursionError) as error:
            raise malformed("a list of embeddings", error) from error

    def explain(self, error: ApiError) -> None:
        pass

    def fail(self, error: ApiError) -> bytes:
        raise AssertionError("embeddings are not streamed")


class _RefusingReader(NativeReader):
    """Refuses an event stream."""

    def feed(self, block: bytes) -> bytes:
        self.error = UpstreamError("the upstream sent a stream in place of embeddings", Failure.UNEXPECTED)
        return b""
