"""The addresses of a gateway: several, Unix sockets, descriptors, TLS, the PROXY protocol, one for operators."""

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.processes.program import PYTHON_PATH
from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS
from ztoapi.server.sockets import bind

KEY = "sk-addresses-1"
ADMIN = "admin-addresses-1"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes((198, 51, 100, 9, 127, 0, 0, 1)) + b"\x10\0\0\x50"
CHAT = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}]}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return ca


def certificate(ca: trustme.CA, path: Path, *names: str) -> None:
    ca.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(str(path))


def start(simulator: Stack, path: Path, listen: str, more: str = "", **environment: str) -> GatewayProcess:
    config = path / "ztoapi.toml"
    config.write_text(f"[server]\nlisten = [{listen}]\n{more}")
    environment = {"DEFAULT_KEY": KEY, "ADMIN_KEY": ADMIN, **environment}
    return gateway(simulator, "--config", str(config), XDG_STATE_HOME=str(path), **environment)


def status(client: httpx.Client, url: str, key: str = KEY) -> int:
    return client.get(url, headers={"authorization": f"Bearer {key}"}).status_code


def test_several_addresses_and_a_unix_socket(simulator: Stack, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with start(simulator, tmp_path, f"'127.0.0.1:0', '[::1]:0', 'unix:{path} mode=0660'", WORKERS="2") as process:
        assert path.stat().st_mode & 0o777 == 0o660
        six = process.wait_for_output(r"http://\[::1\]:(\d+)/v1")
        for url in (process.url, f"http://[::1]:{six}"):
            assert httpx.get(f"{url}/readyz").status_code == 200
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as client:
            response = client.post("/v1/chat/completions", json=CHAT, headers={"authorization": f"Bearer {KEY}"})
            assert response.status_code == 200
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
    assert not path.exists()


def test_the_file_of_a_dead_gateway_is_replaced_and_that_of_a_live_one_is_not(simulator: Stack, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with start(simulator, tmp_path, f"'127.0.0.1:0', 'unix:{path}'"):
        second = start(simulator, tmp_path, f"'127.0.0.1:0', 'unix:{path}'")
        try:
            assert second.wait() == 1
            assert f"cannot listen on unix:{path}: Address already in use" in second.rest()
        finally:
            second.__exit__(None, None, None)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as client:
            assert client.get("/readyz").status_code == 200


def test_operators_have_an_address_of_their_own(simulator: Stack, tmp_path: Path) -> None:
    with start(simulator, tmp_path, "'127.0.0.1:0', '127.0.0.1:0 admin'") as process, httpx.Client() as client:
        admin = process.wait_for_output(r"dashboard (http://127\.0\.0\.1:\d+)/dashboard")
        assert admin != process.url
        for path, group in {
            "/metrics": "admin",
            "/debug/pprof": "admin",
            "/v1/models": "api",
            "/livez": "public",
        }.items():
            expected = {"admin": (404, 200), "api": (200, 404), "public": (200, 200)}[group]
            key = ADMIN if group == "admin" else KEY
            assert (status(client, process.url + path, key), status(client, admin + path, key)) == expected, path
        stats = client.get(f"{admin}/dashboard/stats", headers={"authorization": f"Bearer {ADMIN}"}).json()
        assert stats["api_urls"] == [], "the configured ports are not those that serve"


@pytest.mark.parametrize("words", ["", " tls"])
def test_the_proxy_protocol(simulator: Stack, tmp_path: Path, authority: trustme.CA, words: str) -> None:
    certificate(authority, tmp_path / "a.pem", "localhost")
    log = tmp_path / "access.log"
    more = (
        f"trusted_proxies = ['127.0.0.1']\ntls_cert_files = ['{tmp_path / 'a.pem'}']\n"
        if words
        else ("trusted_proxies = ['127.0.0.1']\n")
    )
    with start(simulator, tmp_path, f"'127.0.0.1:0 proxy{words}'", more, ZTOAPI_ACCESS_LOG=str(log)) as process:
        port = int(process.wait_for_output(r"https?://127\.0\.0\.1:(\d+)/v1"))
        request = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer %b\r\n\r\n"
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        for header in (V2, b"PROXY TCP4 198.51.100.9 127.0.0.1 4096 80\r\n"):
            with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as raw:
                raw.sendall(header)
                with context.wrap_socket(raw, server_hostname="localhost") if words else raw as client:
                    client.sendall(request % KEY.encode())
                    assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
        with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as raw:
            raw.sendall(request)
            with contextlib.suppress(ConnectionResetError):
                assert raw.recv(65536) == b""
        process.wait_for_output(r"(does not begin with a PROXY protocol header)")
        process.wait_for(lambda: log.exists() and log.read_text().count('"client":"198.51.100.9"') == 2)


def test_a_header_of_a_stranger_is_refused(simulator: Stack, tmp_path: Path) -> None:
    with start(simulator, tmp_path, "'127.0.0.1:0 proxy'", "trusted_proxies = ['192.0.2.1']\n") as process:
        with socket.create_connection(("127.0.0.1", process.port), WAIT_SECONDS) as raw:
            raw.sendall(V2)
            with contextlib.suppress(ConnectionResetError):
                assert raw.recv(65536) == b""
        process.wait_for_output(r"(127\.0\.0\.1 is not in server\.trusted_proxies)")


def test_certificates_are_chosen_by_name_and_reloaded(simulator: Stack, tmp_path: Path, authority: trustme.CA) -> None:
    for name in ("a", "b"):
        certificate(authority, tmp_path / f"{name}.pem", f"{name}.test", f"*.{name}.test")
    files = ", ".join(f"'{tmp_path / name}.pem'" for name in "ab")
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])

    def serial(port: int, name: str) -> tuple[object, str | None, str | None]:
        with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as raw:
            with context.wrap_socket(raw, server_hostname=name) as client:
                found = client.getpeercert() or {}
                return found["serialNumber"], client.version(), client.selected_alpn_protocol()

    with start(simulator, tmp_path, "'127.0.0.1:0', '127.0.0.1:0 tls'", f"tls_cert_files = [{files}]\n") as process:
        port = int(process.wait_for_output(r"https://127\.0\.0\.1:(\d+)/v1"))
        first = serial(port, "a.test")
        assert first[1:] == ("TLSv1.3", "http/1.1")
        assert serial(port, "x.b.test") == serial(port, "b.test") != first
        certificate(authority, tmp_path / "a.pem", "a.test")
        process.kill(signal.SIGHUP)
        process.wait_for(lambda: serial(port, "a.test") != first)
        for _ in range(2):
            refused = httpx.get(f"http://127.0.0.1:{port}/v1/models")
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "bad_request")
        process.wait_for_output(r"(1 connections so far with plain HTTP)")
        (tmp_path / "a.pem").write_text("damaged")
        process.kill(signal.SIGHUP)
        process.wait_for_output(r"(invalid configuration; keeping)")
        serial(port, "a.test")


