"""The flags of every command that reads the configuration."""

import argparse
import contextlib
import errno
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ztoapi.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ztoapi.config.load import Loaded
    from ztoapi.config.model import Config
    from ztoapi.config.options import Declared
    from ztoapi.server.sockets import Sockets

__all__ = [
    "add_config_flag",
    "add_json_flag",
    "add_option_flags",
    "host_fault",
    "listen",
    "listening_faults",
    "load_config",
    "own_origin",
]


_HOST_REMEDY: Final = "use an address of this host, such as 127.0.0.1, or 0.0.0.0 for all"
_PORT_CAUSES: Final = {
    errno.EADDRINUSE: "end the program that uses the port, or ",
    errno.EACCES: "ports below 1024 need a privilege (CAP_NET_BIND_SERVICE): grant it, or ",
}


def load_config(args: argparse.Namespace, *, host_fault: "Callable[[str], str | None] | None" = None) -> "Loaded":
    """Reads the configuration with the flags in ``args``. ``host_fault`` checks the address to listen on. Raises
    ConfigError."""
    from ztoapi.config.load import load

    # A flag that was given several times.
    arguments = {name: ",".join(value) if isinstance(value, list) else value for name, value in vars(args).items()}
    return load(arguments, environ=os.environ, directory=Path.cwd(), config_file=args.config, host_fault=host_fault)


def own_origin(config: "Config", *, operators: bool = False) -> str:
    """Returns the origin at which this host reaches the gateway of ``config``: at its first TCP address for clients, or
    for ``operators``. Raises ConfigError if there is none."""
    from ztoapi.config.listen import listen_addresses
    from ztoapi.wire.address import authority

    addresses = [address for address in listen_addresses(config.server) if address.host and not address.proxy]
    separate = any(address.admin for address in listen_addresses(config.server))
    addresses = [address for address in addresses if not separate or address.admin is operators]
    if not addresses:
        raise ConfigError(("server.listen: it has no TCP address that this command can use: name one with --url",))
    address = addresses[0]
    host = address.host if address.host not in ("0.0.0.0", "::") else "127.0.0.1"
    return f"{'https' if address.tls else 'http'}://{authority(host, address.port)}"


def listen(
    host: str, port: int, workers: int, *, backlog: int, host_option: str, port_option: str, remedy: str
) -> "list[Sockets]":
    """Returns the listening sockets of each worker. ``host_option`` and ``port_option`` name the options and their
    sources in messages; ``remedy`` is the way to choose another port.

    Raises ConfigError if ``host`` is not an address of this host, OSError if the port is not available.
    """
    from ztoapi.server.sockets import bind_all

    with listening_faults(host_option, port_option, remedy):
        return bind_all(host, port, workers, backlog=backlog)


@contextlib.contextmanager
def listening_faults(host_option: str, port_option: str, remedy: str) -> "Iterator[None]":
    """Adds the option and the remedy to the errors of listening; see :func:`listen`."""
    try:
        yield
    except OSError as error:
        if (fault := _fault_of_host(error)) is not None:
            raise ConfigError((f"{host_option}: {fault}",)) from error
        cause = _PORT_CAUSES.get(error.errno or 0, "")
        if error.errno == errno.EADDRINUSE and (owner := _owner(error.strerror or "")):
            cause = f"end {owner}, or "
        text = f"{port_option}: {error.strerror}; {cause}choose another port with {remedy} (0: any free port)"
        raise OSError(error.errno, text) from error


def _owner(fault: str) -> str:
    """Returns the process that has the port in an error of listening; empty if it is not known."""
    from ztoapi.cli.port_owner import owner_of_port

    address = re.match(r"cannot listen on \S+:([0-9]+): ", fault)
    return owner_of_port(int(address[1])) if address is not None else ""


def host_fault(host: str) -> str | None:
    """Returns the reason why this host cannot listen on the address ``host``, and the remedy; None if it can."""
    from ztoapi.server.sockets import bind

    try:
        bind(host, 0, backlog=1).close()
    except OSError as error:
        return _fault_of_host(error)
    return None


def _fault_of_host(error: OSError) -> str | None:
    import socket

    if isinstance(error, socket.gaierror):
        return f"{error.strerror}; {_HOST_REMEDY}"
    return f"this host does not have the address; {_HOST_REMEDY}" if error.errno == errno.EADDRNOTAVAIL else None


def add_config_flag(parser: argparse.ArgumentParser, *, default: str | None = None) -> None:
    """Adds ``--config``."""
    help = "read FILE instead of ztoapi.toml"
    parser.add_argument("-c", "--config", type=Path, default=default, metavar="FILE", help=help)


def add_json_flag(parser: argparse._ActionsContainer, *, default: object = False) -> None:
    """Adds ``--json``."""
    parser.add_argument("--json", action="store_true", default=default, help="print JSON")


def add_option_flags(parser: argparse.ArgumentParser, *, shown: "Callable[[Declared], bool] | None" = None) -> None:
    """Adds ``--config`` and the flags of options, in groups. The help has those options that are ``shown``: all by
    default."""
    from ztoapi.config.options import config_options

    add_config_flag(parser)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for option in config_options():
        if (flag := option.option.flag) is not None:
            if flag.group not in groups:
                groups[flag.group] = parser.add_argument_group(flag.group)
            group = groups[flag.group]
            visible = shown is None or shown(option)
            group.add_argument(
                *filter(None, (flag.short, option.flag)),
                default=None,
                action="append" if option.default == () else "store",
                metavar=flag.metavar,
                help=_help(option) if visible else argparse.SUPPRESS,
            )
            for *spellings, value in flag.values:
                help = f"short for {option.flag} {value}" if visible else argparse.SUPPRESS
                group.add_argument(*spellings, dest=option.name, action="store_const", const=value, help=help)


def _help(option: "Declared") -> str:
    """Returns the help of an option with its valid values, its default and its environment variables."""
    from ztoapi.config.options import literals

    values = f" Must be {option.values}." if literals(option.type) or option.range is not None else ""
    default = "" if option.default in (None, ()) else f" Default: {option.default}."
    text = f"{option.option.help}{values}{default} [env: {' or '.join(option.variables)}]"
    return text.replace("`", "").replace("%", "%%")
