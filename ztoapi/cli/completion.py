"""``ztoapi completion``: prints the completions for a shell, which ``docs/completions.py`` generates."""

import argparse
from pathlib import Path

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Prints the script; returns 0."""
    print(Path(__file__).with_name("completions").joinpath(f"ztoapi.{args.shell}").read_text("utf-8"), end="")
    return 0
