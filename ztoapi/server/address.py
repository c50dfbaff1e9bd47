"""Which address a client has, behind proxies too."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final, TypeAlias

from ztoapi.server.exchange import Exchange

__all__ = ["LOOPBACK_AUTHORITY", "Network", "client_address"]

LOOPBACK_AUTHORITY: Final = re.compile(rb"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
"""A Host field that names this host in a way that no name server can."""

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(exchange: Exchange, proxies: Sequence[Network]) -> str:
    """The address that the client is known by: of those in x-forwarded-for the last that no trusted proxy has; IPv6
    by the 64 bits that a subscriber gets at least (RFC 6177)."""
    host = exchange.request.client.rpartition(":")[0] or exchange.request.client
    if proxies and _is_in(host, proxies):
        for hop in reversed(
            exchange.request.headers.get(b"x-forwarded-for", b"").decode("ascii", "replace").split(",")
        ):
            if not hop.strip():
                continue
            host = hop.strip()
            if not _is_in(host, proxies):
                break
    if ":" not in host:
        return host
    try:
        address = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))


def _is_in(host: str, networks: Sequence[Network]) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in networks)
