"""The address of a client: of a stranger its own, behind a trusted proxy the forwarded one, always in one form."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.conftest import MakeWorker
from tests.support.table import table
from ztoapi.wire.address import (
    Network,
    authority,
    forwarded_client,
    forwarded_hops,
    is_in,
    limited_part,
    peer_address,
    read_network,
)

PROXIES = tuple(map(read_network, ["192.0.2.0/24", "2001:db8:1::/48", "10.0.0.0/8"]))
PROXY = "192.0.2.1"


@table(
    ("forwarded", "seen"),
    [
        ("", PROXY),
        (" , ,", PROXY),
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 192.0.2.7", "203.0.113.9"),
        ("192.0.2.8,192.0.2.7", "192.0.2.8"),
        ("203.0.113.9, ", "203.0.113.9"),
        ("203.0.113.9 ,\t,192.0.2.7", "203.0.113.9"),
        ("203.0.113.9:5001", "203.0.113.9"),
        ("203.0.113.9:_port", "203.0.113.9"),
        ("203.0.113.9, 10.0.0.9:4444", "203.0.113.9"),
        ("203.0.113.9, [2001:db8:1::7]:4444", "203.0.113.9"),
        ("203.0.113.9, ::ffff:10.0.0.9", "203.0.113.9"),
        ("203.0.113.9, [::ffff:a00:9]:1", "203.0.113.9"),
        ('"203.0.113.9:5001"', "203.0.113.9"),
        ('"[2001:db8::1]:5001"', "2001:db8::1"),
        ("[2001:db8::1]:5001", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8:0:0:0:0:0:1:5001", "2001:db8::1"),
        ("2001:db8::1:2:3:4, 2001:db8:1::9", "2001:db8::1:2:3:4"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25eth0]:5001", "fe80::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:cb00:7109", "203.0.113.9"),
        ("[::FFFF:CB00:7109]:5001", "203.0.113.9"),
        ("unknown", PROXY),
        ("203.0.113.9, unknown", PROXY),
        ("unknown, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, _hidden, 10.0.0.9", "10.0.0.9"),
        ("203.0.113.9.evil.test", PROXY),
        ("203.0.113.9:5001:2", PROXY),
        ("203.0.113.009", PROXY),
        ("[203.0.113.9", PROXY),
    ],
)
def test_a_trusted_proxy_is_believed_as_far_as_its_own_hop(forwarded: str, seen: str) -> None:
    assert forwarded_client(PROXY, forwarded.split(","), PROXIES) == seen


def test_a_stranger_is_not_believed() -> None:
    assert forwarded_client("198.51.100.1", ["203.0.113.9"], PROXIES) == "198.51.100.1"
    assert forwarded_client("local", ["203.0.113.9"], PROXIES) == "local"


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.1", "10.0.0.1/32"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        (" ::1 ", "::1/128"),
        ("[::1]", "::1/128"),
        ("fe80::1%eth0", "fe80::1/128"),
        ("::ffff:127.0.0.1", "127.0.0.1/32"),
        ("::ffff:7f00:1", "127.0.0.1/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ],
)
def test_a_mapped_network_is_its_ipv4_network(text: str, network: str) -> None:
    assert str(read_network(text)) == network


@pytest.mark.parametrize(
    "text", ["x", "10.0.0.1/8", "10.0.0.0/33", "", "10.0.0.0/", "::ffff:10.0.0.1/104", "10.0.0.1:80"]
)
def test_no_network(text: str) -> None:
    with pytest.raises(ValueError, match=r"IPv|host bits"):
        read_network(text)


@given(st.ip_addresses(v=4), st.integers(0, 65535))
def test_every_spelling_of_an_ipv4_address_is_one_address(address: ipaddress.IPv4Address, port: int) -> None:
    mapped = ipaddress.IPv6Address(0xFFFF << 32 | int(address))
    spellings = [f"{address}:{port}", f"::ffff:{address}", f"[{mapped}]:{port}", f'"{mapped}"', f"{mapped}%1"]
    everything: tuple[Network, ...] = (read_network(PROXY),)
    assert {forwarded_client(PROXY, [one], everything) for one in spellings} == {str(address)}
    assert peer_address(f"::ffff:{address}") == peer_address(str(mapped)) == str(address)
    assert is_in(f"::ffff:{address}", [read_network(str(address))])


def test_limits_hold_for_an_ipv6_network_of_a_subscriber() -> None:
    assert limited_part("2001:db8::1:2:3:4") == limited_part("2001:db8::ffff:0:0:1") == "2001:db8::/64"
    assert limited_part("203.0.113.9") == "203.0.113.9"
    assert limited_part("local") == "local"


def test_an_authority_has_brackets_where_they_are_needed() -> None:
    assert authority("::1", 9090) == "[::1]:9090"
    assert authority("localhost", 9090) == "localhost:9090"


def test_the_record_has_the_client_and_the_peer(make_worker: MakeWorker) -> None:
    field = "x-forwarded-for: 203.0.113.9:1, 10.0.0.9\r\nX-Forwarded-For: 10.0.0.8:2"
    for proxies, client in [(PROXIES, "203.0.113.9"), ((), PROXY)]:
        worker = make_worker()
        worker.context.trusted_proxies = proxies
        worker.connect().send(f"GET /held HTTP/1.1\r\nhost: a\r\n{field}\r\n\r\n".encode())
        record = worker.held.pop().record
        assert (record.client, record.peer) == (client, "192.0.2.1:4711")


def test_a_dual_stack_listener_sees_an_ipv4_proxy(make_worker: MakeWorker) -> None:
    worker = make_worker()
    worker.context.trusted_proxies = PROXIES
    connection = worker.connect()
    connection.protocol.connection_lost(None)
    connection.transport._extra["peername"] = ("::ffff:192.0.2.1", 4711, 0, 0)  # type: ignore[attr-defined]
    connection.protocol.connection_made(connection.transport)
    connection.send(b"GET /held HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 203.0.113.9\r\n\r\n")
    record = worker.held.pop().record
    assert (record.client, record.peer) == ("203.0.113.9", "192.0.2.1:4711")


@pytest.mark.parametrize(
    ("field", "hops"),
    [
        ("for=192.0.2.60;proto=http;by=203.0.113.43", ["192.0.2.60"]),
        ('For="[2001:db8:cafe::17]:4711"', ['"[2001:db8:cafe::17]:4711"']),
        ("for=192.0.2.43, for=198.51.100.17", ["192.0.2.43", "198.51.100.17"]),
        ('by="a,b;for=6.6.6.6";for=1.2.3.4', ["1.2.3.4"]),
        ('host="x\\",for=6.6.6.6", for=1.2.3.4', ["unknown", "1.2.3.4"]),
        ("proto=https", ["unknown"]),
        ("for=_hidden", ["_hidden"]),
        ("", []),
    ],
)
def test_the_addresses_of_a_forwarded_field(field: str, hops: list[str]) -> None:
    assert forwarded_hops(field) == hops
