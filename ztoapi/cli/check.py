"""``ztoapi check``: validates the configuration, and prints each effective value with its source.

It imports the gateway, which takes most of its time: an upgrade relies on it to find a version that is not complete
(:mod:`ztoapi.server.upgrade`).
"""

import argparse
import json
from collections.abc import Iterator

import msgspec

from ztoapi.cli.options import load_config
from ztoapi.cli.serve import check_packages
from ztoapi.config.model import Secret

__all__ = ["run"]

_NAMED = {"platforms": "id", "routes": "public", "keys": "name"}
"""Lists whose entries have a name, with the field of the name; ``Loaded.sources`` uses it in paths."""


def run(args: argparse.Namespace) -> int:
    """Prints the effective configuration; returns 0. Raises ConfigError with all problems."""
    loaded = load_config(args)
    check_packages(loaded.config)
    config: dict[str, object] = msgspec.to_builtins(loaded.config, enc_hook=_mask)
    values = dict(_rows(config))
    if args.json:
        sources = {path: _source(path, loaded.sources) for path in values}
        print(json.dumps({"config": config, "sources": sources}, indent=2))
        return 0
    for path, value in values.items():
        print(f"{path} = {json.dumps(value)}  # {_source(path, loaded.sources)}")
    for warning in loaded.config.warnings:
        print(f"warning: {warning}")
    print("the configuration is valid")
    return 0


def _mask(value: object) -> str:
    assert isinstance(value, Secret)
    return "***"


def _rows(config: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Yields each value with its path."""
    for name, value in config.items():
        if name in _NAMED:
            assert isinstance(value, list | tuple)
            for entry in value:
                yield from _entries(f"{name}.{entry[_NAMED[name]]}", entry, _NAMED[name])
        elif isinstance(value, dict):
            yield from _entries(name, value, "")
        elif name != "warnings":
            yield name, value


def _entries(path: str, entry: dict[str, object], name: str) -> Iterator[tuple[str, object]]:
    for key, value in entry.items():
        if path == "limits" and isinstance(value, dict) and value:
            # A table in the file.
            yield from _entries(f"{path}.{key}", value, "")
        elif key != name:
            yield f"{path}.{key}", value


def _source(path: str, sources: dict[str, str]) -> str:
    """Returns the source recorded for a value or for its parent."""
    return sources.get(path) or sources.get(path.rpartition(".")[0]) or "default"
