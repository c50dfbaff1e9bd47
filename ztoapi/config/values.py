"""Turns what a user wrote into a value of the wanted type, or says what is wrong with it and what to write."""

import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Final

from ztoapi.config.sources import Found, Problems

__all__ = ["convert", "read_json_object", "split_list"]

_TRUE: Final = frozenset(("true", "1", "yes", "on"))
_FALSE: Final = frozenset(("false", "0", "no", "off"))

RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "port": (0, 65535),
    "workers": (1, 1024),
    "backlog": (1, 65535),
    "max_tries": (1, 10),
    "max_head_fields": (1, 10000),
    "max_request_line_bytes": (64, 1048576),
    "max_head_bytes": (256, 1048576),
    "max_idle_connections": (0, 1000000),
    "max_idle_per_origin": (0, 1000000),
}
"""Smallest and largest value of an option; by default numbers must be positive. Zero is allowed where it says off."""
ZERO_IS_OFF: Final = frozenset(("sse_keepalive_seconds", "drain_seconds", "linger_seconds"))


def convert(found: Found, option: str, wanted: object, problems: Problems) -> object:
    """``found`` as a value of type ``wanted`` (an annotation of ``config/model.py``); None after a problem."""
    if typing.get_origin(wanted) is types.UnionType:
        wanted = next(kind for kind in typing.get_args(wanted) if kind is not type(None))
    if typing.get_origin(wanted) is typing.Literal:
        return _choice(found, [str(choice) for choice in typing.get_args(wanted)], problems)
    if wanted is bool:
        return _boolean(found, problems)
    if wanted in (int, float):
        return _number(found, option, wanted is int, problems)
    if typing.get_origin(wanted) is tuple:
        value = found.value
        return tuple(value) if isinstance(value, list) else split_list(str(value), ",")
    if not isinstance(found.value, str):
        problems.add(found.where, "must be a string")
        return None
    return found.value


def split_list(text: str, separator: str = "|") -> tuple[str, ...]:
    """The parts of ``text``, without blanks and doubles, in their order."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(separator) if part.strip()))


def read_json_object(found: Found, problems: Problems) -> dict[str, object]:
    """A JSON object in a variable, or a table in TOML."""
    value = found.value
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            problems.add(found.where, f"must be a JSON object: {error}")
            return {}
    if not isinstance(value, dict):
        problems.add(found.where, 'must be a JSON object such as {"glm-4.6": "zai"}')
        return {}
    return value


def _choice(found: Found, choices: list[str], problems: Problems) -> str | None:
    value = str(found.value).lower()
    if value in choices:
        return value
    problems.add(found.where, f"must be one of {', '.join(choices)}")
    return None


def _boolean(found: Found, problems: Problems) -> bool | None:
    if isinstance(found.value, bool):
        return found.value
    value = str(found.value).strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    problems.add(found.where, "must be true or false")
    return None


def _number(found: Found, option: str, whole: bool, problems: Problems) -> float | None:
    low, high = RANGES.get(option, (0.0, math.inf))
    kind = "a whole number" if whole else "a number"
    try:
        if isinstance(found.value, bool):
            raise ValueError
        number = int(str(found.value)) if whole else float(str(found.value))
    except ValueError:
        problems.add(found.where, f"must be {kind}")
        return None
    if option in RANGES:
        good = low <= number <= high
        remedy = f"must be {kind} from {low:.0f} to {high:.0f}"
    else:
        good = number > 0 or (number == 0 and option in ZERO_IS_OFF)
        remedy = f"must be {kind} above 0{', or 0' if option in ZERO_IS_OFF else ''}"
    if not good or math.isinf(number) or math.isnan(number):
        problems.add(found.where, remedy)
        return None
    return number
