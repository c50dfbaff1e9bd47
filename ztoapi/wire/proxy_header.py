"""The PROXY protocol, versions 1 and 2: the header with which a proxy begins a connection.

https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt
"""

import ipaddress
from typing import Final, NamedTuple

__all__ = ["MAX_HEADER_BYTES", "ProxyHeader", "read_proxy_header"]

_V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED_BYTES: Final = 16
_V1_START: Final = b"PROXY "
_V1_MAX_BYTES: Final = 107
"""Longest line of version 1, its CRLF included (section 2.1)."""
MAX_HEADER_BYTES: Final = 4096
"""Longest header that is accepted: the addresses of version 2, and far more extensions (TLVs) than proxies send."""
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_FAMILY_BYTES: Final = {0x11: 4, 0x21: 16}
"""Address bytes of TCP over IPv4 and over IPv6."""
_MAX_PORT: Final = 65535


class ProxyHeader(NamedTuple):
    """``size`` bytes of the connection; ``client`` is the address and the port of the client, None if the header names
    none: a health check of the proxy itself, or a family other than TCP."""

    size: int
    client: tuple[str, int] | None


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Reads the header at the beginning of ``data``. Returns None if it is incomplete. Raises ValueError if there is
    none, or if it is malformed."""
    if data.startswith(_V2_SIGNATURE[: len(data)]):
        return _read_v2(data)
    if data.startswith(_V1_START[: len(data)]):
        return _read_v1(data)
    raise ValueError("the connection does not begin with a PROXY protocol header")


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _V1_MAX_BYTES)
    if end < 0:
        if len(data) >= _V1_MAX_BYTES:
            raise ValueError("the line of the PROXY protocol is too long")
        return None
    line = data[:end].decode("ascii")
    words = line.split(" ")
    if words[1] == "UNKNOWN":
        return ProxyHeader(end + 2, None)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ValueError("the line of the PROXY protocol is malformed")
    version = 4 if words[1] == "TCP4" else 6
    if "%" in line:
        # ``ipaddress`` accepts a zone of any characters, and the address is logged.
        raise ValueError("an address of the PROXY protocol has a zone")
    source, destination = (ipaddress.ip_address(word) for word in words[2:4])
    if source.version != version or destination.version != version:
        raise ValueError("an address of the PROXY protocol is not of its family")
    port, _ = (_read_port(word) for word in words[4:])
    return ProxyHeader(end + 2, (str(source), port))


def _read_port(word: str) -> int:
    if not (word.isascii() and word.isdigit()) or int(word) > _MAX_PORT or (word[0] == "0" and word != "0"):
        raise ValueError("a port of the PROXY protocol is malformed")
    return int(word)


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED_BYTES:
        return None
    command, family = data[12], data[13]
    size = _V2_FIXED_BYTES + int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise ValueError("the version or the command of the PROXY protocol is unknown")
    if size > MAX_HEADER_BYTES:
        raise ValueError("the header of the PROXY protocol is too long")
    if len(data) < size:
        return None
    address_bytes = _FAMILY_BYTES.get(family)
    if command == _LOCAL or address_bytes is None:
        return ProxyHeader(size, None)
    if size < _V2_FIXED_BYTES + 2 * address_bytes + 4:
        raise ValueError("the header of the PROXY protocol is too short for its addresses")
    source = data[_V2_FIXED_BYTES : _V2_FIXED_BYTES + address_bytes]
    port_at = _V2_FIXED_BYTES + 2 * address_bytes
    return ProxyHeader(size, (str(ipaddress.ip_address(source)), int.from_bytes(data[port_at : port_at + 2], "big")))
