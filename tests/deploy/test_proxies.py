"""The configurations of proxies in ``docs/proxies.md``: a stream passes at once, and its end in both directions."""

import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme
import yaml

from tests.deploy.tools import ROOT, where
from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS
from ztoapi.errors import Ending

PAGE = (ROOT / "docs/proxies.md").read_text("utf-8")
NAME = "llm.example.com"
Proxy = Callable[[Stack, trustme.CA, Path, int], list[str | Path]]


def block(language: str) -> str:
    return "".join(re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[:1])


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack(DEFAULT_KEY="client-key", ZTOAPI_TRUSTED_PROXIES="127.0.0.1") as stack:
        yield stack


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@contextmanager
def running(command: list[str | Path], port: int) -> Iterator[None]:
    """Runs a proxy, which listens on ``port``, until the end of the block."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), WAIT_SECONDS).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, process.communicate()[1]
        yield
    finally:
        process.terminate()
        process.communicate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def nginx(stack: Stack, authority: trustme.CA, folder: Path, port: int) -> list[str | Path]:
    certificate = authority.issue_cert(NAME)
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    text = block("nginx").replace("127.0.0.1:9090", f"127.0.0.1:{stack.port}").replace(" 443 ", f" 127.0.0.1:{port} ")
    text = text.replace(f"/etc/ssl/{NAME}.pem", str(folder / "cert.pem"))
    text = text.replace(f"/etc/ssl/{NAME}.key", str(folder / "key.pem"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off;\n{paths}{text}}}\n"
    )
    return [where("nginx", "apt-get install nginx-light"), "-p", folder, "-c", folder / "nginx.conf"]


def caddy(stack: Stack, authority: trustme.CA, folder: Path, port: int) -> list[str | Path]:
    text = block("caddy").replace("127.0.0.1:9090", f"127.0.0.1:{stack.port}")
    # A certificate of Caddy's own authority would be installed for the whole machine.
    text = text.replace(NAME, f"http://{NAME}:{port}", 1)
    (folder / "Caddyfile").write_text(f"{{\nadmin off\nstorage file_system {folder}\n}}\n{text}")
    return [where("caddy", "apt-get install caddy"), "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"]


@pytest.mark.parametrize(("proxy", "scheme"), [(nginx, "https"), (caddy, "http")], ids=["nginx", "caddy"])
def test_a_stream_passes_at_once_and_a_client_that_leaves_is_noticed(
    proxy: Proxy, scheme: str, stack: Stack, authority: trustme.CA, tmp_path: Path
) -> None:
    port = free_port()
    before = stack.application.recorder.total
    body = {
        "model": "glm-5.3:fault=hang_mid",
        "stream": True,
        "messages": [{"role": "user", "content": "x" * 2_000_000}],
    }
    context = ssl.create_default_context()
    authority.configure_trust(context)
    transport = httpx.HTTPTransport(verify=context, local_address="127.0.0.2")
    with running(proxy(stack, authority, tmp_path, port), port), httpx.Client(transport=transport) as client:
        request = client.build_request(
            "POST",
            f"{scheme}://127.0.0.1:{port}/v1/chat/completions",
            json=body,
            headers={"host": NAME, "authorization": "Bearer client-key"},
            extensions={"sni_hostname": NAME},
            timeout=WAIT_SECONDS,
        )
        response = client.send(request, stream=True)
        # The upstream is silent after the first events: a proxy that waits for more would show nothing.
        assert next(response.iter_lines()).startswith("data: ")
        response.close()
        record = stack.record(before + 1)
    assert (record.ending, record.client) == (Ending.CLIENT_DISCONNECT, "127.0.0.2")


def test_the_configuration_of_traefik_is_complete() -> None:
    http = yaml.safe_load(block("yaml"))["http"]
    (router,) = http["routers"].values()
    service = http["services"][router["service"]]["loadBalancer"]
    assert service["servers"] == [{"url": "http://127.0.0.1:9090"}]
    assert service["responseForwarding"]["flushInterval"] == "-1ms"
