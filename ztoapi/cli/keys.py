"""``ztoapi keys``: creates, shows, rotates and revokes the client keys of the key file."""

import argparse
import datetime
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from ztoapi.cli.table import print_table
from ztoapi.config.keyfile import (
    add_key,
    find_key,
    read_budgets,
    read_expiry,
    read_key_file,
    read_limits,
    read_models,
    read_name,
    read_priority,
    replace_key,
    revoke_key,
)
from ztoapi.config.keys import NewKey, new_key
from ztoapi.config.load import find_key_file
from ztoapi.config.model import ClientKey, KeyBudgets, TrafficLimits
from ztoapi.config.sources import Problems, Setting
from ztoapi.errors import ConfigError, UsageError
from ztoapi.server.context import ServerContext

__all__ = ["run"]

_HEADINGS: Final = ("NAME", "ID", "STATE", "MODELS", "EXPIRES", "LIMITS")
_TIME_FROM_NOW = re.compile(r"([0-9]{1,4})([hdw])")
_HOURS: Final = {"h": 1, "d": 24, "w": 168}


def run(args: argparse.Namespace) -> int:
    """Runs ``args.action``; returns 0. Raises ConfigError."""
    path, where = find_key_file(
        {"key_file": args.key_file}, environ=os.environ, directory=Path.cwd(), config_file=args.config
    )
    try:
        _act(args, path, where)
    except OSError as error:
        problem = f"{where}: {error.filename or path}: {error.strerror}: name a file in a directory that you may write"
        raise UsageError((problem,)) from error
    return 0


def _act(args: argparse.Namespace, path: Path, where: str) -> None:
    keys = _read(path, where) if args.action != "create" or path.exists() else ()
    now = datetime.datetime.fromtimestamp(int(ServerContext.wall_clock()), datetime.UTC)
    if args.action == "create":
        _create(args, path, now)
    elif args.action == "list":
        _list(args, keys, now)
    elif args.action == "show":
        _show(args, find_key(path, keys, args.name), now)
    elif args.action == "rotate":
        _rotate(args, path)
    else:
        _revoke(args, path)


def _read(path: Path, where: str) -> Sequence[ClientKey]:
    problems, warnings = Problems(), list[str]()
    keys = read_key_file(path, problems, warnings, where=where)
    if problems.lines:
        raise ConfigError(tuple(problems.lines))
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return keys


def _create(args: argparse.Namespace, path: Path, now: datetime.datetime) -> None:
    problems = Problems()
    settings = {
        option: Setting(value, f"--{option.replace('_', '-')}", "command line")
        for option, value in vars(args).items()
        if value is not None
    }
    name = args.name or args.named
    read_name(Setting(name, "NAME" if args.name else "--name", "command line"), problems)
    models = read_models(settings["models"], problems) if "models" in settings else ()
    expires = _expiry(settings["expires"], now, problems) if "expires" in settings else None
    priority = read_priority(settings["priority"], problems) if "priority" in settings else None
    limits = _limits(read_limits(settings, problems), read_budgets(settings, problems))
    if problems.lines:
        raise UsageError(tuple(problems.lines))
    key = new_key()
    entry: dict[str, object] = {"id": key.id, "hash": key.hash}
    if models:
        entry["models"] = list(models)
    if expires is not None:
        entry["expires"] = expires
    if priority is not None:
        entry["priority"] = priority
    add_key(path, name, {**entry, **limits})
    _print_key(key, name, path, f"{_loaded(path)}.")


def _rotate(args: argparse.Namespace, path: Path) -> None:
    key = new_key()
    replace_key(path, args.name, {"id": key.id, "hash": key.hash})
    _print_key(key, args.name, path, f"{_loaded(path)}; the old secret stops working then.")


def _loaded(path: Path) -> str:
    return f"A gateway that runs with --key-file {path} loads it within 2 seconds"


def _print_key(key: NewKey, name: str, path: Path, effect: str) -> None:
    print(key.text, flush=True)
    print(f"The key of {name} is printed only once; {path} contains its hash. {effect}", file=sys.stderr)


def _revoke(args: argparse.Namespace, path: Path) -> None:
    if revoke_key(path, args.name):
        print(f"Revoked {args.name} in {path}. {_loaded(path)}.", file=sys.stderr)
    else:
        print(f"{args.name} was already revoked.", file=sys.stderr)


def _list(args: argparse.Namespace, keys: Sequence[ClientKey], now: datetime.datetime) -> None:
    if args.json:
        print(json.dumps([_entry(key, now) for key in keys], indent=2))
        return
    print_table(_HEADINGS, (_row(key, now) for key in keys))


def _show(args: argparse.Namespace, key: ClientKey, now: datetime.datetime) -> None:
    if args.json:
        print(json.dumps({**_entry(key, now), "priority": key.priority}, indent=2))
        return
    rows = [*zip(_HEADINGS[:-1], _row(key, now), strict=False), ("PRIORITY", key.priority)]
    rows += [(name, str(value)) for name, value in _limits(key.limits, key.budgets).items()]
    print_table(("FIELD", "VALUE"), rows)


def _limits(limits: TrafficLimits, budgets: KeyBudgets) -> dict[str, object]:
    """Returns the limits and budgets that are set."""
    return {**msgspec.to_builtins(limits), **msgspec.to_builtins(budgets)}


def _entry(key: ClientKey, now: datetime.datetime) -> dict[str, object]:
    return {
        "name": key.name,
        "id": key.id,
        "state": _state(key, now),
        "models": key.models or None,
        "expires": None if key.expires is None else key.expires.isoformat(),
        "limits": _limits(key.limits, key.budgets),
    }


def _row(key: ClientKey, now: datetime.datetime) -> Sequence[str]:
    limits = _limits(key.limits, key.budgets)
    return (
        key.name,
        str(key.id),
        _state(key, now),
        ",".join(key.models) or "all",
        "never" if key.expires is None else key.expires.isoformat(),
        " ".join(f"{name}={value}" for name, value in limits.items()) or "none",
    )


def _state(key: ClientKey, now: datetime.datetime) -> str:
    if key.revoked:
        return "revoked"
    return "expired" if key.expired(now.timestamp()) else "active"


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
