"""Converts settings to the types of their options, and reports values that are not valid."""

import json
import math
import re
import typing
from decimal import Decimal
from typing import Final

from ztoapi.config.model import Secret
from ztoapi.config.options import Declared, literals
from ztoapi.config.sources import Problems, Setting
from ztoapi.option import AMOUNT_PATTERN, TOKENS

__all__ = [
    "convert",
    "convert_number",
    "is_placeholder",
    "read_json_object",
    "read_list",
    "read_text",
    "secret_fault",
    "split_list",
    "token_fault",
]

_TRUE: Final = frozenset(("true", "1", "yes", "on"))
_FALSE: Final = frozenset(("false", "0", "no", "off"))
_QUOTES: Final = ("'", '"', "`")
_QUOTED: Final = "must not have quotes around it, which `docker run --env-file` passes on: write it without them"
_SCHEME: Final = "bearer "
_PLACEHOLDER: Final = re.compile(
    r"(?:sk[-_])?(?:(?:your|insert|paste|replace)[-_.].*|change[-_]?me.*|.*[-_]here|[.x*]{3,}|todo)|<.*>", re.IGNORECASE
)
"""The words of examples in place of a token, and a masked token."""
_AMOUNT: Final = re.compile(AMOUNT_PATTERN)
_EXPONENTS: Final = {"k": 3, "m": 6, "b": 9}


def convert(setting: Setting, option: Declared, problems: Problems) -> object:
    """Returns the value of ``option``; None after a problem."""
    if option.range is not None:
        return convert_number(setting, option, problems)
    if choices := literals(option.type):
        return _choice(setting, choices, problems)
    if option.type is bool:
        return _boolean(setting, problems)
    if typing.get_origin(option.type) is tuple:
        return _list(setting, option, problems)
    text = read_text(setting, problems)
    if text is None or not _matches(option, text):
        if text is not None:
            problems.add(setting.where, f"must be {option.values}")
        return None
    return Secret(text) if option.type is Secret else text


def convert_number(setting: Setting, option: Declared, problems: Problems) -> float | None:
    """Returns the value of a numeric ``option``; None after a problem."""
    assert option.range is not None
    low, high, _, exclusive = option.range
    try:
        if isinstance(setting.value, bool):
            raise ValueError
        number = _number(str(setting.value).strip(), option)
    except ValueError:
        number = math.nan
    # Written so that a NaN, which compares false with everything, is rejected.
    if not low <= number <= high or (exclusive and number == low):
        problems.add(setting.where, f"must be {option.values}")
        return None
    return number


def _number(text: str, option: Declared) -> float:
    """Returns the number; raises ValueError if there is none of the option's type."""
    assert option.range is not None
    if option.range.unit == TOKENS and (amount := _AMOUNT.fullmatch(text)) is not None:
        number = Decimal(amount[1]).scaleb(_EXPONENTS[amount[2].lower()])
        if number != int(number):
            raise ValueError
        return int(number)
    return int(text) if option.type is int else float(text)


def read_text(setting: Setting, problems: Problems) -> str | None:
    """Returns a printable string without the blanks around it; None after a problem."""
    if not isinstance(setting.value, str):
        problems.add(setting.where, "must be a string: put it in quotes")
        return None
    text = setting.value.strip()
    if not text or not text.isprintable():
        problems.add(setting.where, "must be one line of text without control characters")
        return None
    if text[0] in _QUOTES and text[0] == text[-1]:
        problems.add(setting.where, _QUOTED)
        return None
    return text


def secret_fault(text: str) -> str | None:
    """Returns the reason why ``text`` cannot be a key or token, without any part of it; None for one that can."""
    if text[:1] in _QUOTES or text[-1:] in _QUOTES:
        return _QUOTED
    if text[: len(_SCHEME)].lower() == _SCHEME:
        return "must not begin with the word Bearer, which belongs to the header field: write the rest alone"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "must be printable ASCII without blanks, because a header field carries it"
    return None


def is_placeholder(text: str) -> bool:
    """Returns whether ``text`` stands for a token in an example."""
    return _PLACEHOLDER.fullmatch(text) is not None


def token_fault(text: str) -> str | None:
    """Returns the reason why ``text`` cannot be a token for an upstream; None for one that can."""
    if is_placeholder(text):
        return "is the placeholder of an example: set your own, of Z.ai from https://z.ai/manage-apikey/apikey-list"
    return secret_fault(text)


def read_list(setting: Setting, problems: Problems, *, separator: str = "|") -> tuple[str, ...]:
    """Returns the strings of a TOML list, or the parts of a string between separators."""
    if isinstance(setting.value, list):
        if all(isinstance(part, str) for part in setting.value):
            return tuple(dict.fromkeys(part.strip() for part in setting.value if part.strip()))
    elif isinstance(setting.value, str):
        return split_list(setting.value, separator)
    problems.add(setting.where, f"must be a list of strings, or one string with {separator} between its parts")
    return ()


def split_list(text: str, separator: str = "|") -> tuple[str, ...]:
    """Returns the parts of ``text`` in order, without blanks, empty parts and duplicates."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(separator) if part.strip()))


def read_json_object(setting: Setting, problems: Problems, *, example: str) -> dict[str, object]:
    """Returns a TOML table, or the JSON object of a string; empty after a problem."""
    value = setting.value
    if isinstance(value, str):
        if value.strip()[:1] in _QUOTES:
            problems.add(setting.where, _QUOTED)
            return {}
        try:
            value = json.loads(value)
        except ValueError as error:
            problems.add(setting.where, f"must be a JSON object such as {example}: {error}")
            return {}
        except RecursionError:
            value = None
    if not isinstance(value, dict):
        problems.add(setting.where, f"must be a JSON object such as {example}")
        return {}
    return value


def _list(setting: Setting, option: Declared, problems: Problems) -> tuple[object, ...]:
    parts = read_list(setting, problems, separator=option.option.separator)
    if not all(_matches(option, part) for part in parts):
        problems.add(setting.where, f"each must be {option.option.form}")
    return tuple(map(Secret, parts)) if typing.get_args(option.type)[0] is Secret else parts


def _matches(option: Declared, text: str) -> bool:
    return option.option.pattern is None or re.fullmatch(option.option.pattern, text) is not None


def _choice(setting: Setting, choices: list[str], problems: Problems) -> str | None:
    value = str(setting.value).strip().lower()
    if value in choices:
        return value
    problems.add(setting.where, f"must be one of {', '.join(choices)}")
    return None


def _boolean(setting: Setting, problems: Problems) -> bool | None:
    if isinstance(setting.value, bool):
        return setting.value
    value = str(setting.value).strip().lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    problems.add(setting.where, "must be true or false (or 1, 0, yes, no, on, off)")
    return None
