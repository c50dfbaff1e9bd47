"""The options that every command with a configuration has, and reading that configuration."""

import argparse
import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ztoapi.errors import ConfigError
from ztoapi.wire.address import authority

if TYPE_CHECKING:
    from ztoapi.config.load import Loaded
    from ztoapi.config.model import Config
    from ztoapi.server.sockets import Sockets

__all__ = ["add_config_options", "listen", "load_config", "own_origin"]

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
    "key_file",
    "access_log",
)


def load_config(args: argparse.Namespace) -> "Loaded":
    """The configuration for a command's ``args``. Raises ConfigError."""
    from ztoapi.config.load import load

    return load(
        {option: getattr(args, option, None) for option in _CONFIG_OPTIONS},
        environ=os.environ,
        directory=Path.cwd(),
        config_file=args.config,
    )


def own_origin(config: "Config") -> str:
    """Where the gateway of ``config`` is reached from this host."""
    host = config.server.host if config.server.host not in ("0.0.0.0", "::") else "127.0.0.1"
    return f"http://{authority(host, config.server.port)}"


def listen(host: str, port: int, workers: int, *, backlog: int, option: str) -> "list[Sockets]":
    """The listening sockets of each worker. ``option`` names the option that ``host`` comes from, and its source.

    Raises ConfigError for a host that is not one of this machine's; OSError if the port cannot be had.
    """
    from ztoapi.server.sockets import bind_all

    try:
        return bind_all(host, port, workers, backlog=backlog)
    except OSError as error:
        if not isinstance(error, socket.gaierror) and error.errno != errno.EADDRNOTAVAIL:
            raise
        remedy = "use an address of this host, such as 127.0.0.1, or 0.0.0.0 for all"
        raise ConfigError((f"{option}: {error.strerror}; {remedy}",)) from error


def add_config_options(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--key-file", default=None, help="file of client keys (see ztoapi keys)")
    parser.add_argument("--access-log", default=None, help="stdout, stderr, a file, or off (stdout)")
