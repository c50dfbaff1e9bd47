"""Reloads that change addresses, workers and certificates, and those that fail."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
import trustme

from tests.keys.files import add
from tests.processes.gateway_process import GatewayProcess, gateway
from tests.processes.program import run
from tests.processes.test_rolling import LONG, SHORT, Load, command
from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS
from ztoapi.server.sockets import bind

ROOT = Path(__file__).parents[2]
BREAKING = """
from ztoapi.cli import serve

make = serve.Application

def break_or_make(config, *rest):
    if config.server.queue_seconds == 9:
        raise RuntimeError("this configuration breaks workers")
    return make(config, *rest)

serve.Application = break_or_make
"""
"""Code of the gateway's process: workers cannot start with a queue of 9 s."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(BREAKING)
    path = tmp_path / "ztoapi.toml"
    path.write_text("")
    return path


def start(simulator: Stack, config: Path, server: str = "", *arguments: str, **environment: str) -> GatewayProcess:
    config.write_text(f"[server]\n{server}\n")
    python_path = f"{config.parent}:{ROOT}"
    environment = {"XDG_STATE_HOME": str(config.parent), "PYTHONPATH": python_path, **environment}
    return gateway(simulator, "--config", str(config), *arguments, **environment)


def reload(config: Path, server: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Changes the configuration, and runs ``ztoapi reload``."""
    config.write_text(f"[server]\n{server}\n")
    return run("reload", "--config", str(config), *arguments, ZAI_TOKEN="t", XDG_STATE_HOME=str(config.parent))


def free_port() -> int:
    with bind("127.0.0.1", 0, backlog=1) as sock:
        port: int = sock.getsockname()[1]
    return port


def ready(path: Path) -> int:
    """Returns the status of /readyz on a Unix socket."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost") as client:
        return client.get("/readyz").status_code


def test_addresses_change_while_others_stay(simulator: Stack, config: Path) -> None:
    first, second = (config.parent / name for name in ("first.sock", "second.sock"))
    port, other = free_port(), free_port()
    tcp = f"'127.0.0.1:{port}'"
    with start(simulator, config, f"listen = [{tcp}, 'unix:{first}']", WORKERS="2") as process:
        load = Load(process.url)

        async def use() -> None:
            async with load.running():
                # The command finds the gateway by its first address.
                listen = f"listen = [{tcp}, 'unix:{first} mode=0660', 'unix:{second}']"
                done = await asyncio.to_thread(reload, config, listen)
                assert (done.returncode, done.stderr) == (0, "")
                assert first.stat().st_mode & 0o777 == 0o660
                assert [ready(first), ready(second)] == [200, 200]
                done = await asyncio.to_thread(reload, config, f"listen = [{tcp}, 'unix:{second}']")
                assert (done.returncode, done.stderr) == (0, "")
                assert not first.exists()
                assert ready(second) == 200

        asyncio.run(use())
        assert load.failures == []
        done = reload(config, f"listen = ['127.0.0.1:{other}', 'unix:{second}']", "--port", str(port))
        assert (done.returncode, done.stderr) == (0, "")
        assert httpx.get(f"http://127.0.0.1:{other}/readyz").status_code == 200
        assert ready(second) == 200
        process.wait_for(lambda: len(process.children()) == 2)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{process.url}/readyz")
        # The command finds the gateway at its new address.
        done = reload(config, f"listen = ['127.0.0.1:{other}', 'unix:{second}']")
        assert (done.returncode, done.stdout) == (0, "the configuration has not changed\n")
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
        assert not second.exists()


def test_no_request_is_lost_while_the_number_of_workers_changes(simulator: Stack, config: Path) -> None:
    with start(simulator, config, "workers = 3") as process:
        load = Load(process.url)
        port = ("--port", str(process.port))

        async def use() -> None:
            async with load.running():
                for workers in (1, 4, 2):
                    done = await asyncio.to_thread(reload, config, f"workers = {workers}", *port)
                    assert (done.returncode, done.stderr) == (0, "")

        asyncio.run(use())
        # The kernel resets connections that it establishes while a worker stops listening.
        assert [failure for failure in load.failures if not failure.startswith("ReadError")] == []
        assert len(load.failures) <= 2
        process.wait_for(lambda: len(process.children()) == 2)