def test_client_certificates(simulator: Stack, tmp_path: Path, authority: trustme.CA) -> None:
    certificate(authority, tmp_path / "a.pem", "localhost")
    certificate(authority, tmp_path / "client.pem", "client@example.test")
    more = f"tls_cert_files = ['{tmp_path / 'a.pem'}']\ntls_client_ca_file = '{tmp_path / 'ca.pem'}'\n"
    with start(simulator, tmp_path, "'127.0.0.1:0', '127.0.0.1:0 tls'", more) as process:
        port = process.wait_for_output(r"https://127\.0\.0\.1:(\d+)/v1")
        url = f"https://localhost:{port}/readyz"
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with pytest.raises(httpx.TransportError):
            httpx.get(url, verify=context)
        context.load_cert_chain(str(tmp_path / "client.pem"))
        assert httpx.get(url, verify=context).status_code == 200


@pytest.mark.parametrize("how", ["fd", "systemd"])
def test_sockets_of_the_parent(simulator: Stack, how: str) -> None:
    with bind("127.0.0.1", 0, backlog=16) as sock:
        port = sock.getsockname()[1]
        upstream = f"http://127.0.0.1:{simulator.simulator_port}/api/paas/v4"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": PYTHON_PATH,
            "PLATFORM_ID": "zai", "UPSTREAM_URL": upstream, "ZAI_TOKEN": "t", "DEFAULT_KEY": KEY,
            "ZTOAPI_ACCESS_LOG": "off",
        }  # fmt: skip
        flags = "--fd 3" if how == "fd" else ""
        activation = "" if how == "fd" else "LISTEN_FDS=1 LISTEN_PID=$$"
        process = subprocess.Popen(
            ["/bin/bash", "-c", f"{activation} exec {sys.executable} -m ztoapi serve {flags} 3<&{sock.fileno()}"],
            env=environment,
            pass_fds=[sock.fileno()],
        )
        try:
            assert httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=WAIT_SECONDS).status_code == 200
            process.terminate()
            assert process.wait(WAIT_SECONDS) == 0
        finally:
            process.kill()
