"""The memory that the requests of one worker's clients may use together."""

from collections.abc import Iterator

from ztoapi.errors import ApiError, Ending
from ztoapi.telemetry.samples import Sample

__all__ = ["BufferBudget"]


class BufferBudget:
    """Bytes that the connections of one worker buffer: bodies, incomplete heads and pipelined requests.

    Each connection adds what it buffers to ``used``. While the budget is spent, a request that needs more of it gets
    503, and other reading pauses. Requests below ``UNCOUNTED_BYTES`` are not affected.
    """

    __slots__ = ("max_bytes", "refused", "used")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used = 0
        self.refused = 0

    @property
    def spent(self) -> bool:
        """Whether more is buffered than ``max_bytes``."""
        return self.used > self.max_bytes

    def refusal(self) -> ApiError:
        """Returns the error for a request that does not fit."""
        self.refused += 1
        return ApiError(
            "the gateway has no memory left for request bodies: try again later",
            status=503,
            type="server_error",
            code="overloaded",
            retry_after=1.0,
            ending=Ending.REJECTED,
        )

    def samples(self) -> Iterator[Sample]:
        """Yields the metrics."""
        yield Sample("ztoapi_client_buffered_bytes", self.used)
        yield Sample("ztoapi_client_buffers_refused", self.refused)
