"""A URL of Redis that passes can be used by its client; one that does not is explained, without its password."""

import pytest
from redis.asyncio import Redis

from tests.support.table import table
from ztoapi.config.redis_url import fault_of


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("redis://h", 0),
        ("redis://:secret@h:6379/7", 7),
        ("redis://user:secret@[::1]:6379?db=3", 3),
        ("rediss://h/1?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=none&ssl_check_hostname=false", 1),
        ("unix:///run/redis.sock?db=2&password=secret", 2),
    ],
)
def test_what_passes_can_be_used(url: str, database: int) -> None:
    assert fault_of(url) is None
    # Untyped in redis-py.
    connection = Redis.from_url(url).connection_pool.make_connection()  # type: ignore[no-untyped-call]
    assert connection.db == database


@table(
    ("url", "fault"),
    [
        ("http://:secret@h", "must be a URL such as redis://"),
        ("redis", "must be a URL such as redis://"),
        ("redis://:secret@", "must have a host"),
        ("redis://:secret@h:port", "must have a port"),
        ("redis://:secret@h:65536", "must have a port"),
        ("redis://:secret@[h", "must have a port from 1 to 65535 and a host"),
        ("redis://:secret@h/limits", "must end in the number of a database"),
        ("redis://:secret@h/0/1", "must end in the number of a database"),
        ("redis://h?password=secret", "must have no query parameters other than db"),
        ("redis://h?db=secret", "must have a number as its parameter db"),
        ("redis://:se#secret@h", "must have a port"),
        ("redis://h/1#secret", "must not contain #"),
        ("rediss://:secret@h?ssl_cert_reqs=some", "must have none, optional or required"),
        ("rediss://:secret@h?ca=x", "ssl_ca_certs, ssl_cert_reqs"),
        ("unix://", "must have the path of a socket"),
    ],
)
def test_what_does_not_is_explained(url: str, fault: str) -> None:
    said = fault_of(url)
    assert said is not None
    assert fault in said
    assert "secret" not in said
