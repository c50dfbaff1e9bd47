"""The command line. Each command's code is imported when it runs: ``ztoapi --version`` should not load a server."""

import argparse
import sys
from pathlib import Path

from ztoapi import __version__
from ztoapi.cli.options import add_config_options
from ztoapi.errors import ConfigError

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrong usage or configuration."""
    args = _parser().parse_args(argv)
    try:
        return _run(args)
    except ConfigError as error:
        print("the configuration has errors:", file=sys.stderr)
        for problem in error.problems:
            print(f"  {problem}", file=sys.stderr)
        return 2
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        print(f"ztoapi: {what}{error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(args: argparse.Namespace) -> int:
    if args.command == "serve":
        from ztoapi.cli import serve

        return serve.run(args)
    if args.command == "simulate":
        from ztoapi.cli import simulate

        return simulate.run(args)
    if args.command == "demo":
        from ztoapi.cli import demo

        return demo.run(args)
    if args.command == "models":
        from ztoapi.cli import models

        return models.run(args)
    if args.command == "keys":
        from ztoapi.cli import keys

        return keys.run(args)
    if args.command == "bench":
        from ztoapi.cli import bench

        return bench.run(args)
    if args.command == "top":
        from ztoapi.cli import top

        return top.run(args)
    from ztoapi.cli import check

    return check.run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ztoapi", description="An OpenAI-compatible streaming gateway for Z.ai's GLM models."
    )
    parser.add_argument("--version", action="version", version=f"ztoapi {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the gateway")
    add_config_options(serve)

    simulate = commands.add_parser("simulate", help="run a simulated upstream: Z.ai, its web chat, zread.ai")
    simulate.add_argument("--host", default="127.0.0.1")
    simulate.add_argument("--port", type=_port, default=9100)
    simulate.add_argument("--workers", type=int, default=1)
    simulate.add_argument("--api-key", default=None, help="refuse requests that do not carry this key")
    _add_simulator_options(simulate)

    demo = commands.add_parser("demo", help="run the simulator and a gateway in front of it")
    demo.add_argument("--port", type=_port, default=9090)
    demo.add_argument("--sim-port", type=_port, default=9100)
    _add_simulator_options(demo)

    check = commands.add_parser("check", help="validate the configuration and print it, secrets masked")
    models = commands.add_parser("models", help="list the configured models")
    for command in (check, models):
        add_config_options(command)
        command.add_argument("--json", action="store_true", help="print JSON")

    bench = commands.add_parser("bench", help="measure what a running gateway adds to its upstream")
    bench.add_argument("--config", type=Path, default=None, metavar="FILE", help="a TOML file instead of ztoapi.toml")
    bench.add_argument(
        "--url", default=None, help="base URL of the gateway (the configured one; http://127.0.0.1:9090/v1)"
    )
    bench.add_argument("--upstream", default=None, help="base URL of its upstream (the configured one)")
    bench.add_argument("--model", default=None, help="model to ask for (the configured default model)")
    bench.add_argument("--requests", type=_count, default=20, help="of each kind, to each of the two (20)")
    bench.add_argument("--concurrency", type=_count, default=8, help="streams at once in the last part (8)")
    bench.add_argument("--max-tokens", type=_count, default=32, help="of each answer (32)")
    bench.add_argument("--json", action="store_true", help="print JSON")

    top = commands.add_parser("top", help="watch a running gateway; the admin key is read from ADMIN_KEY")
    top.add_argument("--config", type=Path, default=None, metavar="FILE", help="a TOML file instead of ztoapi.toml")
    top.add_argument("--url", default=None, help="origin of the gateway (the configured one; http://127.0.0.1:9090)")
    top.add_argument("--once", action="store_true", help="print one look and end")
    top.add_argument("--json", action="store_true", help="print the figures as JSON and end")

    _add_keys(commands.add_parser("keys", help="make, list and revoke client keys"))
    return parser


def _add_keys(keys: argparse.ArgumentParser) -> None:
    actions = keys.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key, print it once, and put its hash into the key file")
    listing = actions.add_parser("list", help="list the keys of the key file")
    revoke = actions.add_parser("revoke", help="revoke a key")
    for action in (create, listing, revoke):
        action.add_argument("--key-file", default=None, metavar="FILE", help="instead of the configured one")
        action.add_argument("--config", type=Path, default=None, metavar="FILE", help="instead of ztoapi.toml")
    create.add_argument("--name", required=True, help="whose key it is; stands in logs and metrics")
    create.add_argument("--models", default=None, help="models it is for, as in glm-4.6,glm-4.5* (all)")
    create.add_argument("--expires", default=None, help="90d, 12h, 4w, or a date such as 2027-01-31 (never)")
    create.add_argument("--requests-per-second", default=None, metavar="N")
    create.add_argument("--requests-per-minute", default=None, metavar="N")
    create.add_argument("--burst", default=None, metavar="N", help="requests that may come at once")
    create.add_argument("--tokens-per-minute", default=None, metavar="N")
    create.add_argument("--bandwidth-bytes-per-second", default=None, metavar="N")
    create.add_argument("--max-concurrency", default=None, metavar="N", help="requests in hand at the same time")
    listing.add_argument("--json", action="store_true", help="print JSON")
    revoke.add_argument("name", metavar="NAME")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 5 or int(text) > 65535:
        raise argparse.ArgumentTypeError("must be a whole number from 0 to 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError("must be a whole number from 1 to 1000000")
    return int(text)


def _add_simulator_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ttft-ms", type=float, default=100.0, help="time to the first token (100)")
    parser.add_argument("--itl-ms", type=float, default=20.0, help="time between two tokens (20)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of an answer (32)")
    parser.add_argument("--events-per-write", type=int, default=1, help="events sent in one write (1)")
