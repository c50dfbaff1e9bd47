"""Values in the query of a request."""

from urllib.parse import parse_qs

from ztoapi.errors import ApiError
from ztoapi.server.exchange import Exchange

__all__ = ["read_query", "whole_number"]


def read_query(exchange: Exchange) -> dict[str, str]:
    """By name; the last of several."""
    query = exchange.request.query.decode("utf-8", "replace")
    return {name: values[-1] for name, values in parse_qs(query).items()}


def whole_number(given: dict[str, str], name: str, default: int, *, low: int, high: int) -> int:
    """The value of ``name``. Raises ApiError where it is not a whole number from ``low`` to ``high``."""
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and low <= int(text) <= high):
        raise ApiError(f"{name} must be a whole number from {low} to {high}", param=name)
    return int(text)
