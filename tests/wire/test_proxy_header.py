"""The PROXY protocol header, versions 1 and 2."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.wire.proxy_header import MAX_HEADER_BYTES, read_proxy_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REQUEST = b"GET / HTTP/1.1\r\n\r\n"
V1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n"


def version_2(client: str, port: int, more: bytes = b"", command: int = 0x21) -> bytes:
    address = ipaddress.ip_address(client)
    family = 0x11 if address.version == 4 else 0x21
    body = address.packed * 2 + port.to_bytes(2, "big") + b"\1\xbb" + more
    return SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


HEADERS = [
    (V1, ("203.0.113.7", 56324)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", ("2001:db8::7", 56324)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    (version_2("203.0.113.7", 56324), ("203.0.113.7", 56324)),
    (version_2("2001:db8::7", 1), ("2001:db8::7", 1)),
    (version_2("203.0.113.7", 5, b"\x04\0\3abc"), ("203.0.113.7", 5)),
    (version_2("203.0.113.7", 5, command=0x20), None),
    (SIGNATURE + b"\x20\0\0\0", None),
    (SIGNATURE + b"\x21\x31\0\4abcd", None),
]


@table(("header", "client"), HEADERS)
def test_a_header_is_read_at_every_split(header: bytes, client: tuple[str, int] | None) -> None:
    for size in range(len(header)):
        assert read_proxy_header(header[:size]) is None
    assert read_proxy_header(header + REQUEST) == (len(header), client)


@table(
    "data",
    [
        REQUEST,
        b"proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
        b"PROXY TCP4 2001:db8::7 1.1.1.1 1 1\r\n",
        b"PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n",
        b"PROXY TCP4 1.1.1.1 1.1.1.1  1\r\n",
        b"PROXY \xff\r\n",
        b"PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
        b"PROXY " + b"1" * 200,
        SIGNATURE + b"\x11\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\0\x0b" + bytes(11),
        SIGNATURE + b"\x21\x21\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11" + MAX_HEADER_BYTES.to_bytes(2, "big"),
    ],
)
def test_a_malformed_header_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_proxy_header(data)


@given(st.binary(max_size=300), st.sampled_from([b"", V1[:20], SIGNATURE, version_2("1.2.3.4", 5)[:20]]))
def test_any_bytes_are_read_or_refused(data: bytes, start: bytes) -> None:
    try:
        header = read_proxy_header(start + data)
    except ValueError:
        return
    if header is not None:
        assert 0 < header.size <= len(start + data)
