"""Where processes listen, and what they print where they cannot."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.processes.program import PYTHON_PATH
from tests.stack import Stack
from ztoapi.cli.main import main


@pytest.fixture(scope="module")
def simulator() -> "Stack":  # type: ignore[misc]  # a generator fixture
    with Stack() as stack:
        yield stack


class StartedProcess(GatewayProcess):
    """A process with a command line of its own, which a fork does not have."""

    def start(self, arguments: list[str], environment: dict[str, str], output: int) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", "ztoapi", *arguments],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": PYTHON_PATH, **environment},
            cwd="/",
            stdout=output,
            stderr=output,
        )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_gateway_on_the_port_is_refused(simulator: Stack, workers: str) -> None:
    with StartedProcess(PORT="0", ZAI_TOKEN="t", WORKERS=workers) as process:
        other = gateway(simulator, WORKERS=workers, PORT=str(process.port), ZTOAPI_HISTORY_FILE="none")
        assert other.wait() == 1
        output = other.rest()
        assert f"PORT (environment): cannot listen on 127.0.0.1:{process.port}: Address already in use; " in output
        assert "choose another port with --port N or PORT=N" in output
        owner = re.search(r"; end process (\d+), '[^']*ztoapi serve", output)
        assert owner is not None and int(owner[1]) in (process.pid, *process.children())
        other.__exit__(None, None, None)
        assert httpx.get(f"{process.url}/livez").status_code == 200


def test_a_gateway_starts_again_on_its_port_after_it_was_killed(simulator: Stack) -> None:
    with gateway(simulator, WORKERS="2") as process:
        with httpx.Client() as client:
            assert client.get(f"{process.url}/livez").status_code == 200
            port = str(process.port)
            children = process.children()
            for pid in [process.pid, *children]:
                process.kill(9, pid)  # type: ignore[arg-type]  # the number of SIGKILL
            process.wait()
    with gateway(simulator, WORKERS="2", PORT=port, ZTOAPI_HISTORY_FILE="none") as process:
        assert httpx.get(f"{process.url}/livez").status_code == 200


def test_an_ipv6_address_stands_in_brackets(simulator: Stack) -> None:
    process = gateway(simulator, HOST="::1")
    try:
        port = process.wait_for_output(r"on http://\[::1\]:(\d+)/v1.*dashboard http://\[::1\]:\1/dashboard")
        assert httpx.get(f"http://[::1]:{port}/livez").status_code == 200
    finally:
        process.__exit__(None, None, None)
    process = GatewayProcess("simulate", "--host", "::1", "--port", "0", "--workers", "2")
    try:
        assert int(process.wait_for_output(r"simulator on http://\[::1\]:(\d+)"))
    finally:
        process.__exit__(None, None, None)


@pytest.mark.parametrize(
    "host", ["[::1]", "nothing.invalid", "127.0.0.1:9090", "http://127.0.0.1", "203.0.113.1", "a..b"]
)
def test_a_host_that_cannot_be_used_is_named_with_its_option_and_a_remedy(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"HOST": host, "DEFAULT_KEY": "sk-zto-test", "ZAI_TOKEN": "t", "PORT": "0"})
    assert main(["serve"]) == 2
    output = capsys.readouterr().err
    assert "HOST (environment): " in output
    assert "such as 127.0.0.1" in output


def test_an_invalid_host_is_reported_with_all_other_problems(simulator: Stack) -> None:
    process = gateway(simulator, HOST="nothing.invalid", PORT="many")
    try:
        assert process.wait() == 2
        lines = process.rest().splitlines()
        for start in (
            "PORT (environment): ",
            "HOST (environment): nothing.invalid does not",
            "DEFAULT_KEY (not set): ",
        ):
            assert any(line.strip().startswith(start) for line in lines), lines
    finally:
        process.__exit__(None, None, None)


def test_ports_of_the_simulator_and_the_demonstration_are_named_with_their_options(simulator: Stack) -> None:
    used = str(simulator.simulator_port)
    for arguments, options in [
        (("simulate", "--port", used), ["--port"]),
        (("demo", "--port", "0", "--sim-port", used), ["--sim-port"]),
        (("demo", "--port", str(simulator.port), "--sim-port", used), ["--port", "--sim-port"]),
    ]:
        process = GatewayProcess(*arguments)
        try:
            assert process.wait() == 1
            lines = process.rest().splitlines()
            assert len(lines) == len(options)
            for line, option in zip(lines, options, strict=True):
                assert line.removeprefix("ztoapi:").strip().startswith(f"{option}: cannot listen on 127.0.0.1:")
                assert f"choose another port with {option} N" in line
        finally:
            process.__exit__(None, None, None)


def test_the_simulators_host_is_named_with_its_option(simulator: Stack) -> None:
    process = GatewayProcess("simulate", "--host", "nothing.invalid", "--port", "0")
    try:
        assert process.wait() == 2
        assert "--host: nothing.invalid does not resolve" in process.rest()
    finally:
        process.__exit__(None, None, None)
