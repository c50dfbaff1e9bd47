"""The tokens of a prompt: the estimate before the response, corrected by what responses report."""

from functools import partial

from ztoapi.apis.tokens import Calibration
from ztoapi.server.exchange import Exchange

__all__ = ["PromptTokens"]


class PromptTokens:
    """Estimates prompts by their weight (``apis/tokens.py``), for all client APIs of a worker."""

    def __init__(self) -> None:
        self._calibration = Calibration()

    def estimate(self, model: str, weight: int) -> int:
        """Returns the estimate for a prompt of ``weight``."""
        return self._calibration.tokens(model, weight)

    def estimate_and_compare(self, model: str, weight: int, exchange: Exchange) -> int:
        """Returns the estimate for the prompt of ``exchange``, and corrects later ones by its usage."""
        exchange.on_finish(partial(self._compare, model, weight))
        return self._calibration.tokens(model, weight)

    def _compare(self, model: str, weight: int, exchange: Exchange) -> None:
        usage = exchange.record.usage
        if usage is not None:
            self._calibration.note(model, weight, usage.prompt_tokens)
