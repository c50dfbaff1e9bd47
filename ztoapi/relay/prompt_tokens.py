"""The tokens of a prompt: the estimate before the response, corrected by what responses report."""

from functools import partial

from ztoapi.apis.tokens import Calibration, prompt_weight
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
        weight = prompt_weight(request)
        exchange.on_finish(partial(self._compare, request.model, weight))
        return self._calibration.tokens(request.model, weight)

    def _compare(self, model: str, weight: int, exchange: Exchange) -> None:
        usage = exchange.record.usage
        if usage is not None:
            self._calibration.note(model, weight, usage.prompt_tokens)
