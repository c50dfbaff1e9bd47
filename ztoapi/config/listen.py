"""Entries of ``server.listen``: an address, and words for its use, as in nginx's ``listen``.

``127.0.0.1:9090``, ``[::1]:9090``, ``name:9090``, ``unix:/run/ztoapi.sock`` and ``fd:3`` are addresses. The words are
``tls``, ``proxy`` (connections begin with a PROXY protocol header), ``admin`` (metrics, dashboard and profiles, which
the other addresses then do not serve), and ``mode=0660``, the permissions of a Unix socket.
"""

import re
from typing import Final

import msgspec

from ztoapi.config.host import is_loopback
from ztoapi.config.model import ServerConfig
from ztoapi.wire.address import authority

__all__ = ["Listen", "api_urls", "listen_addresses", "read_listen"]

_TCP: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@\[\]]+)):([0-9]{1,5})")
_MODE: Final = re.compile(r"mode=0?([0-7]{3})")
_USES: Final = ("tls", "proxy", "admin")
_OWNER_ONLY: Final = 0o600
"""Permissions of a Unix socket without ``mode``: another user cannot spend the tokens."""
_MAX_PORT: Final = 65535
_FORM: Final = "must be HOST:PORT, [IPV6]:PORT, unix:/PATH or fd:NUMBER, with the words tls, proxy, admin or mode=0660"


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """One address. Either ``host`` and ``port``, or ``path``, or ``descriptor`` is set."""

    host: str = ""
    port: int = 0
    path: str = ""
    mode: int = _OWNER_ONLY
    descriptor: int | None = None
    tls: bool = False
    proxy: bool = False
    admin: bool = False

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return authority(self.host, self.port) if self.descriptor is None else f"fd:{self.descriptor}"

    @property
    def place(self) -> tuple[str, int, str, int | None]:
        """The part that a socket is bound to; the rest is its use."""
        return self.host, self.port, self.path, self.descriptor

    @property
    def origin(self) -> str:
        """The origin of an address with ``host`` and ``port``."""
        return f"{'https' if self.tls else 'http'}://{authority(self.host, self.port)}"

    @property
    def local(self) -> bool:
        """Whether only this host can connect. The address of a descriptor is not known."""
        return bool(self.path) or (self.descriptor is None and is_loopback(self.host))


def listen_addresses(server: ServerConfig) -> tuple[Listen, ...]:
    """Returns the addresses of a valid configuration."""
    if server.listen:
        return tuple(read_listen(entry) for entry in server.listen)
    if server.fd is not None:
        return (Listen(descriptor=server.fd, tls=bool(server.tls_cert_files)),)
    return (Listen(host=server.host, port=server.port, tls=bool(server.tls_cert_files)),)


def api_urls(server: ServerConfig) -> list[str] | None:
    """Returns the origins of the API; None if each address serves it, because none is for operators only."""
    addresses = listen_addresses(server)
    if not any(address.admin for address in addresses):
        return None
    return [address.origin for address in addresses if address.port and not address.admin and not address.proxy]


def read_listen(entry: str) -> Listen:
    """Reads one entry. Raises ValueError."""
    address, *words = entry.split()
    modes = [match[1] for word in words if (match := _MODE.fullmatch(word))]
    unknown = [word for word in words if word not in _USES and not _MODE.fullmatch(word)]
    if unknown:
        raise ValueError(f"{unknown[0]}: {_FORM}")
    tls, proxy, admin = (use in words for use in _USES)
    if address.startswith("unix:/"):
        mode = int(modes[-1], 8) if modes else _OWNER_ONLY
        return Listen(path=address.removeprefix("unix:"), mode=mode, tls=tls, proxy=proxy, admin=admin)
    if modes:
        raise ValueError("mode= is for unix: addresses only")
    if address.startswith("fd:") and address[3:].isascii() and address[3:].isdigit():
        return Listen(descriptor=int(address[3:]), tls=tls, proxy=proxy, admin=admin)
    match = _TCP.fullmatch(address)
    if match is None or int(match[3]) > _MAX_PORT:
        raise ValueError(_FORM)
    return Listen(host=match[1] or match[2], port=int(match[3]), tls=tls, proxy=proxy, admin=admin)
