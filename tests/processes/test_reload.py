"""The key file is read again by every process, when it changes and at SIGHUP, and no stream notices."""

import signal
from pathlib import Path

import httpx
import pytest

from tests.keys.files import add, remove
from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack
from ztoapi.config.keyfile import revoke_key

BODY = {"model": "glm-4.6:itl=10:tokens=100", "messages": [{"role": "user", "content": "x"}], "stream": True}
READ = r"loaded \d+ client keys from"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def statuses(process: GatewayProcess, key: str) -> set[int]:
    """Of so many connections that each worker has had one."""
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(limits=httpx.Limits(max_keepalive_connections=0), headers=headers) as client:
        answers = [client.get(f"{process.url}/v1/models") for _ in range(40)]
    workers = {answer.headers["x-request-id"][:16] for answer in answers}
    assert len(workers) == len(process.children())
    return {answer.status_code for answer in answers}


def reload(process: GatewayProcess, times: int = 1) -> None:
    """Send SIGHUP; returns when each process has read the file for the ``times``-th time."""
    process.kill(signal.SIGHUP)
    wait_for_reads(process, times)


def wait_for_reads(process: GatewayProcess, times: int) -> None:
    workers = len(process.children())
    process.wait_for_output(f"(?s)((?:{READ}.*){{{times * (workers + 1)}}})")


def test_a_changed_file_is_read_without_a_signal(simulator: Stack, path: Path) -> None:
    alice = add(path, "alice")
    with gateway(simulator, ZTOAPI_KEY_FILE=str(path), WORKERS="2") as process:
        assert statuses(process, alice) == {200}
        bob = add(path, "bob")
        wait_for_reads(process, 1)
        assert [statuses(process, key) for key in (alice, bob)] == [{200}, {200}]
        good = path.read_text()
        path.write_text("broken")
        process.wait_for_output(r"(keeping the current keys: .*not valid TOML)")
        assert [statuses(process, key) for key in (alice, bob)] == [{200}, {200}]
        path.write_text(good)
        revoke_key(path, "alice")
        wait_for_reads(process, 2)
        assert [statuses(process, key) for key in (alice, bob)] == [{401}, {200}]
        for pid in process.children():
            process.kill(signal.SIGKILL, pid)
        process.wait_for(lambda: process.output.count("restarting it") == 2)
        process.wait_for(lambda: len(process.children()) == 2)
        assert [statuses(process, key) for key in (alice, bob)] == [{401}, {200}]
    assert process.output.count("keeping the current keys") == 1
    assert all(key not in process.output for key in (alice, bob))


def test_a_stream_runs_on_across_a_reload_that_ends_its_key(simulator: Stack, path: Path) -> None:
    alice, bob, carol = (add(path, name) for name in ("alice", "bob", "carol"))
    with gateway(simulator, ZTOAPI_KEY_FILE=str(path), WORKERS="2") as process:
        pids = process.children()
        assert statuses(process, alice) == {200}
        headers = {"authorization": f"Bearer {alice}"}
        with httpx.stream("POST", f"{process.url}/v1/chat/completions", json=BODY, headers=headers) as response:
            lines = response.iter_lines()
            next(lines)
            revoke_key(path, "alice")
            remove(path, "bob")
            dave = add(path, "dave")
            reload(process)
            assert [statuses(process, key) for key in (alice, bob, carol, dave)] == [{401}, {401}, {200}, {200}]
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert len(rest) >= 100
        assert process.children() == pids
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
    assert all(key not in process.output for key in (alice, bob, carol, dave))


def test_a_broken_file_is_logged_and_the_keys_stay(simulator: Stack, path: Path) -> None:
    alice = add(path, "alice")
    good = path.read_text()
    with gateway(simulator, ZTOAPI_KEY_FILE=str(path), WORKERS="2") as process:
        path.write_text(good.replace("[alice]", "[alice]\nexpires = 'soon'"))
        process.kill(signal.SIGHUP)
        process.wait_for_output(r"(keeping the current keys)")
        assert f"alice.expires ({path} line 2): must be a date" in process.output
        assert statuses(process, alice) == {200}
        path.write_text(good)
        bob = add(path, "bob")
        reload(process)
        assert statuses(process, bob) == {200}
        assert process.output.count("alice.expires") == 1


def test_a_worker_that_is_started_again_has_the_keys_of_the_last_reload(simulator: Stack, path: Path) -> None:
    """Of the last one that was good: not those of the start, nor a file that is broken by now."""
    alice, bob = add(path, "alice"), add(path, "bob")
    with gateway(simulator, ZTOAPI_KEY_FILE=str(path), WORKERS="2") as process:
        revoke_key(path, "alice")
        reload(process)
        path.write_text("broken")
        for pid in process.children():
            process.kill(signal.SIGKILL, pid)
        process.wait_for_output(r"(?s)(restarting it.*restarting it)")
        process.wait_for(lambda: len(process.children()) == 2)
        for _ in range(5):
            assert statuses(process, alice) == {401}
            assert statuses(process, bob) == {200}


def test_many_hangups_in_a_row_are_harmless(simulator: Stack, path: Path) -> None:
    alice = add(path, "alice")
    with gateway(simulator, ZTOAPI_KEY_FILE=str(path), WORKERS="2") as process:
        pids = process.children()
        for _ in range(50):
            process.kill(signal.SIGHUP)
            for pid in pids:
                process.kill(signal.SIGHUP, pid)
        assert statuses(process, alice) == {200}
        assert process.children() == pids


def test_a_broken_file_at_the_start_is_refused_with_2(path: Path) -> None:
    path.write_text("[alice]\nexpires = 1\n")
    process = GatewayProcess(ZAI_TOKEN="t", PORT="0", ZTOAPI_KEY_FILE=str(path))
    assert process.wait() == 2
    output = process.wait_for_output(r"(?s)(.+alice\.hash.+)")
    assert f"alice.expires ({path} line 2): must be a date" in output
    process.__exit__(None, None, None)
