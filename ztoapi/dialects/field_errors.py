"""Errors for clients about fields of a request: the field, the expected kind, the kind found, and OpenAI's error code.

msgspec's messages describe Python types (``Expected `bool | null`, got `str` - at `$.include_usage```). Codes:
``invalid_json`` is the gateway's own; the others are those of OpenAI's API.
"""

import re
import reprlib
from typing import Final

import msgspec

from ztoapi.errors import ApiError

__all__ = ["REMEDIES", "excerpt", "field_error", "invalid_json", "missing"]

REMEDIES: Final = {
    "model": 'send one, such as "model": "glm-5.3"; GET /v1/models lists the models',
    "messages": 'send the conversation as a list, such as [{"role": "user", "content": "Hello"}]',
}
"""The remedies for missing fields that all client APIs have."""
_EXPECTED: Final = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "array": "a list",
    "object": "an object",
}
_FOUND: Final = {
    **_EXPECTED,
    "bool": "a boolean",
    "int": "a number",
    "float": "a number with a fraction",
    "null": "null",
}
_PLACE: Final = re.compile(r" - at (?:`key` in )?`\$(.*)`$", re.DOTALL)
_KINDS: Final = re.compile(r"Expected `([^`]+)`, got `(\w+)`")
_ABSENT: Final = re.compile(r"Object missing required field `([^`]+)`")
_STEP: Final = re.compile(r"\[(\d+|\.\.\.)\]")
_BYTE: Final = re.compile(r" \(byte \d+\)")
_MALFORMED: Final = "JSON is malformed: "
_TRUNCATED: Final = "Input data was truncated"


class _Excerpts(reprlib.Repr):
    """Writes the beginnings of values."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = 80


excerpt: Final = _Excerpts().repr
"""Returns the beginning of a client's value as text for a message, however large the value is."""


def missing(field: str, remedy: str | None = None) -> ApiError:
    """Returns the error for an absent ``field``."""
    remedy = remedy or REMEDIES.get(field, "it is required")
    return ApiError(f"{field} is missing: {remedy}", code="missing_required_parameter", param=field)


def invalid_json(body: bytes | bytearray, error: Exception) -> ApiError:
    """Returns the error for a request ``body`` that a decoder has rejected."""
    if not body.strip():
        return ApiError("the request body is empty: send a JSON object", code="invalid_json")
    return ApiError(f"the request body is not valid JSON: {_reason(error)}", code="invalid_json")


def field_error(field: str, error: Exception, *, dotted: bool = False, whole: str = "the request body") -> ApiError:
    """Returns the error for a ``field`` that msgspec has rejected; the empty name stands for the ``whole`` document.

    A place within the field follows its name, as in ``messages[0].role``, or ``messages.0.role`` if ``dotted``.
    """
    text = str(error)
    match = _PLACE.search(text)
    if match is not None:
        text = text[: match.start()]
        place = match[1] if not dotted else _STEP.sub(r".\1", match[1])
        field = (field + place).lstrip(".")
    if (absent := _ABSENT.fullmatch(text)) is not None:
        return missing(f"{field}.{absent[1]}".lstrip("."))
    place_name = field or whole
    if (kinds := _KINDS.fullmatch(text)) is not None:
        types = " or ".join(_EXPECTED.get(kind, kind) for kind in kinds[1].split(" | ") if kind != "null")
        message = f"{place_name} must be {types}, not {_FOUND.get(kinds[2], kinds[2])}"
        return ApiError(message, code="invalid_type", param=field or None)
    if isinstance(error, msgspec.ValidationError):
        return ApiError(
            f"{place_name} is not valid: {text.replace('`', '')}", code="invalid_value", param=field or None
        )
    reason = _BYTE.sub("", _reason(error))
    return ApiError(f"{place_name} is not valid JSON: {reason}", code="invalid_json", param=field or None)


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 (byte {error.start})"
    text = str(error)
    return "it ends too early" if text == _TRUNCATED else text.removeprefix(_MALFORMED)
