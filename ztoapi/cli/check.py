"""``ztoapi check``: is the configuration right, and what does it come to?"""

import argparse
import json

import msgspec

from ztoapi.cli.options import load_config
from ztoapi.config.model import Config, Secret

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Print the effective configuration; returns 0. Raises ConfigError with everything that is wrong."""
    loaded = load_config(args)
    shown = _shown(loaded.config)
    if args.json:
        print(json.dumps({"config": shown, "sources": loaded.sources}, indent=2))
        return 0
    for name, value in _flat(shown):
        source = loaded.sources.get(name)
        print(f"{name} = {json.dumps(value)}{f'  ({source})' if source else ''}")
    for warning in loaded.config.warnings:
        print(f"warning: {warning}")
    print("the configuration is valid")
    return 0


def _shown(config: Config) -> dict[str, object]:
    shown: dict[str, object] = msgspec.to_builtins(config, enc_hook=_mask)
    return shown


def _mask(value: object) -> str:
    assert isinstance(value, Secret)
    return "***"


def _flat(shown: dict[str, object]) -> list[tuple[str, object]]:
    lines: list[tuple[str, object]] = []
    for name, value in shown.items():
        if isinstance(value, dict):
            lines += [(f"{name}.{inner}", one) for inner, one in value.items()]
        elif name != "warnings":
            lines.append((name, value))
    return lines
