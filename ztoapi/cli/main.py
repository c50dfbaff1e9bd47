"""The command line. A command's module, and the options that it needs, are imported only when the command runs."""

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from ztoapi import __version__
from ztoapi.cli.options import add_config_flag, add_option_flags
from ztoapi.cli.process import fill_standard_streams, hold_signals
from ztoapi.errors import ConfigError

__all__ = ["main"]

_SERVERS = ("serve", "simulate", "demo")
_MAX_DIGITS: Final = 9
"""Longest whole number: Python refuses to convert texts of several thousand digits."""
_MAX_MILLISECONDS: Final = 3_600_000
_FLAG: Final = re.compile(r"--[a-z][a-z-]*")


class _Command(NamedTuple):
    """A command: its function is ``run`` of the module of its name in this package."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]


class _Parser(argparse.ArgumentParser):
    """Ends the process with exit code 2 for invalid usage."""

    def error(self, message: str) -> NoReturn:
        super().error(f"{message}; `{self.prog} --help` shows the usage")


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0 success, 1 failure, 2 invalid usage or configuration."""
    fill_standard_streams()
    args = _parse(sys.argv[1:] if argv is None else argv)
    if args.command in _SERVERS:
        hold_signals()
    run: Callable[[argparse.Namespace], int] = importlib.import_module(f"ztoapi.cli.{args.command}").run
    try:
        return run(args)
    except ConfigError as error:
        print("invalid configuration:", file=sys.stderr)
        for problem in error.problems:
            print(f"  {problem}", file=sys.stderr)
        return 2
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"ztoapi: {place}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = _Parser(prog="ztoapi", description="An OpenAI-compatible streaming gateway for Z.ai's GLM models.")
    parser.add_argument("--version", action="version", version=f"ztoapi {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # The top level has no flags with a value, so the first word that is not a flag is the command.
    command_name = next((word for word in argv if not word.startswith("-")), None)
    for name, command in _COMMANDS.items():
        subparser = commands.add_parser(name, help=command.help)
        if name == command_name:
            command.add_arguments(subparser)
    # Words after -- are for another program; argparse accepts none after an optional positional argument.
    end = argv.index("--") if command_name == "connect" and "--" in argv else len(argv)
    args, unknown = parser.parse_known_args(argv[:end], argparse.Namespace(arguments=argv[end + 1 :]))
    if unknown:
        subparser = commands.choices[args.command]
        flags = _FLAG.findall(subparser.format_help())
        near = difflib.get_close_matches(unknown[0].partition("=")[0], flags, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        subparser.error(f"unknown arguments: {' '.join(unknown)}{hint}")
    return args


def _whole(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isascii() or not text.isdigit() or len(text) > _MAX_DIGITS or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"must be a whole number from {low} to {high}")
        return int(text)

    return convert


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= _MAX_MILLISECONDS:
        raise argparse.ArgumentTypeError(f"must be a number of milliseconds from 0 to {_MAX_MILLISECONDS}")
    return value


_port = _whole(0, 65535)
_count = _whole(1, 1_000_000)


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    add_option_flags(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_simulate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1")
    parser.add_argument("--port", type=_port, default=9100, help="TCP port; default: 9100")
    parser.add_argument("--workers", type=_whole(1, 1024), default=1, help="worker processes; default: 1")
    parser.add_argument("--api-key", default=None, help="reject requests without this key")
    _add_timing_arguments(parser)


def _add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=_port, default=9090, help="TCP port of the gateway; default: 9090")
    parser.add_argument("--sim-port", type=_port, default=9100, help="TCP port of the simulator; default: 9100")
    _add_timing_arguments(parser)


def _add_timing_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ttft-ms", type=_milliseconds, default=100.0, help="time to the first token; default: 100")
    parser.add_argument("--itl-ms", type=_milliseconds, default=20.0, help="time between tokens; default: 20")
    parser.add_argument("--tokens", type=_whole(0, 1_000_000), default=32, help="tokens in a response; default: 32")
    parser.add_argument("--events-per-write", type=_count, default=1, help="events in one write; default: 1")


def _add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_flag(parser)
    parser.add_argument(
        "--url", default=None, help="base URL of the gateway; default: that of the configuration, plus /v1"
    )
    parser.add_argument("--upstream", default=None, help="base URL of the upstream; default: that of the configuration")
    parser.add_argument("--model", default=None, help="model of the requests; default: MODEL_NAME")
    parser.add_argument(
        "--requests", type=_count, default=20, help="requests of each kind to each of the two; default: 20"
    )
    parser.add_argument("--concurrency", type=_count, default=8, help="concurrent streams in the last part; default: 8")
    parser.add_argument("--max-tokens", type=_count, default=32, help="largest response in tokens; default: 32")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_top_arguments(parser: argparse.ArgumentParser) -> None:
    add_config_flag(parser)
    parser.add_argument("--url", default=None, help="origin of the gateway; default: that of the configuration")
    parser.add_argument("--once", action="store_true", help="print one frame and exit")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON and exit")


def _add_credentials_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    reset = actions.add_parser("reset", help="put credentials back into service, in all workers")
    for action, default in ((parser, None), (reset, argparse.SUPPRESS)):
        action.add_argument("--url", default=default, help="origin of the gateway; default: that of the configuration")
        action.add_argument("--json", action="store_true", default=default or False, help="print JSON")
        action.add_argument(
            "--config", type=Path, default=default, metavar="FILE", help="read FILE instead of ztoapi.toml"
        )
    names = reset.add_mutually_exclusive_group(required=True)
    names.add_argument("name", nargs="?", metavar="NAME", help="a credential, such as zai-1, or zai/zai-1")
    names.add_argument("--all", action="store_true", help="all credentials")


def _add_connect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the client; without it, list the clients")
    parser.add_argument("--url", default=None, help="URL of the gateway; default: that of the configuration")
    parser.add_argument("--key", default=None, help="client key; default: that of the configuration, if it has one")
    parser.add_argument("--model", default=None, help="main model; default: MODEL_NAME")
    parser.add_argument(
        "--api", choices=("chat", "messages", "responses"), default=None, help="client API; default: the client's first"
    )
    parser.add_argument(
        "--run", action="store_true", help="start the client, with temporary files; arguments after -- are its own"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config_flag(parser)


def _add_keys_arguments(parser: argparse.ArgumentParser) -> None:
    from ztoapi.config.model import TrafficLimits
    from ztoapi.config.options import options_of

    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="create a key, print it once, and add its hash to the key file")
    listing = actions.add_parser("list", help="list the keys of the key file")
    revoke = actions.add_parser("revoke", help="revoke a key")
    for action in (create, listing, revoke):
        action.add_argument(
            "--key-file", default=None, metavar="FILE", help="use FILE instead of the configured key file"
        )
        add_config_flag(action)
    create.add_argument("--name", required=True, help="name of the key's owner, for logs and metrics")
    create.add_argument("--models", default=None, help="allowed models, such as glm-5.3,glm-4.5*; default: all")
    create.add_argument(
        "--priority", default=None, help="high: its requests leave the admission queue first; default: normal"
    )
    create.add_argument("--expires", default=None, help="90d, 12h, 4w, or a date such as 2027-01-31; default: never")
    for option in options_of(TrafficLimits):
        create.add_argument(
            f"--{option.name.replace('_', '-')}", default=None, metavar="N", help=option.option.help.replace("`", "")
        )
    listing.add_argument("--json", action="store_true", help="print JSON")
    revoke.add_argument("name", metavar="NAME")


def _add_nothing(parser: argparse.ArgumentParser) -> None:
    """The command has no arguments."""


_COMMANDS: Final[Mapping[str, _Command]] = {
    "serve": _Command("run the gateway", add_option_flags),
    "reload": _Command("have a running gateway take over the configuration", add_option_flags),
    "upgrade": _Command("have a running gateway become the installed version", add_option_flags),
    "simulate": _Command("run a simulated upstream: Z.ai, its web chat, zread.ai", _add_simulate_arguments),
    "demo": _Command("run the simulator and a gateway in front of it", _add_demo_arguments),
    "check": _Command("validate the configuration and print it with secrets masked", _add_report_arguments),
    "models": _Command("list the configured models", _add_report_arguments),
    "schema": _Command("print the JSON Schema of ztoapi.toml", _add_nothing),
    "bench": _Command("measure the latency that a running gateway adds to its upstream", _add_bench_arguments),
    "top": _Command("watch a running gateway; reads the admin key from ADMIN_KEY", _add_top_arguments),
    "credentials": _Command(
        "show the upstream credentials of a running gateway, or reset them", _add_credentials_arguments
    ),
    "connect": _Command("print the settings of a client, such as claude or codex, or start it", _add_connect_arguments),
    "keys": _Command("create, list and revoke client keys", _add_keys_arguments),
}
