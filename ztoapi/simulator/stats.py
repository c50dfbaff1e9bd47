"""What the simulator has seen; ``/sim/stats`` shows it, tests and load tests read it."""

from collections import Counter
from typing import Final

import msgspec

from ztoapi.server.exchange import Exchange

__all__ = ["Stats"]

_BODY_BYTES: Final = 65536
"""A longer last body is left out of the statistics."""
_MODELS: Final = 1000
"""Model strings counted by name; later ones count as "other"."""


class Stats:
    """Counts of this process since its start or the last reset."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.requests = 0
        self.by_model: Counter[str] = Counter()
        self.cancels = 0
        self.open_streams = 0
        self.peak_concurrency = 0
        self._last: dict[str, object] = {}

    def begin(self, exchange: Exchange, model: str) -> int:
        """A chat request has come; returns how many came for this model string, this one included."""
        self.requests += 1
        self.open_streams += 1
        self.peak_concurrency = max(self.peak_concurrency, self.open_streams)
        key = model if model in self.by_model or len(self.by_model) < _MODELS else "other"
        self.by_model[key] += 1
        exchange.on_gone = self._count_cancel
        exchange.on_finish = self._count_end
        request = exchange.request
        body = bytes(request.body)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers.items()}
        if "authorization" in headers:
            headers["authorization"] = "..." + headers["authorization"][-4:]
        self._last = {
            "path": request.path,
            "headers": headers,
            "body_bytes": len(body),
            "body": msgspec.Raw(body) if len(body) <= _BODY_BYTES else None,
        }
        return self.by_model[key]

    def _count_cancel(self) -> None:
        self.cancels += 1

    def _count_end(self) -> None:
        self.open_streams -= 1

    def shown(self) -> dict[str, object]:
        return {
            "requests": self.requests,
            "by_model": dict(self.by_model),
            "cancels": self.cancels,
            "open_streams": self.open_streams,
            "peak_concurrency": self.peak_concurrency,
            "last_request": self._last,
        }
