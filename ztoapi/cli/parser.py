"""The parser of the command line: help in groups, suggestions for misspelt words, and exit code 2 for invalid usage."""

import argparse
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NoReturn

from ztoapi.config.spelling import did_you_mean

__all__ = ["CommandParser", "HelpFormatter"]

_MAX_COLUMNS: Final = 110
"""Longer lines are hard to read."""
_HELP_COLUMN: Final = 32
_MISSING: Final = "the following arguments are required: "
"""The beginning of a message of argparse."""
_NO_SHORT_FLAG: Final = "    "
_SHORT_FLAG: Final = re.compile(r"^argument -\w/")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Puts the long flags into one column."""

    def __init__(self, prog: str) -> None:
        columns = min(shutil.get_terminal_size().columns - 2, _MAX_COLUMNS)
        super().__init__(prog, max_help_position=_HELP_COLUMN, width=columns)

    def _format_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None,
    ) -> str:
        positional = [action for action in actions if not action.option_strings]
        words = [f"[{action.metavar}]" if not action.required else str(action.metavar) for action in positional]
        return super()._format_usage(" ".join(("%(prog)s", *words, "[options]")), actions, groups, prefix)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
        indent = _NO_SHORT_FLAG if action.option_strings[0].startswith("--") else ""
        return f"{indent}{', '.join(action.option_strings)}{value}"


class CommandParser(argparse.ArgumentParser):
    """A parser with ``examples`` at the end of its help.

    Python 3.14 passes ``color`` to the parsers of commands. Help is plain, as with earlier versions.
    """

    unknown_hint = ""
    """The end of the error for unknown arguments that misspell none."""

    def __init__(self, *, prog: str, description: str, examples: Sequence[str], color: bool = False) -> None:
        epilog = "\n  ".join(("examples:", *examples))
        super().__init__(prog, description=description, epilog=epilog, formatter_class=HelpFormatter)
        self.color = color

    def error(self, message: str) -> NoReturn:
        message = _SHORT_FLAG.sub("argument ", message)
        for action in self._actions:
            if action.choices is not None and message == f"{_MISSING}{action.metavar}":
                message += f": one of {', '.join(map(str, action.choices))}"
        super().error(f"{message}; `{self.prog} --help` shows the usage")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            choices = list(map(str, action.choices))
            hint = did_you_mean(str(value), choices)
            raise argparse.ArgumentError(action, f"unknown {value!r}{hint}; must be one of {', '.join(choices)}")

    def command(self, name: str) -> "CommandParser | None":
        """Returns the parser of a command; None if there is no such command."""
        for action in self._actions:
            if isinstance(action.choices, dict):
                return action.choices.get(name)
        return None

    def parsers(self) -> "Iterator[CommandParser]":
        """Yields this parser and those of its commands."""
        yield self
        for action in self._actions:
            for parser in action.choices.values() if isinstance(action.choices, dict) else ():
                yield from parser.parsers()

    def check_flags(self, words: Iterable[str]) -> None:
        """Reports flags in ``words`` that neither this parser nor one of its commands has. Without this, a required
        argument whose flag is misspelt would be reported as missing."""
        flags = {flag for parser in self.parsers() for flag in parser._option_string_actions}
        for word in words:
            name = word.partition("=")[0]
            if name.startswith("--") and len(name) > 2 and not any(flag.startswith(name) for flag in flags):
                self.error(f"unknown arguments: {name}{did_you_mean(name, flags, after='--') or self.unknown_hint}")
