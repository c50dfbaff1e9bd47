"""``server.listen``: addresses and their words."""

from pathlib import Path

import pytest

from tests.config.reading import loaded, problems
from tests.support.table import table
from ztoapi.cli.options import own_origin
from ztoapi.config.listen import Listen, api_urls, listen_addresses, read_listen
from ztoapi.config.model import Config, ServerConfig
from ztoapi.errors import ConfigError


@table(
    ("entry", "expected"),
    [
        ("127.0.0.1:9090", Listen(host="127.0.0.1", port=9090)),
        ("[::1]:0", Listen(host="::1", port=0)),
        ("gateway.test:65535", Listen(host="gateway.test", port=65535)),
        ("0.0.0.0:443 tls proxy", Listen(host="0.0.0.0", port=443, tls=True, proxy=True)),
        ("127.0.0.1:9091  admin", Listen(host="127.0.0.1", port=9091, admin=True)),
        ("unix:/run/z.sock", Listen(path="/run/z.sock", mode=0o600)),
        ("unix:/run/z.sock mode=0660 admin", Listen(path="/run/z.sock", mode=0o660, admin=True)),
        ("fd:3 tls", Listen(descriptor=3, tls=True)),
    ],
)
def test_an_entry(entry: str, expected: Listen) -> None:
    assert read_listen(entry) == expected


@pytest.mark.parametrize(
    ("entry", "local"),
    [("127.0.0.1:1", True), ("[::1]:1", True), ("localhost:1", True), ("unix:/a", True), ("0.0.0.0:1", False)],
)
def test_an_address_that_only_this_host_can_reach(entry: str, local: bool) -> None:
    assert read_listen(entry).local is local


def test_the_origins_of_the_api() -> None:
    assert api_urls(ServerConfig(listen=("127.0.0.1:1 tls",))) is None
    listen = ("[::1]:1 tls", "0.0.0.0:2", "127.0.0.1:3 admin", "a:4 proxy", "a:0", "unix:/a", "fd:3")
    assert api_urls(ServerConfig(listen=listen)) == ["https://[::1]:1", "http://0.0.0.0:2"]


@table(
    "entry",
    ["9090", ":9090", "::1:9090", "http://127.0.0.1:9090", "127.0.0.1:65536", "127.0.0.1:9090 ssl", "unix:run", "fd:x",
     "127.0.0.1:9090 mode=0660", "unix:/a mode=0999", "[::1]", "a b"],
)  # fmt: skip
def test_a_malformed_entry_is_named(tmp_path: Path, entry: str) -> None:
    (line,) = problems(tmp_path, ZTOAPI_LISTEN=entry, ZAI_TOKEN="t")
    assert line.startswith(f"ZTOAPI_LISTEN (environment): {entry}: ")


def test_the_default_address(tmp_path: Path) -> None:
    server = loaded(tmp_path, ZAI_TOKEN="t", PORT="8000").config.server
    assert listen_addresses(server) == (Listen(host="127.0.0.1", port=8000),)


def test_addresses_replace_host_and_port(tmp_path: Path) -> None:
    server = loaded(
        tmp_path, ZAI_TOKEN="t", HOST="0.0.0.0", ZTOAPI_LISTEN="127.0.0.1:1, unix:/a mode=0660"
    ).config.server
    assert listen_addresses(server) == (Listen(host="127.0.0.1", port=1), Listen(path="/a", mode=0o660))


def test_a_descriptor(tmp_path: Path) -> None:
    server = loaded(tmp_path, ZAI_TOKEN="t", DEFAULT_KEY="sk-key-1", ZTOAPI_FD="3").config.server
    assert listen_addresses(server) == (Listen(descriptor=3),)


@table(
    ("variables", "problem"),
    [
        ({"ZTOAPI_LISTEN": "0.0.0.0:1"}, "required to listen on 0.0.0.0"),
        ({"ZTOAPI_FD": "3"}, "required to listen on fd:3"),
        ({"ZTOAPI_LISTEN": "127.0.0.1:1 admin"}, "add one for clients"),
        ({"ZTOAPI_LISTEN": "127.0.0.1:1 proxy"}, "proxy requires server.trusted_proxies"),
        ({"ZTOAPI_LISTEN": "127.0.0.1:1 tls"}, "tls requires server.tls_cert_files"),
        ({"ZTOAPI_LISTEN": "127.0.0.1:1", "ZTOAPI_FD": "3"}, "add fd:N to it"),
        ({"ZTOAPI_TLS_CERT_FILES": "/missing.pem"}, "/missing.pem: No such file or directory"),
        ({"ZTOAPI_TLS_CERT_FILES": "/a", "ZTOAPI_TLS_KEY_FILES": "/a,/b"}, "must have as many files"),
        ({"ZTOAPI_TLS_CERT_FILES": "/dev/null"}, "it must be a certificate chain (PEM) with its key"),
        (
            {"ZTOAPI_LISTEN": "127.0.0.1:1", "ZTOAPI_TLS_CERT_FILES": "/a"},
            "no address in server.listen has the word tls",
        ),
    ],
)
def test_options_that_do_not_fit_together(tmp_path: Path, variables: dict[str, str], problem: str) -> None:
    assert any(problem in line for line in problems(tmp_path, ZAI_TOKEN="t", **variables))


def test_commands_find_the_address_that_is_for_them(tmp_path: Path) -> None:
    listen = "127.0.0.1:1 tls, 127.0.0.1:2, 127.0.0.1:3 admin, unix:/a"
    config = Config(server=ServerConfig(listen=tuple(listen.split(", "))))
    assert own_origin(config) == "https://127.0.0.1:1"
    assert own_origin(config, operators=True) == "http://127.0.0.1:3"
    assert own_origin(Config(), operators=True) == own_origin(Config()) == "http://127.0.0.1:9090"
    with pytest.raises(ConfigError, match="no TCP address"):
        own_origin(Config(server=ServerConfig(listen=("unix:/a",))))
