"""Addresses in the notations of peers, proxies, configurations and URLs.

All addresses are read here, so that an address has a single value: an IPv4-mapped IPv6 address (``::ffff:10.0.0.1``,
RFC 4291 section 2.5.5.2), which a dual-stack listener reports for an IPv4 peer, is its IPv4 address, and a zone
(``fe80::1%eth0``, RFC 4007 section 11) is dropped, because it names an interface of one host.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

__all__ = [
    "LOOPBACK",
    "LOOPBACK_AUTHORITY",
    "Network",
    "authority",
    "forwarded_client",
    "forwarded_hops",
    "is_in",
    "limited_part",
    "peer_address",
    "read_network",
]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

LOOPBACK: Final = "127.0.0.1"
"""The address of clients that connect through a Unix socket."""
LOOPBACK_AUTHORITY: Final = re.compile(rb"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
"""A Host field with a name of this host that no name server can assign."""
_ELEMENT: Final = re.compile(r'(?:[^",]|"(?:[^"\\]|\\.)*"?)+')
_PARAMETER: Final = re.compile(r'(?:[^";]|"(?:[^"\\]|\\.)*"?)+')
_FOR: Final = re.compile(r"[ \t]*for=(.*)", re.IGNORECASE)
_BRACKETED: Final = re.compile(r"\[([^\]]*)\](?::[0-9A-Za-z._-]+)?")
_PORT: Final = re.compile(r":(?:[0-9]{1,5}|_[0-9A-Za-z._-]+)$")
"""A port, or a name in its place (RFC 7239 section 6.3)."""
_MAPPED_BITS: Final = 96
"""The length of ::ffff:0:0/96."""
_SUBSCRIBER_BITS: Final = 64
"""A subscriber gets an IPv6 network of this size or larger (RFC 6177), and may use any address in it."""


def peer_address(host: str) -> str:
    """Returns the address of a connection's peer; ``host`` is that of the socket."""
    if ":" not in host:
        return host
    address = _read_host(host)
    return host if address is None else str(address)


def read_network(text: str) -> Network:
    """Returns a configured address or network. Raises ValueError.

    ``::/0`` does not include IPv4 addresses, which have a network of their own, ``0.0.0.0/0``.
    """
    host, slash, prefix = text.strip().partition("/")
    match = _BRACKETED.fullmatch(host)
    host = (host if match is None else match[1]).partition("%")[0]
    network = ipaddress.ip_network(host + slash + prefix)
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_BITS))
    return network


def is_in(host: str, networks: Sequence[Network]) -> bool:
    """Whether an address, as :func:`peer_address` returns it, is in one of ``networks``."""
    address = _read_host(host)
    return address is not None and _is_in(address, networks)


def forwarded_client(peer: str, hops: Iterable[str], proxies: Sequence[Network]) -> str:
    """Returns the address of the client: of ``peer`` and the elements of its ``x-forwarded-for`` (``hops``), from the
    right, the first that is not in ``proxies``.

    An element without an address, such as ``unknown``, ends the search with the address to the right of it: a client
    can forge the elements further left.
    """
    client = _read_host(peer)
    if client is None or not _is_in(client, proxies):
        return peer
    for hop in reversed([*hops]):
        text = hop.strip(" \t")
        if not text:
            continue
        address = _read_element(text)
        if address is None:
            break
        client = address
        if not _is_in(client, proxies):
            break
    return str(client)


def forwarded_hops(value: str) -> list[str]:
    """Returns the ``for`` parameters of a ``Forwarded`` field (RFC 7239), one for each element; ``unknown`` for an
    element without one."""
    hops = []
    for element in _ELEMENT.findall(value):
        addresses = [match[1] for text in _PARAMETER.findall(element) if (match := _FOR.fullmatch(text))]
        hops.append(addresses[0] if addresses else "unknown")
    return hops


def limited_part(client: str) -> str:
    """Returns the part of an address that limits apply to: the whole IPv4 address, or the subscriber's IPv6 network."""
    if ":" not in client:
        return client
    address = _read_host(client)
    if not isinstance(address, ipaddress.IPv6Address):
        return client
    return str(ipaddress.IPv6Network((address, _SUBSCRIBER_BITS), strict=False))


def authority(host: str, port: int) -> str:
    """Returns host and port as in a URL (RFC 3986 section 3.2.2): an IPv6 address is in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read_element(text: str) -> _Address | None:
    """Reads an element of ``x-forwarded-for``: an address, with or without quotes, brackets and a port."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1].strip(" \t")
    match = _BRACKETED.fullmatch(text)
    if match is not None:
        return _read_host(match[1])
    # Without brackets a port is recognised only if the whole text is not an address.
    return _read_host(text) or _read_host(_PORT.sub("", text))


def _read_host(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return address.ipv4_mapped or address
    return address


def _is_in(address: _Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