def test_a_configuration_that_breaks_workers_changes_nothing(simulator: Stack, config: Path) -> None:
    with start(simulator, config, "workers = 2") as process:
        port = ("--port", str(process.port))
        before = set(process.children())
        for workers in (4, 1):
            done = reload(config, f"workers = {workers}\nqueue_seconds = 9", *port)
            assert done.returncode == 1
            assert "reload failed: a new worker ended (1) before it served; the others continue" in done.stderr
            process.wait_for(lambda: set(process.children()) == before)
            # New connections reach each listening socket.
            assert [httpx.get(f"{process.url}/readyz").status_code for _ in range(30)] == [200] * 30
        # A worker that dies has the old configuration, and so has one that is added.
        process.kill(signal.SIGKILL, before.pop())
        process.wait_for(lambda: len(process.children()) == 2)
        process.kill(signal.SIGTTIN)
        process.wait_for(lambda: len(process.children()) == 3)
        # The same configuration is not taken for the one in force.
        assert reload(config, "workers = 1\nqueue_seconds = 9", *port).returncode == 1
        done = reload(config, "workers = 2", *port)
        assert (done.returncode, done.stdout) == (0, "reload: all 2 workers have been replaced\n")
        process.wait_for(lambda: len(process.children()) == 2)
        assert before.isdisjoint(process.children())


def test_every_limit_can_be_added(simulator: Stack, config: Path) -> None:
    rates = "requests_per_second = 9\nrequests_per_minute = 99\ntokens_per_minute = 99999\n"
    limits = f"{rates}bandwidth_bytes_per_second = 999999\nmax_concurrency = 2\n"
    with start(simulator, config) as process:
        tables = "".join(f"[limits.{scope}]\n{limits}" for scope in ("global", "key", "model", "address"))
        done = reload(config, f"\n{tables}", "--port", str(process.port))
        assert (done.returncode, done.stderr) == (0, "")
        response = httpx.post(f"{process.url}/v1/chat/completions", json=SHORT)
        assert response.headers["x-ratelimit-limit-requests"] == "9"


def test_a_reload_that_finds_no_room_for_limits_changes_nothing(simulator: Stack, config: Path) -> None:
    code = "from ztoapi.limits import shared_limits\nshared_limits.SharedLimits._allocate = no_room\n"
    raising = "def no_room(self, size):\n    raise MemoryError('no room for further limits: restart the gateway')\n"
    (config.parent / "sitecustomize.py").write_text(raising + code)
    with start(simulator, config) as process:
        before = process.children()
        done = reload(config, "\n[limits.global]\nrequests_per_minute = 9", "--port", str(process.port))
        assert done.returncode == 1
        assert "limits: no room for further limits: restart the gateway" in done.stderr
        assert process.children() == before
        assert httpx.get(f"{process.url}/readyz").status_code == 200


def test_more_workers_wait_for_the_slots_of_retired_ones(simulator: Stack, config: Path) -> None:
    endless = LONG | {"model": "glm-4.6:itl=100:tokens=9999"}
    with start(simulator, config, "workers = 1", DRAIN_SECONDS="600") as process, ExitStack() as streams:
        parts = []
        for number in range(1, 9):
            stream = httpx.stream("POST", f"{process.url}/v1/chat/completions", json=endless)
            parts.append(streams.enter_context(stream).iter_bytes())
            next(parts[-1])
            done = reload(config, f"workers = 1\nqueue_seconds = {number}.5", "--port", str(process.port))
            assert (done.returncode, done.stderr) == (0, "")
        config.write_text("[server]\nworkers = 4\nqueue_seconds = 20\n")
        process.kill(signal.SIGHUP)
        # Eight retired workers, and two more slots.
        process.wait_for(lambda: len(process.children()) == 10)
        streams.close()
        process.wait_for_output(r"(reload: all 4 workers have been replaced)")
        process.wait_for(lambda: len(process.children()) == 4)
        assert httpx.post(f"{process.url}/v1/chat/completions", json=SHORT).status_code == 200


