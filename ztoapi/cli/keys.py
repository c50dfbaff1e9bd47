"""``ztoapi keys``: creates, shows, rotates and revokes the client keys of the key file."""

import argparse
import datetime
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ztoapi.cli.table import print_table
from ztoapi.config.advice import PricedModels
from ztoapi.config.keyentries import KEY_FIELDS, create_key, key_entry, key_limits, key_state, rotate_key
from ztoapi.config.keyfile import find_key, load_key, load_keys, revoke_key
from ztoapi.config.keys import NewKey
from ztoapi.config.load import find_key_file, load
from ztoapi.config.model import ClientKey
from ztoapi.config.sources import Setting
from ztoapi.errors import ConfigError, UsageError
from ztoapi.server.context import ServerContext

__all__ = ["run"]

_HEADINGS: Final = ("NAME", "ID", "STATE", "MODELS", "EXPIRES", "LIMITS")


def run(args: argparse.Namespace) -> int:
    """Runs ``args.action``; returns the exit code. Raises ConfigError."""
    if args.action == "budgets":
        # Importing its HTTP client takes time.
        from ztoapi.cli.budgets import show

        return show(args)
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
    warnings: list[str] = []
    keys = load_keys(path, warnings, where=where)
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    return keys


def _create(args: argparse.Namespace, path: Path, now: datetime.datetime) -> None:
    settings = {
        option: Setting(value, f"--{option.replace('_', '-')}", "command line")
        for option, value in vars(args).items()
        if value is not None and option in KEY_FIELDS
    }
    name = args.name or args.named
    key = create_key(path, Setting(name, "NAME" if args.name else "--name", "command line"), settings, now)
    _print_key(key, name, path, f"{_loaded(path)}.")
    for warning in _price_warnings(args, load_key(path, name)):
        print(f"warning: {warning}", file=sys.stderr)


def _price_warnings(args: argparse.Namespace, key: ClientKey) -> Sequence[str]:
    """Returns the warnings about models without a price, by the configuration of this directory if there is one."""
    try:
        config = load(
            {"key_file": args.key_file}, environ=os.environ, directory=Path.cwd(), config_file=args.config
        ).config
    except ConfigError:
        # The gateway may run with another configuration; `ztoapi check` reports the errors of this one.
        return ()
    return [*PricedModels(config).advice([key])]


def _rotate(args: argparse.Namespace, path: Path) -> None:
    _print_key(rotate_key(path, args.name), args.name, path, f"{_loaded(path)}; the old secret stops working then.")


def _loaded(path: Path) -> str:
    return f"A gateway with the key file {path} loads it within 2 seconds"


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
        print(json.dumps([key_entry(key, now) for key in keys], indent=2))
        return
    print_table(_HEADINGS, (_row(key, now) for key in keys))


def _show(args: argparse.Namespace, key: ClientKey, now: datetime.datetime) -> None:
    if args.json:
        print(json.dumps({**key_entry(key, now), "priority": key.priority}, indent=2))
        return
    rows = [*zip(_HEADINGS[:-1], _row(key, now), strict=False), ("PRIORITY", key.priority)]
    rows += [(name, str(value)) for name, value in key_limits(key).items()]
    print_table(("FIELD", "VALUE"), rows)


def _row(key: ClientKey, now: datetime.datetime) -> Sequence[str]:
    limits = key_limits(key)
    return (
        key.name,
        str(key.id),
        key_state(key, now),
        ",".join(key.models) or "all",
        "never" if key.expires is None else key.expires.isoformat(),
        " ".join(f"{name}={value}" for name, value in limits.items()) or "none",
    )
