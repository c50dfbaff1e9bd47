"""The command line. Each command's code is imported when it runs: ``ztoapi --version`` should not load a server."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ztoapi import __version__
from ztoapi.errors import ConfigError

if TYPE_CHECKING:
    from ztoapi.config.load import Loaded

__all__ = ["load_config", "main"]

_CONFIG_OPTIONS = (
    "host",
    "port",
    "workers",
    "drain_seconds",
    "upstream_url",
    "platform_id",
    "model_name",
    "transport",
    "think_mode",
)


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
        print(f"ztoapi: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def load_config(args: argparse.Namespace) -> "Loaded":
    """The configuration for a command's ``args``. Raises ConfigError."""
    from ztoapi.config.load import load

    return load(
        {option: getattr(args, option, None) for option in _CONFIG_OPTIONS},
        environ=os.environ,
        directory=Path.cwd(),
        config_file=args.config,
    )


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
    from ztoapi.cli import check

    return check.run(args)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ztoapi", description="An OpenAI-compatible streaming gateway for Z.ai's GLM models."
    )
    parser.add_argument("--version", action="version", version=f"ztoapi {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the gateway")
    _add_config_options(serve)

    simulate = commands.add_parser("simulate", help="run a simulated upstream: Z.ai, its web chat, zread.ai")
    simulate.add_argument("--host", default="127.0.0.1")
    simulate.add_argument("--port", type=int, default=9100)
    simulate.add_argument("--workers", type=int, default=1)
    simulate.add_argument("--api-key", default=None, help="refuse requests that do not carry this key")
    _add_simulator_options(simulate)

    demo = commands.add_parser("demo", help="run the simulator and a gateway in front of it")
    demo.add_argument("--port", type=int, default=9090)
    demo.add_argument("--sim-port", type=int, default=9100)
    _add_simulator_options(demo)

    check = commands.add_parser("check", help="validate the configuration and print it, secrets masked")
    models = commands.add_parser("models", help="list the configured models")
    for command in (check, models):
        _add_config_options(command)
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    """Options that override the configuration; what is not given stays as configured."""
    parser.add_argument("--config", type=Path, default=None, metavar="FILE", help="a TOML file instead of ztoapi.toml")
    parser.add_argument("--host", default=None, help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", default=None, help="port to listen on (9090)")
    parser.add_argument("--workers", default=None, help="processes, or auto for one a core (1)")
    parser.add_argument("--drain-seconds", default=None, help="time for streams to finish after SIGTERM (30)")
    parser.add_argument("--upstream-url", default=None, help="base URL or chat URL of the default platform")
    parser.add_argument("--platform-id", default=None, help="default platform: zai, zai_web, zread, openai")
    parser.add_argument("--model-name", default=None, help="name of the default model (glm-4.6)")
    parser.add_argument("--transport", default=None, help="native, or httpx for proxies (native)")
    parser.add_argument("--think-mode", default=None, help="reasoning of the web chat: reasoning, think, strip, raw")


def _add_simulator_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ttft-ms", type=float, default=100.0, help="time to the first token (100)")
    parser.add_argument("--itl-ms", type=float, default=20.0, help="time between two tokens (20)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of an answer (32)")
    parser.add_argument("--events-per-write", type=int, default=1, help="events sent in one write (1)")
