"""``ztoapi models``: lists the configured models and their routes, without requests to upstreams."""

import argparse
import json

import msgspec

from ztoapi.cli.options import load_config

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Prints the routes; returns 0. Raises ConfigError."""
    routes = load_config(args).config.routes
    if args.json:
        print(json.dumps(msgspec.to_builtins(routes), indent=2))
        return 0
    for route in routes:
        print(f"{route.public}  {route.platform}:{route.upstream}")
    return 0
