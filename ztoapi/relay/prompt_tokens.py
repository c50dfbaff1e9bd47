"""The tokens of a prompt: the estimate before the response, corrected by what responses report."""

from functools import partial

from ztoapi.apis.native import NativeRequest
from ztoapi.apis.tokens import Calibration, native_weight, prompt_weight
from ztoapi.dialects.request import ChatRequest
from ztoapi.server.exchange import Exchange

__all__ = ["PromptTokens"]


class PromptTokens:
    """Estimates prompts, for all client APIs of a worker."""

    def __init__(self) -> None:
        self._calibration = Calibration()

    def estimate(self, request: ChatRequest) -> int:
        """Returns the estimate for a request."""
        return self._calibration.tokens(request.model, prompt_weight(request))

    def estimate_and_compare(self, request: ChatRequest, exchange: Exchange) -> int:
        """Returns the estimate for the request of ``exchange``, and corrects later ones by its usage."""
        return self._compare_later(request.model, prompt_weight(request), exchange)

    def estimate_native(self, request: NativeRequest, exchange: Exchange) -> int:
        """Same as :meth:`estimate_and_compare`, for a request that is not translated."""
        return self._compare_later(request.model, native_weight(request.fields), exchange)

    def _compare_later(self, model: str, weight: int, exchange: Exchange) -> int:
        exchange.on_finish(partial(self._compare, model, weight))
        return self._calibration.tokens(model, weight)

    def _compare(self, model: str, weight: int, exchange: Exchange) -> None:
        usage = exchange.record.usage
        if usage is not None:
            self._calibration.note(model, weight, usage.prompt_tokens)