def test_reloads_leave_no_files_open(simulator: Stack, config: Path) -> None:
    """Neither those that fail after they have opened files, nor those that take other files."""
    keys = config.parent / "keys.toml"
    add(keys, "alice", tokens_per_day=5)

    def change(name: str, server: str = "") -> None:
        path = config.parent / name
        config.write_text(f"access_log = '{path}.log'\nhistory_file = '{path}.db'\n[server]\n{server}\n")
        done = command("reload", process, config.parent, config)
        assert done.returncode == (1 if server else 0), done.stderr
        assert path.with_suffix(".log").exists()

    def open_files() -> list[str]:
        return sorted(os.readlink(number) for number in Path(f"/proc/{process.pid}/fd").iterdir())

    environment = {"ZTOAPI_KEY_FILE": str(keys), "ZTOAPI_ACCESS_LOG": ""}
    with start(simulator, config, **environment) as process, bind("127.0.0.1", 0, backlog=1) as busy:
        change("first")
        change("second")
        before = open_files()
        for number in range(2):
            change(f"failed-{number}", f"listen = ['127.0.0.1:{busy.getsockname()[1]}']")
        assert open_files() == before
        # The files of the last configuration and of the one before are open.
        change("third")
        change("fourth")
        assert len(open_files()) == len(before)


def tls_address(directory: Path) -> str:
    """Makes ``pem``, a certificate with its key, and ``ca.pem``. Returns options for an address that uses it."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    ca.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(directory / "pem"))
    return f"listen = ['127.0.0.1:0', '127.0.0.1:0 tls']\ntls_cert_files = ['{directory / 'pem'}']"


def test_a_handshake_that_has_begun_is_finished_by_a_retired_worker(simulator: Stack, config: Path) -> None:
    server = tls_address(config.parent)
    with start(simulator, config, server) as process:
        port = int(process.wait_for_output(r"https://127\.0\.0\.1:(\d+)"))
        context = ssl.create_default_context(cafile=str(config.parent / "ca.pem"))
        with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as raw:
            process.wait_for(lambda: httpx.get(f"{process.url}/readyz").status_code == 200)
            config.write_text(f"[server]\n{server}\nqueue_seconds = 2\n")
            process.kill(signal.SIGHUP)
            process.wait_for_output(r"(shuts down: 0 requests in flight)")
            with context.wrap_socket(raw, server_hostname="localhost") as connection:
                connection.sendall(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_a_worker_that_starts_again_does_not_need_the_files_of_certificates(simulator: Stack, config: Path) -> None:
    server = tls_address(config.parent)
    with start(simulator, config, server) as process:
        port = int(process.wait_for_output(r"https://127\.0\.0\.1:(\d+)"))
        (config.parent / "pem").write_text("damaged")
        (first,) = process.children()
        process.kill(signal.SIGKILL, first)
        process.wait_for(lambda: process.children() not in ([], [first]))
        context = ssl.create_default_context(cafile=str(config.parent / "ca.pem"))
        assert httpx.get(f"https://localhost:{port}/readyz", verify=context).status_code == 200


class FirstProcess(GatewayProcess):
    """A gateway as process 1 of its namespace, which starts with a child of another program and its orphan."""

    def start(self, arguments: list[str], environment: dict[str, str], output: int) -> "subprocess.Popen[bytes]":
        program = f"(sh -c 'sleep 0.3 & :' &); exec {sys.executable} -m ztoapi {' '.join(arguments)}"
        return subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", program],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
            cwd="/",
            stdout=output,
            stderr=output,
        )


def test_process_1_reaps_the_children_of_others(simulator: Stack, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], check=False).returncode:
        pytest.skip("this user cannot make namespaces")
    upstream = f"http://127.0.0.1:{simulator.simulator_port}"
    variables = {"UPSTREAM_URL": upstream, "PLATFORM_ID": "zai", "ZAI_TOKEN": "t", "PORT": "0"}
    with FirstProcess(**variables, XDG_STATE_HOME=str(tmp_path)) as process:
        (first,) = process.children()
        children = Path(f"/proc/{first}/task/{first}/children")
        process.wait_for(lambda: len(children.read_text().split()) == 1)
        process.kill(signal.SIGTERM, first)
        assert process.wait() == 0


def test_a_version_that_cannot_be_imported_does_not_replace_the_running_one(simulator: Stack, config: Path) -> None:
    with start(simulator, config) as process:
        workers = process.children()
        (config.parent / "sitecustomize.py").write_text("import sys\nsys.modules['ztoapi.app'] = None\n")
        process.kill(signal.SIGUSR2)
        process.wait_for_output(r"(the new version cannot start, and this one continues)")
        assert process.children() == workers
        assert httpx.get(f"{process.url}/readyz").status_code == 200
