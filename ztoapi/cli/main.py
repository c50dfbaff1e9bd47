"""The command line. A command's module, and the options that it needs, are imported only when the command runs."""

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ztoapi import __version__
from ztoapi.cli.options import add_config_flag, add_json_flag, add_option_flags
from ztoapi.cli.parser import CommandParser
from ztoapi.cli.process import fill_standard_streams, hold_signals, silence_standard_output
from ztoapi.errors import ConfigError, UsageError

__all__ = ["SHELLS", "main", "make_parser"]

_BROKEN_PIPE: Final = 141
"""The exit code of shells for a program that SIGPIPE has ended."""
_SERVERS = ("serve", "simulate", "demo")
_MAX_DIGITS: Final = 9
"""Longest whole number: Python refuses to convert texts of several thousand digits."""
_MAX_MILLISECONDS: Final = 3_600_000
_RUN_TIME: Final = re.compile("[0-9]+|(?=[0-9])([0-9]+h)?([0-9]+m)?([0-9]+s)?")
"""Times of locust; a number alone is in seconds."""
SHELLS: Final = ("bash", "zsh", "fish")


class _Command(NamedTuple):
    """A command: its function is ``run`` of the module of its name in this package."""

    help: str
    add_arguments: Callable[[CommandParser], None]
    examples: tuple[str, ...]


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0 success, 1 failure, 2 invalid usage or configuration, 141 if the reader
    of the output has closed it."""
    fill_standard_streams()
    try:
        try:
            return _run(_parse(sys.argv[1:] if argv is None else argv))
        finally:
            # Otherwise the interpreter reports a failure of this at its end.
            sys.stdout.flush()
    except BrokenPipeError:
        silence_standard_output()
        return _BROKEN_PIPE
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"ztoapi: {place}{error.strerror or error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    if args.command in _SERVERS:
        hold_signals()
    run: Callable[[argparse.Namespace], int] = importlib.import_module(f"ztoapi.cli.{args.command}").run
    try:
        return run(args)
    except UsageError as error:
        for problem in error.problems:
            print(f"ztoapi {args.command}: {problem}", file=sys.stderr)
        return 2
    except ConfigError as error:
        print("invalid configuration:", file=sys.stderr)
        for problem in error.problems:
            print(f"  {problem}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def make_parser(chosen: str | None = None) -> CommandParser:
    """Returns the parser with the arguments of the command ``chosen``, or of all commands."""
    parser = CommandParser(
        prog="ztoapi",
        description="An OpenAI-compatible streaming gateway for Z.ai's GLM models.",
        examples=("ztoapi demo", "ZAI_TOKEN=... ztoapi serve --port 9090", "ztoapi serve --help"),
    )
    parser.add_argument("-V", "--version", action="version", version=f"ztoapi {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", prog="ztoapi", title="commands")
    for name, command in _COMMANDS.items():
        subparser = _add_parser(commands, name, command.help, command.examples)
        if chosen in (None, name):
            command.add_arguments(subparser)
    return parser


def _add_parser(
    parsers: "argparse._SubParsersAction[CommandParser]",
    name: str,
    help: str,
    examples: tuple[str, ...],
) -> CommandParser:
    lines = [f"ztoapi {line}" for line in examples]
    return parsers.add_parser(name, help=help, description=f"{help[:1].upper()}{help[1:]}.", examples=lines)


def _parse(argv: list[str]) -> argparse.Namespace:
    # The top level has no flags with a value, so the first word that is not a flag is the command.
    name = next((word for word in argv if not word.startswith("-")), "")
    parser = make_parser(name)
    # Words after -- are for another program; argparse accepts none after an optional positional argument.
    end = argv.index("--") if name in ("connect", "load") and "--" in argv else len(argv)
    subparser = parser.command(name)
    if subparser is not None:
        subparser.check_flags(argv[:end])
    args, unknown = parser.parse_known_args(argv[:end], argparse.Namespace(arguments=argv[end + 1 :]))
    if unknown:
        asked = subparser or parser
        asked.error(f"unknown arguments: {' '.join(unknown)}{asked.unknown_hint}")
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


def _run_time(text: str) -> str:
    if not _RUN_TIME.fullmatch(text):
        raise argparse.ArgumentTypeError("must be a time such as 30s, 5m or 1h30m")
    return text


_port = _whole(0, 65535)
_count = _whole(1, 1_000_000)


def _add_report_arguments(parser: CommandParser) -> None:
    add_json_flag(parser)
    add_option_flags(parser)


def _add_check_arguments(parser: CommandParser) -> None:
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--all", action="store_true", help="print every value with its source, defaults too")
    shown.add_argument(
        "--live", action="store_true", help="test the upstreams and each credential; the requests cost no tokens"
    )
    _add_report_arguments(parser)


def _add_models_arguments(parser: CommandParser) -> None:
    parser.add_argument("--live", action="store_true", help="list the models that the upstreams have")
    _add_report_arguments(parser)


def _add_control_arguments(parser: CommandParser) -> None:
    """Adds the options that find the running gateway. Those of ``serve`` are taken too, because a configuration may be
    invalid without them."""
    add_option_flags(parser, shown=lambda option: option.key in ("server.port", "server.listen"))


def _add_simulate_arguments(parser: CommandParser) -> None:
    group = parser.add_argument_group("listening and workers")
    group.add_argument("-H", "--host", default="127.0.0.1", metavar="ADDRESS", help="address [default: 127.0.0.1]")
    group.add_argument("-p", "--port", type=_port, default=9100, metavar="PORT", help="TCP port [default: 9100]")
    group.add_argument(
        "-w", "--workers", type=_whole(1, 1024), default=1, metavar="N", help="worker processes [default: 1]"
    )
    parser.add_argument("--api-key", default=None, metavar="KEY", help="reject requests without this key")
    _add_timing_arguments(parser)


def _add_demo_arguments(parser: CommandParser) -> None:
    group = parser.add_argument_group("listening")
    group.add_argument("-p", "--port", type=_port, default=9090, metavar="PORT", help="gateway [default: 9090]")
    group.add_argument(
        "--sim-port", type=_port, default=0, metavar="PORT", help="simulator; 0 picks a free port [default: 0]"
    )
    _add_timing_arguments(parser)


def _add_timing_arguments(parser: CommandParser) -> None:
    group = parser.add_argument_group("responses of the simulator")
    for name, kind, default, unit, help in (
        ("--ttft-ms", _milliseconds, 100.0, "MS", "time to the first token"),
        ("--itl-ms", _milliseconds, 20.0, "MS", "time between tokens"),
        ("--tokens", _whole(0, 1_000_000), 32, "N", "tokens in a response"),
        ("--events-per-write", _count, 1, "N", "events in one write"),
    ):
        group.add_argument(name, type=kind, default=default, metavar=unit, help=f"{help} [default: {default:g}]")


def _add_bench_arguments(parser: CommandParser) -> None:
    add_config_flag(parser)
    add_json_flag(parser)
    targets = parser.add_argument_group("gateway and upstream")
    targets.add_argument("--url", default=None, help="base URL of the gateway [default: the configured one, plus /v1]")
    targets.add_argument(
        "--upstream", default=None, metavar="URL", help="base URL of the upstream [default: the configured one]"
    )
    targets.add_argument("-m", "--model", default=None, help="model of the requests [default: MODEL_NAME]")
    load = parser.add_argument_group("requests")
    for short, name, default, help in (
        ("-n", "--requests", 20, "requests of each kind to each of the two"),
        ("-j", "--concurrency", 8, "concurrent streams in the last part"),
        ("-t", "--max-tokens", 32, "largest response in tokens"),
    ):
        load.add_argument(short, name, type=_count, default=default, metavar="N", help=f"{help} [default: {default}]")
    load.add_argument("-y", "--yes", action="store_true", help="send requests to other hosts without a question")
    reports = parser.add_argument_group("reports")
    reports.add_argument("--save", type=Path, default=None, metavar="FILE", help="write the report, as JSON")
    reports.add_argument("--compare", type=Path, default=None, metavar="FILE", help="compare with a saved report")


def _add_top_arguments(parser: CommandParser) -> None:
    add_config_flag(parser)
    add_json_flag(parser)
    parser.add_argument("--url", default=None, help="origin of the gateway [default: the configured one]")
    parser.add_argument("-1", "--once", action="store_true", help="print one frame and exit")


def _add_credentials_arguments(parser: CommandParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", prog="ztoapi credentials", title="actions")
    reset = _add_parser(
        actions, "reset", "put credentials back into service, in all workers", ("credentials reset zai-1",)
    )
    for action, default in ((parser, None), (reset, argparse.SUPPRESS)):
        action.add_argument("--url", default=default, help="origin of the gateway [default: the configured one]")
        add_json_flag(action, default=default or False)
        add_config_flag(action, default=default)
    names = reset.add_mutually_exclusive_group(required=True)
    names.add_argument("name", nargs="?", metavar="NAME", help="a credential, such as zai-1, or zai/zai-1")
    names.add_argument("--all", action="store_true", help="all credentials")


def _add_usage_arguments(parser: CommandParser) -> None:
    parser.add_argument("--url", default=None, help="origin of the gateway [default: the configured one]")
    days = parser.add_argument_group("selection")
    days.add_argument("--from", default=None, metavar="DAY", help="first day (UTC) [default: 29 days before the last]")
    days.add_argument("--to", default=None, metavar="DAY", help="last day (UTC) [default: today]")
    days.add_argument("--key", default=None, metavar="NAME", help="only this client key")
    days.add_argument("-m", "--model", default=None, help="only this model")
    days.add_argument("--by", default=None, metavar="LABELS", help="rows by these labels [default: day,key,model]")
    formats = parser.add_mutually_exclusive_group()
    add_json_flag(formats)
    formats.add_argument("--csv", action="store_true", help="print CSV")
    add_config_flag(parser)


def _add_connect_arguments(parser: CommandParser) -> None:
    parser.unknown_hint = "; the client's options follow --, as in `ztoapi connect claude --run -- --verbose`"
    parser.add_argument("name", nargs="?", metavar="NAME", help="the client; without it, list the clients")
    parser.add_argument("--url", default=None, help="URL of the gateway [default: the configured one]")
    parser.add_argument("--key", default=None, help="client key [default: the configured one, if there is one]")
    parser.add_argument("-m", "--model", default=None, help="main model [default: MODEL_NAME]")
    parser.add_argument(
        "--api",
        choices=("chat", "messages", "responses"),
        default=None,
        help="client API: chat, messages or responses [default: the client's first]",
    )
    parser.add_argument(
        "--run", action="store_true", help="start the client, with temporary files; arguments after -- are its own"
    )
    add_json_flag(parser)
    add_config_flag(parser)


def _add_keys_arguments(parser: CommandParser) -> None:
    from ztoapi.config.model import KeyBudgets, TrafficLimits
    from ztoapi.config.options import options_of

    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION", prog="ztoapi keys", title="actions")
    create = _add_parser(
        actions,
        "create",
        "create a key, print it once, and add its hash to the key file",
        (
            "keys create ci --key-file keys.toml",
            "keys create team-a --expires 90d --tokens-per-day 2M --usd-per-month 50",
        ),
    )
    listing = _add_parser(actions, "list", "list the keys of the key file", ("keys list --key-file keys.toml",))
    show = _add_parser(actions, "show", "show one key, without its secret", ("keys show ci", "keys show ci --json"))
    rotate = _add_parser(
        actions, "rotate", "replace the secret of a key, and print the new key once", ("keys rotate ci",)
    )
    revoke = _add_parser(actions, "revoke", "revoke a key", ("keys revoke ci --key-file keys.toml",))
    budgets = _add_parser(
        actions, "budgets", "show the used part of each budget, from a running gateway", ("keys budgets",)
    )
    budgets.add_argument("--url", default=None, help="origin of the gateway [default: the configured one]")
    add_config_flag(budgets)
    for action in (create, listing, show, rotate, revoke):
        action.add_argument(
            "-k", "--key-file", default=None, metavar="FILE", help="use FILE instead of the configured key file"
        )
        add_config_flag(action)
    names = create.add_mutually_exclusive_group(required=True)
    names.add_argument("name", nargs="?", metavar="NAME", help="name of the key's owner, for logs and metrics")
    names.add_argument("--name", dest="named", metavar="NAME", help="the same as an option")
    create.add_argument("--models", default=None, help="allowed models, such as glm-5.3,glm-4.5*; default: all")
    create.add_argument(
        "--priority", default=None, help="high: its requests leave the admission queue first; default: normal"
    )
    create.add_argument(
        "--expires", default=None, metavar="WHEN", help="90d, 12h, 4w, or a date such as 2027-01-31; default: never"
    )
    limits = create.add_argument_group("limits and budgets")
    for option in (*options_of(TrafficLimits), *options_of(KeyBudgets)):
        limits.add_argument(
            f"--{option.name.replace('_', '-')}", default=None, metavar="N", help=option.option.help.replace("`", "")
        )
    for action in (listing, show, budgets):
        add_json_flag(action)
    for action in (show, rotate, revoke):
        action.add_argument("name", metavar="NAME")


def _add_load_arguments(parser: CommandParser) -> None:
    parser.unknown_hint = "; locust's options follow --, as in `ztoapi load steady -- --thresholds FILE`"
    parser.add_argument("name", nargs="?", metavar="SCENARIO", help="the scenario; without it, list the scenarios")
    parser.add_argument("--path", action="store_true", help="print the folder of the scenarios, for locust -f")
    target = parser.add_argument_group("target")
    target.add_argument(
        "--url",
        default="http://127.0.0.1:9090",
        help="base URL of an OpenAI-compatible server, with or without /v1 [default: http://127.0.0.1:9090]",
    )
    target.add_argument("--key", default=None, help="client key, or several separated by commas [default: any]")
    target.add_argument("-m", "--model", default="glm-5.3", help="model of the requests [default: glm-5.3]")
    target.add_argument(
        "--api",
        choices=("chat", "messages", "responses"),
        default=None,
        help="client API: chat, messages or responses [default: chat]",
    )
    target.add_argument("--simulated", action="store_true", help="a simulator is the upstream; check its responses")
    load = parser.add_argument_group("load")
    load.add_argument("-u", "--users", type=_count, default=10, metavar="N", help="peak of the users [default: 10]")
    load.add_argument(
        "-t", "--time", type=_run_time, default="30s", metavar="TIME", help="such as 30s, 5m [default: 30s]"
    )
    load.add_argument("--web", action="store_true", help="start locust's web page, to choose users and watch")
    load.add_argument("--report", default=None, metavar="FILE", help="write a page with charts of the token times")


def _add_init_arguments(parser: CommandParser) -> None:
    parser.add_argument("directory", nargs="?", default=".", metavar="DIRECTORY", help="where to write [default: .]")


def _add_completion_arguments(parser: CommandParser) -> None:
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def _add_nothing(parser: CommandParser) -> None:
    """The command has no arguments."""


_COMMANDS: Final[Mapping[str, _Command]] = {
    "serve": _Command(
        "run the gateway",
        add_option_flags,
        ("serve --port 9090 --workers auto", "serve --listen '0.0.0.0:443 tls' --config /etc/ztoapi/ztoapi.toml"),
    ),
    "reload": _Command(
        "have a running gateway take over the configuration",
        _add_control_arguments,
        ("reload", "reload --port 9090"),
    ),
    "upgrade": _Command(
        "have a running gateway become the installed version",
        _add_control_arguments,
        ("upgrade", "upgrade --port 9090"),
    ),
    "simulate": _Command(
        "run a simulated upstream: Z.ai, its web chat, zread.ai",
        _add_simulate_arguments,
        ("simulate --ttft-ms 20 --tokens 200", "simulate --port 9200 --workers 2 --api-key secret"),
    ),
    "demo": _Command(
        "run the simulator and a gateway in front of it", _add_demo_arguments, ("demo", "demo --port 9191 --ttft-ms 20")
    ),
    "check": _Command(
        "validate the configuration and print the values that are set",
        _add_check_arguments,
        ("check", "check --live --config ztoapi.toml"),
    ),
    "models": _Command("list the configured models", _add_models_arguments, ("models", "models --live")),
    "load": _Command(
        "run a load test with locust; arguments after -- are locust's",
        _add_load_arguments,
        ("load steady --url http://127.0.0.1:9090/v1 --users 20", "load ramp --report ramp.html -- --csv ramp"),
    ),
    "init": _Command(
        "write example files: configuration, systemd, Kubernetes, Prometheus, Grafana",
        _add_init_arguments,
        ("init", "init /tmp/ztoapi"),
    ),
    "schema": _Command("print the JSON Schema of ztoapi.toml", _add_nothing, ("schema", "schema > ztoapi.schema.json")),
    "bench": _Command(
        "measure the latency that a running gateway adds to its upstream",
        _add_bench_arguments,
        ("bench --save before.json", "bench --requests 200 --concurrency 32 --compare before.json"),
    ),
    "top": _Command(
        "watch a running gateway; reads the admin key from ADMIN_KEY",
        _add_top_arguments,
        ("top", "top --once --url http://127.0.0.1:9090"),
    ),
    "credentials": _Command(
        "show the upstream credentials of a running gateway, or reset them",
        _add_credentials_arguments,
        ("credentials", "credentials reset zai-1"),
    ),
    "usage": _Command(
        "show tokens and cost by day, client key and model",
        _add_usage_arguments,
        ("usage --by key --from 2026-11-01", "usage --csv > usage.csv"),
    ),
    "connect": _Command(
        "print the settings of a client, such as claude or codex, or start it",
        _add_connect_arguments,
        ("connect claude", "connect codex --run -- exec 'explain this repository'"),
    ),
    "keys": _Command(
        "create, show, rotate and revoke client keys, and show their budgets",
        _add_keys_arguments,
        ("keys create ci --key-file keys.toml", "keys list --json"),
    ),
    "completion": _Command(
        "print the completions for a shell",
        _add_completion_arguments,
        (
            "completion bash > ~/.local/share/bash-completion/completions/ztoapi",
            'completion zsh > "${fpath[1]}/_ztoapi"',
            "completion fish | source",
        ),
    ),
}
