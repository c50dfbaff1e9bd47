"""``ztoapi models``: the configured models and where they go. Asks no upstream."""

import argparse
import json

import msgspec

from ztoapi.cli.options import load_config

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Print them; returns 0. Raises ConfigError."""
    routes = load_config(args).config.routes
    if args.json:
        print(json.dumps(msgspec.to_builtins(routes), indent=2))
        return 0
    for route in routes:
        print(f"{route.public}  {route.platform}:{route.upstream}")
    return 0
