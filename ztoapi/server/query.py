"""Parameters in the query of a request."""

from urllib.parse import parse_qs

from ztoapi.errors import ApiError
from ztoapi.server.exchange import Exchange

__all__ = ["read_query", "whole_number"]


def read_query(exchange: Exchange) -> dict[str, str]:
    """Returns the parameters by name; the last of equal names."""
    query = exchange.request.query.decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(query).items()}


def whole_number(parameters: dict[str, str], name: str, default: int, *, low: int, high: int) -> int:
    """Returns the value of ``name``. Raises ApiError unless it is a whole number from ``low`` to ``high``."""
    text = parameters.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and low <= int(text) <= high):
        raise ApiError(f"{name} must be a whole number from {low} to {high}", code="invalid_value", param=name)
    return int(text)
