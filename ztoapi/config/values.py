"""Turns what a user wrote into a value of the wanted type, or says what is wrong with it and what to write."""

import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Final

from ztoapi.config.model import Secret
from ztoapi.config.sources import Found, Problems

__all__ = ["convert", "read_json_object", "read_list", "read_text", "split_list"]

_TRUE: Final = frozenset(("true", "1", "yes", "on"))
_FALSE: Final = frozenset(("false", "0", "no", "off"))

_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "port": (0, 65535),
    "workers": (1, 1024),
    "backlog": (1, 65535),
    "max_in_flight": (1, 1000000),
    "max_queued": (0, 1000000),
    "gateways": (1, 10000),
    "max_tries": (1, 10),
    "retry_budget_percent": (0, 1000),
    "max_head_fields": (1, 10000),
    "max_request_line_bytes": (64, 1048576),
    "max_head_bytes": (256, 1048576),
    "max_event_bytes": (1024, 1073741824),
    "max_response_bytes": (1024, 1073741824),
    "max_body_bytes": (1024, 1073741824),
    "max_idle_connections": (0, 1000000),
    "max_idle_per_origin": (0, 1000000),
    **dict.fromkeys(("requests_per_second", "requests_per_minute", "burst", "tokens_per_minute"), (1, 100000000)),
}
"""Smallest and largest value of an option; of others by their unit, below. Rates are such that Redis, which has 53 bits
for a whole number, can count them exactly."""
_MAX_SECONDS: Final = 86400.0
"""A day. Whoever writes more means no limit, which there is not."""
_MAX_NUMBER: Final = 1073741824.0
_ZERO_IS_OFF: Final = frozenset(("sse_keepalive_seconds", "drain_seconds", "linger_seconds"))


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
    if wanted is Secret:
        text = read_text(found, problems)
        return None if text is None else Secret(text)
    if typing.get_origin(wanted) is tuple:
        return read_list(found, problems, separator=",")
    return read_text(found, problems)


def read_text(found: Found, problems: Problems) -> str | None:
    """A string that can be printed, without the blanks around it; None after a problem."""
    if not isinstance(found.value, str):
        problems.add(found.where, "must be a string: put it in quotes")
        return None
    text = found.value.strip()
    if not text or not text.isprintable():
        problems.add(found.where, "must be a line of text without control characters")
        return None
    return text


def read_list(found: Found, problems: Problems, *, separator: str = "|") -> tuple[str, ...]:
    """Strings: one with separators, or a TOML list."""
    if isinstance(found.value, list):
        if all(isinstance(one, str) for one in found.value):
            return tuple(dict.fromkeys(one.strip() for one in found.value if one.strip()))
    elif isinstance(found.value, str):
        return split_list(found.value, separator)
    problems.add(found.where, f"must be a list of strings, or one string with {separator} between its parts")
    return ()


def split_list(text: str, separator: str = "|") -> tuple[str, ...]:
    """The parts of ``text``, without blanks and doubles, in their order."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(separator) if part.strip()))


def read_json_object(found: Found, problems: Problems, *, example: str) -> dict[str, object]:
    """A JSON object in a variable, or a table in TOML."""
    value = found.value
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            problems.add(found.where, f"must be a JSON object such as {example}: {error}")
            return {}
        except RecursionError:
            value = None
    if not isinstance(value, dict):
        problems.add(found.where, f"must be a JSON object such as {example}")
        return {}
    return value


def _choice(found: Found, choices: list[str], problems: Problems) -> str | None:
    value = str(found.value).strip().lower()
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
    problems.add(found.where, "must be true or false (or 1, 0, yes, no, on, off)")
    return None


def _number(found: Found, option: str, whole: bool, problems: Problems) -> float | None:
    low, high = _RANGES.get(option, (0.0, _MAX_SECONDS if option.endswith("_seconds") else _MAX_NUMBER))
    kind = "a whole number" if whole else "a number"
    if option in _RANGES or option in _ZERO_IS_OFF:
        remedy = f"must be {kind} from {low:.0f} to {high:.0f}"
    else:
        remedy = f"must be {kind} above 0, up to {high:.0f}"
    if option == "workers":
        remedy += ", or auto for one for each usable core"
    elif option in _ZERO_IS_OFF:
        remedy += "; 0 turns it off"
    try:
        if isinstance(found.value, bool):
            raise ValueError
        number = int(str(found.value)) if whole else float(str(found.value))
    except ValueError:
        number = math.nan
    # Written so that a NaN, which compares false with everything, is refused.
    if not low <= number <= high or (number == 0 and option not in _RANGES and option not in _ZERO_IS_OFF):
        problems.add(found.where, remedy)
        return None
    return number
