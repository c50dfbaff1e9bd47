"""The access log of ``ztoapi serve``: every request has a line, across workers, rotation and shutdown."""

import concurrent.futures
import contextlib
import json
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack

CANARY = "canary-5b1e"
CHAT = {"model": "glm-4.6:itl=1:tokens=5", "messages": [{"role": "user", "content": f"{CANARY}-body"}]}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def ask(process: GatewayProcess, count: int, first: int = 0) -> set[str]:
    """That many requests over connections of their own, each with an id; returns the ids."""
    ids = {f"request-{number}" for number in range(first, first + count)}

    def one(name: str) -> None:
        headers = {"x-request-id": name, "user-agent": "a" * 100}
        client.post(f"{process.url}/v1/chat/completions", json=CHAT, headers=headers).raise_for_status()

    once = httpx.Limits(max_keepalive_connections=0)
    with httpx.Client(limits=once) as client, concurrent.futures.ThreadPoolExecutor(4) as pool:
        for _ in pool.map(one, ids):
            pass
    return ids


def test_each_request_has_a_line_when_the_gateway_has_ended(simulator: Stack, path: Path) -> None:
    with gateway(simulator, ZTOAPI_ACCESS_LOG=str(path), WORKERS="2") as process:
        ids = ask(process, 60)
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
    written = lines(path)
    assert len(written) == 60
    assert {line["request_id"] for line in written} == ids
    assert {line["status"] for line in written} == {200}


def test_a_hangup_opens_the_file_anew(simulator: Stack, path: Path) -> None:
    old = path.with_suffix(".1")
    with gateway(simulator, ZTOAPI_ACCESS_LOG=str(path), WORKERS="2") as process:
        first = ask(process, 20)
        path.rename(old)
        second = ask(process, 20, first=20)
        process.kill(signal.SIGHUP)
        process.wait_for(lambda: path.exists() and _all_have_it_open(process, path))
        process.wait_for_output("(the access log is opened anew; the configuration has not changed)")
        third = ask(process, 20, first=40)
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
    assert {line["request_id"] for line in lines(old) + lines(path)} == first | second | third
    assert {line["request_id"] for line in lines(path)} >= third


def _all_have_it_open(process: GatewayProcess, path: Path) -> bool:
    """Whether each process has ``path`` open as it is now."""
    wanted = path.stat().st_ino
    return all(wanted in _open_files(pid) for pid in [process.pid, *process.children()])


def _open_files(pid: int) -> set[int]:
    found = set()
    for file in Path(f"/proc/{pid}/fd").iterdir():
        # It may be closed while it is looked at.
        with contextlib.suppress(FileNotFoundError):
            found.add(file.stat().st_ino)
    return found


def test_a_broken_key_file_does_not_keep_the_log_from_being_rotated(simulator: Stack, path: Path) -> None:
    keys = path.with_name("keys.toml")
    keys.write_text("")
    with gateway(simulator, ZTOAPI_ACCESS_LOG=str(path), ZTOAPI_KEY_FILE=str(keys), WORKERS="2") as process:
        keys.write_text("broken")
        path.rename(path.with_suffix(".1"))
        process.kill(signal.SIGHUP)
        process.wait_for(lambda: path.exists() and _all_have_it_open(process, path))
        assert process.wait_for_output(r"(keeping the current keys)")


def test_no_secret_and_no_body_is_in_any_line(simulator: Stack, path: Path) -> None:
    secrets = {
        "ZAI_TOKEN": f"{CANARY}-token",
        "DEFAULT_KEY": f"{CANARY}-key",
        "ADMIN_KEY": f"{CANARY}-admin",
    }
    with gateway(simulator, ZTOAPI_ACCESS_LOG=str(path), DEBUG_MODE="true", **secrets) as process:
        with httpx.Client() as client:
            for key in (f"{CANARY}-key", f"{CANARY}-wrong"):
                headers = {"authorization": f"Bearer {key}"}
                for stream in (True, False):
                    client.post(f"{process.url}/v1/chat/completions", json={**CHAT, "stream": stream}, headers=headers)
                client.get(f"{process.url}/v1/models?key={key}", headers={"x-api-key": key})
        httpx.get(f"{process.url}/metrics", headers={"authorization": f"Bearer {CANARY}-admin"})
        with socket.create_connection(("127.0.0.1", process.port)) as broken:
            broken.sendall(f"GET / HTTP/1.1\r\nauthorization {CANARY}-broken\r\n\r\n".encode())
            assert broken.recv(100).startswith(b"HTTP/1.1 400")
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
        process.output += process.rest()
    written = lines(path)
    assert len(written) == 8
    assert {line.get("key") for line in written} == {"default", None}
    assert {line.get("credential") for line in written} == {"zai-1", None}
    assert CANARY not in path.read_text("utf-8")
    assert CANARY not in process.output


@pytest.mark.parametrize("where", ["stdout", "stderr"])
def test_standard_streams_get_lines_too(simulator: Stack, where: str) -> None:
    with gateway(simulator, ZTOAPI_ACCESS_LOG=where, WORKERS="2") as process:
        ids = ask(process, 30)
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
        process.output += process.rest()
    shown = [json.loads(line) for line in process.output.splitlines()]
    assert {line["request_id"] for line in shown if "request_id" in line} == ids


def test_text_on_demand(simulator: Stack, path: Path) -> None:
    with gateway(simulator, ZTOAPI_ACCESS_LOG=str(path), ZTOAPI_ACCESS_LOG_FORMAT="text") as process:
        ask(process, 1)
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
    assert '"POST /v1/chat/completions" 200 done ' in path.read_text("utf-8")


def test_a_reader_that_takes_nothing_does_not_stop_the_gateway(simulator: Stack) -> None:
    """Its standard output is a pipe without a reader here."""
    with gateway(simulator, ZTOAPI_ACCESS_LOG="stdout") as process:
        with httpx.Client() as client:
            for _ in range(400):
                assert client.get(f"{process.url}/v1/models", headers={"user-agent": "a" * 120}).status_code == 200
        process.kill(signal.SIGTERM)
        assert process.wait() == 0


def test_a_file_that_cannot_be_opened_is_refused_with_2(simulator: Stack, path: Path) -> None:
    process = gateway(simulator, ZTOAPI_ACCESS_LOG=str(path / "no" / "access.log"))
    assert process.wait() == 2
    assert "access.log cannot be written (No such file or directory): name a file in" in process.wait_for_output(
        "(?s)(.+)"
    )
    process.__exit__(None, None, None)
