"""Prices of models, and the cost of a request. Amounts of money are whole nano-dollars: a millionth of the price of a
million tokens is exact in them, and 64 bits hold nine billion dollars."""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from ztoapi.config.model import ModelFacts

__all__ = ["NANOS_PER_DOLLAR", "Price", "PriceOf", "price_of"]

NANOS_PER_DOLLAR: Final = 1_000_000_000
_NANOS_PER_TOKEN: Final = 1_000
"""Of a price of one dollar per million tokens."""


class Price(NamedTuple):
    """The price of one token in nano-dollars. ``cached`` is that of a prompt's token in the upstream's cache."""

    input: float
    cached: float
    output: float

    def cost(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> int:
        """Returns the cost; 0 for counts of an upstream that make no sense."""
        cached_tokens = min(cached_tokens, input_tokens)
        fresh = input_tokens - cached_tokens
        return max(round(fresh * self.input + cached_tokens * self.cached + output_tokens * self.output), 0)


PriceOf: TypeAlias = Callable[[str], Price | None]
"""Returns the price of a public model; None if it is unknown."""


def price_of(facts: ModelFacts | None) -> Price | None:
    """Returns the price of a model of the catalogue; None if it is unknown. Without a price of their own cached tokens
    cost as much as others."""
    if facts is None or facts.input_price is None or facts.output_price is None:
        return None
    cached = facts.input_price if facts.cached_input_price is None else facts.cached_input_price
    return Price(facts.input_price * _NANOS_PER_TOKEN, cached * _NANOS_PER_TOKEN, facts.output_price * _NANOS_PER_TOKEN)
