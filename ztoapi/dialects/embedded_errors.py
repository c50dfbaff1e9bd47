"""Decides whether an object in a successful response is an error. Events and whole responses follow this one rule.

A non-empty ``error`` is one always. Beside choices nothing else is. Without choices, servers report errors in many
flat shapes, which ``reports.py`` reads: a code of failure, ``detail``, ``errors``, a type or status that is an error,
or one of these in ``data``.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from ztoapi.dialects.error_status import effective_status
from ztoapi.dialects.lenient import is_empty
from ztoapi.dialects.reports import Report
from ztoapi.dialects.web_errors import value_text

__all__ = ["reports_error"]

_USUAL: Final = frozenset(
    ("id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier")
)
"""Fields of a chunk or a completion."""
_CODES: Final = ("code", "errorcode", "errcode", "errno")
_STATES: Final = ("status", "statuscode", "type", "errortype", "object")
_TEXTS: Final = ("message", "msg", "errormessage", "errormsg", "errmsg", "errordescription")
_ALONE: Final = ("detail", "errors")
"""Fields that only errors have."""
_SUCCESSES: Final = frozenset(("0", "ok", "success", "succeeded", "true"))
"""Codes that report success, beside the statuses from 200 to 299."""
_FAILURES: Final = frozenset(("error", "failed", "failure", "fail"))
"""Types and states of an error."""
_MAX_DEPTH: Final = 3

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def reports_error(fields: Mapping[str, msgspec.Raw], *, has_choices: bool) -> bool:
    """Whether ``fields`` report an error; ``has_choices`` is whether they contain any choice."""
    if "error" in fields and not is_empty(fields["error"]):
        return True
    return not has_choices and _is_flat_error(fields, 0)


def _is_flat_error(fields: Mapping[str, msgspec.Raw], depth: int) -> bool:
    if fields.keys() <= _USUAL:
        return value_text(fields["object"]) in _FAILURES if "object" in fields else False
    spelled = {name.lower().replace("_", "").replace("-", ""): value for name, value in fields.items()}
    if any(name in spelled and not is_empty(spelled[name]) for name in _ALONE):
        return True
    has_text = any(name in spelled for name in _TEXTS)
    if has_text and bytes(spelled.get("success", b"")) == b"false":
        return True
    if any(_is_failing_code(value_text(spelled[name]), has_text) for name in _CODES if name in spelled):
        return True
    if any(_is_failing_state(value_text(spelled[name]), has_text) for name in _STATES if name in spelled):
        return True
    data = bytes(spelled.get("data", b""))
    if depth == _MAX_DEPTH or not data.startswith(b"{"):
        return False
    nested = _fields(data)
    return "choices" not in nested and (not is_empty(nested.get("error", b"")) or _is_flat_error(nested, depth + 1))


def _is_failing_code(code: str, has_text: bool) -> bool:
    """Whether a code is one of a failure. A code that is not an HTTP status counts only together with a message."""
    if not code or code.lower() in _SUCCESSES:
        return False
    if len(code) == 3 and code.isdecimal():
        return code >= "400" or (has_text and code[0] != "2")
    return has_text


def _is_failing_state(state: str, has_text: bool) -> bool:
    """Whether a type or status is one of an error. Most of them, such as ``completed``, are not."""
    if state.lower() in _FAILURES or (len(state) == 3 and state.isdecimal() and state >= "400"):
        return True
    return has_text and effective_status(Report((state,)), 0) >= 400
