"""The flags of every command that reads the configuration."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ztoapi.errors import ConfigError

if TYPE_CHECKING:
    from ztoapi.config.load import Loaded
    from ztoapi.config.model import Config
    from ztoapi.server.sockets import Sockets

__all__ = ["add_config_flag", "add_option_flags", "listen", "load_config", "own_origin"]


def load_config(args: argparse.Namespace) -> "Loaded":
    """Read the configuration with the flags in ``args``. Raises ConfigError."""
    from ztoapi.config.load import load

    return load(vars(args), environ=os.environ, directory=Path.cwd(), config_file=args.config)


def own_origin(config: "Config") -> str:
    """Return the origin at which this host reaches the gateway of ``config``."""
    from ztoapi.wire.address import authority

    host = config.server.host if config.server.host not in ("0.0.0.0", "::") else "127.0.0.1"
    return f"http://{authority(host, config.server.port)}"


def listen(host: str, port: int, workers: int, *, backlog: int, option: str) -> "list[Sockets]":
    """Return the listening sockets of each worker. ``option`` names the option of ``host`` and its source in messages.

    Raises ConfigError if ``host`` is not an address of this host, OSError if the port is not available.
    """
    import errno
    import socket

    from ztoapi.server.sockets import bind_all

    try:
        return bind_all(host, port, workers, backlog=backlog)
    except OSError as error:
        if not isinstance(error, socket.gaierror) and error.errno != errno.EADDRNOTAVAIL:
            raise
        remedy = "use an address of this host, such as 127.0.0.1, or 0.0.0.0 for all"
        raise ConfigError((f"{option}: {error.strerror}; {remedy}",)) from error


def add_config_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--config``."""
    parser.add_argument("--config", type=Path, default=None, metavar="FILE", help="read FILE instead of ztoapi.toml")


def add_option_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--config`` and the flags of options."""
    from ztoapi.config.options import config_options, literals

    add_config_flag(parser)
    for option in config_options():
        if option.flag is not None:
            values = f" Must be {option.values}." if literals(option.type) or option.range is not None else ""
            default = "" if option.default is None else f" Default: {option.default}."
            text = (option.option.help + values + default).replace("`", "").replace("%", "%%")
            parser.add_argument(option.flag, default=None, help=text)
