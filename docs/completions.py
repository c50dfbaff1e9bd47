"""Generates the completions of shells from the parser of the command line, with shtab."""

import argparse
from pathlib import Path
from typing import Final

import shtab

from ztoapi.cli.load import SCENARIOS
from ztoapi.cli.main import SHELLS, make_parser
from ztoapi.clients.table import clients
from ztoapi.config.keyfile import PRIORITIES
from ztoapi.config.options import config_options, literals

__all__ = ["DIRECTORY", "completions"]

DIRECTORY: Final = Path(__file__).resolve().parent.parent / "ztoapi" / "cli" / "completions"


def completions() -> dict[str, str]:
    """Returns the text of each file in :data:`DIRECTORY`, by its name."""
    parser = make_parser()
    choices = {option.name: literals(option.type) for option in config_options() if literals(option.type)}
    # The parser takes any word for these, so that a wrong one gets the command's own error.
    words = {
        ("ztoapi load", "name"): list(SCENARIOS),
        ("ztoapi connect", "name"): list(clients()),
        ("ztoapi keys create", "priority"): list(PRIORITIES),
    }
    for command in parser.parsers():
        for action in command._actions:
            if action.metavar == "FILE":
                action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab's own attribute
            elif (command.prog, action.dest) in words:
                action.choices = words[command.prog, action.dest]
            elif action.choices is None and action.nargs != 0 and action.option_strings and action.dest in choices:
                action.choices = choices[action.dest]
    return {f"ztoapi.{shell}": _script(parser, shell) for shell in SHELLS}


def _script(parser: argparse.ArgumentParser, shell: str) -> str:
    text = shtab.complete(parser, shell)
    if shell == "zsh":
        # shtab's test is true after eval only: a sourced script would complete at once, outside a completion, and fail.
        text = text.replace("$zsh_eval_context[-1] == eval", "$zsh_eval_context[-1] == (eval|file)")
    lines = text.splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"
