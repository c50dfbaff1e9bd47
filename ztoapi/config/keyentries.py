"""Creates, replaces and describes the keys of the key file, for ``ztoapi keys`` and the dashboard."""

import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from ztoapi.config.keyfile import (
    add_key,
    read_budgets,
    read_expiry,
    read_limits,
    read_models,
    read_name,
    read_priority,
    replace_key,
)
from ztoapi.config.keys import NewKey, new_key
from ztoapi.config.model import ClientKey, KeyBudgets, TrafficLimits
from ztoapi.config.sources import Problems, Setting
from ztoapi.errors import UsageError

__all__ = ["KEY_FIELDS", "create_key", "key_entry", "key_limits", "key_state", "rotate_key"]

KEY_FIELDS: Final = ("models", "expires", "priority", *TrafficLimits.__struct_fields__, *KeyBudgets.__struct_fields__)
"""What a new key may have besides its name."""
_TIME_FROM_NOW = re.compile(r"([0-9]{1,4})([hdw])")
_HOURS: Final = {"h": 1, "d": 24, "w": 168}


def create_key(path: Path, name: Setting, fields: Mapping[str, Setting], now: datetime.datetime) -> NewKey:
    """Adds a key to the file at ``path``, which it creates if it does not exist. ``fields`` are those of KEY_FIELDS
    that are set. Raises ConfigError, OSError."""
    problems = Problems()
    read_name(name, problems)
    entry: dict[str, object] = {}
    if "models" in fields:
        entry["models"] = list(read_models(fields["models"], problems))
    if "expires" in fields:
        entry["expires"] = _expiry(fields["expires"], now, problems)
    if "priority" in fields:
        entry["priority"] = read_priority(fields["priority"], problems)
    entry |= _values(read_limits(fields, problems), read_budgets(fields, problems))
    if problems.lines:
        raise UsageError(tuple(problems.lines))
    key = new_key()
    add_key(path, str(name.value), {"id": key.id, "hash": key.hash, **entry})
    return key


def rotate_key(path: Path, name: str) -> NewKey:
    """Replaces the id and the hash of a key. Raises ConfigError, OSError."""
    key = new_key()
    replace_key(path, name, {"id": key.id, "hash": key.hash})
    return key


def key_entry(key: ClientKey, now: datetime.datetime) -> dict[str, object]:
    """Describes a key as JSON."""
    return {
        "name": key.name,
        "id": key.id,
        "state": key_state(key, now),
        "models": key.models or None,
        "expires": None if key.expires is None else key.expires.isoformat(),
        "limits": key_limits(key),
    }


def key_limits(key: ClientKey) -> dict[str, object]:
    """Returns the limits and budgets that are set."""
    return _values(key.limits, key.budgets)


def key_state(key: ClientKey, now: datetime.datetime) -> str:
    if key.revoked:
        return "revoked"
    return "expired" if key.expired(now.timestamp()) else "active"


def _values(limits: TrafficLimits, budgets: KeyBudgets) -> dict[str, object]:
    return {**msgspec.to_builtins(limits), **msgspec.to_builtins(budgets)}


def _expiry(setting: Setting, now: datetime.datetime, problems: Problems) -> datetime.datetime | None:
    """Returns the moment of a duration from now or of a date; None after a problem."""
    text = str(setting.value)
    if match := _TIME_FROM_NOW.fullmatch(text):
        expires: datetime.datetime | None = now + datetime.timedelta(hours=int(match[1]) * _HOURS[match[2]])
    elif text[:1].isdigit() and "-" in text:
        expires = read_expiry(setting, problems)
    else:
        problems.add(setting.where, "must be a duration such as 90d, 12h or 4w, or a date such as 2027-01-31")
        return None
    if expires is not None and expires <= now:
        problems.add(setting.where, "is in the past: choose a later time")
    return expires
