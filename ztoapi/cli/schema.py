"""``ztoapi schema``: prints the JSON Schema of ``ztoapi.toml``."""

import argparse
import json

from ztoapi.config.schema import make_schema

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:  # noqa: ARG001 - the command has no options
    """Prints it; returns 0."""
    print(json.dumps(make_schema(), indent=2))
    return 0
