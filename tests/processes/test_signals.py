"""Signals, standard streams and terminals of real processes."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.processes.program import PYTHON_PATH, Program
from tests.stack import BASES, Stack
from tests.support.waiting import WAIT_SECONDS
from ztoapi.server.sockets import bind

BODY = {"model": "glm-4.6:itl=20:tokens=75", "messages": [{"role": "user", "content": "x"}], "stream": True}
"""A stream of 1.5 seconds: time enough to send a signal meanwhile, also on a busy machine."""
ROOT = Path(__file__).parents[2]
NOT_STOPS = [signal.SIGHUP, signal.SIGUSR1]


@pytest.mark.parametrize("number", NOT_STOPS)
def test_a_signal_without_anything_to_do_ends_nothing(simulator: Stack, number: signal.Signals) -> None:
    with gateway(simulator, WORKERS="2") as process:
        children = process.children()
        with httpx.stream("POST", f"{process.url}/v1/chat/completions", json=BODY) as response:
            lines = response.iter_lines()
            next(lines)
            # An operator may pick the number of a worker.
            for pid in children:
                process.kill(number, pid)
            process.kill(number)
            process.wait_for_output(f"({number.name}: nothing to do, because [a-z])")
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.children() == children
        process.kill(signal.SIGTERM)
        assert process.wait() == 0


def test_a_signal_during_the_start_ends_nothing(simulator: Stack) -> None:
    process = gateway(simulator, WORKERS="2")
    try:
        blocked = Path(f"/proc/{process.pid}/status")
        bit = 1 << signal.SIGUSR1 - 1
        process.wait_for(lambda: bool(int(re.findall(r"SigBlk:\s*(\w+)", blocked.read_text())[0], 16) & bit))
        for number in NOT_STOPS:
            process.kill(number)
        for number in NOT_STOPS:
            process.wait_for_output(f"({number.name}: nothing to do)")
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.__exit__(None, None, None)


def test_sigquit_drains(simulator: Stack) -> None:
    with gateway(simulator, WORKERS="2") as process:
        with httpx.stream("POST", f"{process.url}/v1/chat/completions", json=BODY) as response:
            lines = response.iter_lines()
            next(lines)
            process.kill(signal.SIGQUIT)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_drain_is_logged(simulator: Stack, workers: str) -> None:
    with gateway(simulator, WORKERS=workers) as process:
        with httpx.stream("POST", f"{process.url}/v1/chat/completions", json=BODY) as response:
            lines = response.iter_lines()
            next(lines)
            process.kill(signal.SIGTERM)
            process.wait_for_output(r"(1 request in flight, which may finish until \d\d:\d\d:\d\d \(30 s\))")
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait() == 0
        output = process.output + process.rest()
    assert output.count(": all requests have finished") == int(workers)
    if workers == "2":
        assert "stopping 2 workers: requests in flight may finish until " in output
        assert "0 requests in flight, which may finish until " in output
        assert "all workers have ended, and all requests have finished" in output


def accepts(address: str | int) -> bool:
    """Whether the kernel accepts a connection."""
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with socket.socket(family) as sock:
        return sock.connect_ex(("127.0.0.1", address) if isinstance(address, int) else address) == 0


def test_connections_are_refused_while_a_gateway_drains(simulator: Stack, tmp_path: Path) -> None:
    """A connection that the kernel accepts and no worker reads would wait for the end of the drain."""
    path = str(tmp_path / "http.sock")
    endless = {**BODY, "model": "glm-4.6:itl=10:tokens=100000"}
    with gateway(simulator, WORKERS="2", ZTOAPI_LISTEN=f"127.0.0.1:0,unix:{path}") as process:
        assert accepts(process.port)
        assert accepts(path)
        with httpx.stream("POST", f"{process.url}/v1/chat/completions", json=endless) as response:
            lines = response.iter_lines()
            next(lines)
            process.kill(signal.SIGTERM)
            process.wait_for_output("(1 request in flight)")
            process.wait_for(lambda: not accepts(process.port) and not accepts(path))
            process.kill(signal.SIGTERM)
            with contextlib.suppress(httpx.TransportError):
                list(lines)
        assert process.wait() == 1
    assert not Path(path).exists()


@pytest.mark.parametrize(("drain", "reason"), [("0", "the end of the drain time"), ("30", "a second signal")])
def test_requests_that_a_drain_cuts_off_are_logged(simulator: Stack, drain: str, reason: str) -> None:
    endless = {**BODY, "model": "glm-4.6:itl=10:tokens=100000"}
    with gateway(simulator, WORKERS="2", DRAIN_SECONDS=drain) as process:
        with httpx.stream("POST", f"{process.url}/v1/chat/completions", json=endless) as response:
            lines = response.iter_lines()
            next(lines)
            process.kill(signal.SIGTERM)
            process.wait_for_output("(1 request in flight)")
            if drain != "0":
                process.kill(signal.SIGTERM)
            with contextlib.suppress(httpx.TransportError):
                list(lines)
        assert process.wait() == 1
        output = process.output + process.rest()
    assert output.count(f"{reason} cut off 1 request in flight") == 1
    assert "not all of them cleanly: exit code 1" in output


def test_sigusr1_opens_the_access_log_anew(simulator: Stack, tmp_path: Path) -> None:
    log, old = tmp_path / "access.log", tmp_path / "old.log"
    with gateway(simulator, WORKERS="2", ZTOAPI_ACCESS_LOG=str(log)) as process:
        httpx.get(f"{process.url}/livez")
        process.wait_for(lambda: log.stat().st_size > 0)
        log.rename(old)
        process.kill(signal.SIGUSR1)
        process.wait_for(log.exists)
        size = old.stat().st_size

        def written() -> bool:
            httpx.get(f"{process.url}/livez")
            return log.stat().st_size > 0

        process.wait_for(written)
        assert old.stat().st_size >= size


class Terminal:
    """A gateway whose controlling terminal, standard input included, is a pseudo terminal; its output is a pipe."""

    def __init__(self, simulator: Stack, workers: str) -> None:
        self.master, slave = pty.openpty()
        self._reader, writer = os.pipe()
        with open(os.devnull, "wb") as null:
            self.process = Program(
                "serve", environment=environment(simulator, WORKERS=workers),
                stdin=slave, stdout=null.fileno(), stderr=writer, session=True,
            )  # fmt: skip
        os.close(writer)
        os.close(slave)
        line = os.read(self._reader, 65536).decode()
        self.url = "http://127.0.0.1:" + re.findall(r"127\.0\.0\.1:(\d+)/v1", line)[0]

    def close(self) -> None:
        os.close(self._reader)
        with contextlib.suppress(OSError):
            os.close(self.master)


def environment(simulator: Stack, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": PYTHON_PATH,
        "PLATFORM_ID": "zai",
        "UPSTREAM_URL": f"http://127.0.0.1:{simulator.simulator_port}{BASES['zai']}",
        "ZAI_TOKEN": "t",
        "PORT": "0",
        "ZTOAPI_ACCESS_LOG": "off",
        **more,
    }


@pytest.mark.parametrize("how", ["hangup", "interrupt"])
def test_the_end_of_a_terminal_and_ctrl_c_drain(simulator: Stack, how: str) -> None:
    terminal = Terminal(simulator, "2")
    try:
        with httpx.stream("POST", f"{terminal.url}/v1/chat/completions", json=BODY) as response:
            lines = response.iter_lines()
            next(lines)
            if how == "hangup":
                os.close(terminal.master)
            else:
                os.write(terminal.master, b"\x03")
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert terminal.process.wait() == 0
    finally:
        terminal.process.kill()
        terminal.close()


@pytest.mark.parametrize(
    ("closed", "workers"),
    [*((closed, "1") for closed in ("0", "1", "2", "01", "02", "12", "012")), ("0", "2"), ("12", "2"), ("012", "2")],
)
def test_closed_standard_streams(simulator: Stack, tmp_path: Path, closed: str, workers: str) -> None:
    log = tmp_path / "history.db"
    variables = environment(simulator, WORKERS=workers, ZTOAPI_ACCESS_LOG="stdout", ZTOAPI_HISTORY_FILE=str(log))
    output = tmp_path / "output"
    with output.open("wb") as file:
        shell = " ".join(f"{number}>&-" for number in closed)
        port = free_port()
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {sys.executable} -m ztoapi serve --port {port} {shell}"],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        wait_until_ready(process, port)
        quick = {**BODY, "model": "glm-4.6"}
        assert httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=quick).text.endswith("data: [DONE]\n\n")
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
    finally:
        process.kill()
    text = output.read_text()
    assert ("there is no access log" in text) == ("1" in closed and "2" not in closed)
    assert ('"path":"/v1/chat/completions"' in text) == ("1" not in closed)
    assert "cannot be written" not in text
    assert "Assertion" not in text


def free_port() -> int:
    with bind("127.0.0.1", 0, backlog=1) as sock:
        port: int = sock.getsockname()[1]
    return port


def wait_until_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    for _ in range(int(WAIT_SECONDS * 20)):
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/livez")
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    raise AssertionError("it does not listen")


@pytest.mark.parametrize("command", [["demo", "--port", "0", "--sim-port", "0"], ["simulate", "--port", "0"]])
def test_the_demonstration_and_the_simulator_take_signals(command: list[str]) -> None:
    process = GatewayProcess(*command)
    try:
        process.wait_for_output(r"http://127\.0\.0\.1:(\d+)")
        process.kill(signal.SIGHUP)
        process.wait_for_output(r"(SIGHUP: nothing to do, because this command has no configuration)")
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.__exit__(None, None, None)


@pytest.mark.parametrize("command", ["demo --port 0 --sim-port 0", "simulate --port 0 --workers 2"])
def test_closed_standard_streams_of_the_demonstration_and_the_simulator(tmp_path: Path, command: str) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {sys.executable} -m ztoapi {command} 0>&- 2>&-"], stdout=file, cwd=ROOT
        )
    try:
        for _ in range(int(WAIT_SECONDS * 20)):
            if "http://127.0.0.1:" in output.read_text():
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
    finally:
        process.kill()


def test_a_full_standard_error_stops_nothing(simulator: Stack) -> None:
    reader, writer = os.pipe()
    # As small as a pipe can be: a page.
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(
        [sys.executable, "-m", "ztoapi", "serve"],
        env=environment(simulator, WORKERS="2", UPSTREAM_URL="http://127.0.0.1:1/v1", ADMIN_KEY="admin"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writer,
    )
    try:
        os.close(writer)
        banner = os.read(reader, 65536).decode()
        url = "http://127.0.0.1:" + re.findall(r"127\.0\.0\.1:(\d+)/v1", banner)[0]
        pids = [process.pid, *children(process.pid)]
        # Each message is a line of the log; a page holds some fifty.
        for _ in range(200):
            for pid in pids:
                os.kill(pid, signal.SIGUSR1)
            assert httpx.get(f"{url}/livez").status_code == 200
        assert select.select([reader], [], [], 0)[0]
        assert httpx.get(f"{url}/metrics", headers={"authorization": "Bearer admin"}).status_code == 200
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
    finally:
        process.kill()
        os.close(reader)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
