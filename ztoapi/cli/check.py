"""``ztoapi check``: is the configuration right, what does it come to, and where is each value from?"""

import argparse
import json
from collections.abc import Iterator

import msgspec

from ztoapi.cli.options import load_config
from ztoapi.config.model import Config, Secret

__all__ = ["run"]

_NAMED = {"platforms": "id", "routes": "public", "keys": "name"}
"""Lists whose entries have a name, which is how ``Loaded.sources`` calls them."""


def run(args: argparse.Namespace) -> int:
    """Print the effective configuration; returns 0. Raises ConfigError with everything that is wrong."""
    loaded = load_config(args)
    shown = _shown(loaded.config)
    values = dict(_flat(shown))
    if args.json:
        sources = {path: _source(path, loaded.sources) for path in values}
        print(json.dumps({"config": shown, "sources": sources}, indent=2))
        return 0
    for path, value in values.items():
        print(f"{path} = {json.dumps(value)}  # {_source(path, loaded.sources)}")
    for warning in loaded.config.warnings:
        print(f"warning: {warning}")
    print("the configuration is valid")
    return 0


def _shown(config: Config) -> dict[str, object]:
    shown: dict[str, dict[str, object]] = msgspec.to_builtins(config, enc_hook=_mask)
    limits = shown["limits"]
    # By the name that it has in the file.
    shown["limits"] = {"global" if name == "everybody" else name: value for name, value in limits.items()}
    return {**shown}


def _mask(value: object) -> str:
    assert isinstance(value, Secret)
    return "***"


def _flat(shown: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Every single value with its path."""
    for name, value in shown.items():
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
            # A table of its own in the file.
            yield from _entries(f"{path}.{key}", value, "")
        elif key != name:
            yield f"{path}.{key}", value


def _source(path: str, sources: dict[str, str]) -> str:
    """Where a value is from: noted for itself, or for what it is a part of."""
    return sources.get(path) or sources.get(path.rpartition(".")[0]) or "default"
