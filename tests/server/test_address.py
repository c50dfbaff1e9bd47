"""Which address a client has: what a stranger claims is not believed, what a trusted proxy says is."""

import ipaddress

import pytest

from tests.server.conftest import Worker
from ztoapi.server.address import client_address

PROXIES = (ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8:1::/48"))
"""The tests' connections come from 192.0.2.1."""


def address(worker: Worker, forwarded: str | None, proxies: tuple[object, ...]) -> str:
    field = f"x-forwarded-for: {forwarded}\r\n" if forwarded is not None else ""
    worker.connect().send(f"GET /held HTTP/1.1\r\nhost: a\r\n{field}\r\n".encode())
    return client_address(worker.held.pop(), proxies)  # type: ignore[arg-type]  # () or PROXIES


@pytest.mark.parametrize(
    ("forwarded", "seen"),
    [
        (None, "192.0.2.1"),
        ("", "192.0.2.1"),
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 192.0.2.7", "203.0.113.9"),
        ("192.0.2.8,192.0.2.7", "192.0.2.8"),
        ("203.0.113.9, ", "203.0.113.9"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("2001:db8::ffff:2:3:4, 2001:db8:1::9", "2001:db8::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("unknown", "unknown"),
    ],
)
def test_a_trusted_proxy_is_believed_as_far_as_its_own_hop(worker: Worker, forwarded: str | None, seen: str) -> None:
    assert address(worker, forwarded, PROXIES) == seen


def test_a_stranger_is_not_believed(worker: Worker) -> None:
    assert address(worker, "203.0.113.9", ()) == "192.0.2.1"
    assert address(worker, "203.0.113.9", (ipaddress.ip_network("10.0.0.0/8"),)) == "192.0.2.1"
