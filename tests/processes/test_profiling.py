"""/debug/pprof/ of a gateway in a process of its own: only a main thread can be profiled."""

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS

BODY = {"model": "glm-4.6:itl=0:tokens=400", "messages": [{"role": "user", "content": "x"}], "stream": True}
KEY = {"authorization": "Bearer admin"}
TRIES = 60
"""Profiles of a second each. On a busy machine one has some three samples, of which a tenth are writes."""


@pytest.fixture(scope="module")
def running(simulator: Stack) -> Iterator[GatewayProcess]:
    with gateway(simulator, ADMIN_KEY="admin") as process:
        yield process


def ask(process: GatewayProcess, path: str, method: str = "GET") -> httpx.Response:
    return httpx.request(method, f"{process.url}/debug/pprof{path}", headers=KEY, timeout=WAIT_SECONDS + 20.0)


@contextmanager
def load(process: GatewayProcess) -> Iterator[None]:
    """Streams, one after the other, from two clients."""
    stop = threading.Event()

    def ask_on() -> None:
        with httpx.Client() as client:
            while not stop.is_set():
                client.post(f"{process.url}/v1/chat/completions", json=BODY)

    threads = [threading.Thread(target=ask_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def until(condition: Callable[[], bool]) -> None:
    """Each look is a request, which takes the gateway a while."""
    for _ in range(2000):
        if condition():
            return
    raise AssertionError("it never came true")


def profiling(process: GatewayProcess) -> bool:
    return "ProfilingHandler._profile" in ask(process, "/tasks").text


@contextmanager
def long_profile(process: GatewayProcess) -> Iterator[socket.socket]:
    """A profile of 60 seconds, which has begun."""
    with socket.create_connection(("127.0.0.1", process.port), WAIT_SECONDS) as sock:
        sock.sendall(
            b"GET /debug/pprof/profile?seconds=60&format=collapsed HTTP/1.1\r\nhost: localhost\r\n"
            b"authorization: Bearer admin\r\n\r\n"
        )
        until(lambda: profiling(process))
        yield sock


def test_a_profile_names_what_serves_requests(running: GatewayProcess) -> None:
    relayed = r"^event loop;ztoapi\.upstream\.connection\.\S*;ztoapi\.relay\.relay\.Relay\.on_data"
    written = r"ztoapi\.server\.stream\.ResponseStream\.write"
    seen = ""
    with load(running):
        for _ in range(TRIES):
            answer = ask(running, "/profile?seconds=1&format=collapsed")
            seen += answer.text
            if re.search(relayed, seen, re.M) and re.search(written, seen):
                break
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-ztoapi-pid"] == str(running.children()[0])
    assert re.search(relayed, seen, re.M) and re.search(written, seen)
    lines = answer.text.splitlines()
    assert all(re.fullmatch(r"[^;]+(;[^;]+)* [0-9]+", line) for line in lines)
    assert sum(int(line.rpartition(" ")[2]) for line in lines) == int(answer.headers["x-ztoapi-samples"])


def test_formats(running: GatewayProcess) -> None:
    with load(running):
        speedscope = ask(running, "/profile?seconds=1&format=speedscope")
        page = ask(running, "/profile?seconds=1")
    (profile,) = json.loads(speedscope.text)["profiles"]
    assert sum(profile["weights"]) == pytest.approx(int(speedscope.headers["x-ztoapi-samples"]) / 100)
    assert "attachment" in speedscope.headers["content-disposition"]
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    found = re.search(r'<script type="application/json" id="profile">(.*?)</script>', page.text, re.S)
    assert found is not None
    assert sum(count for _, count in json.loads(found[1])["stacks"]) == int(page.headers["x-ztoapi-samples"])


def test_a_gateway_that_waits_has_an_empty_profile(running: GatewayProcess) -> None:
    answer = ask(running, "/profile?seconds=1&format=collapsed")
    assert int(answer.headers["x-ztoapi-samples"]) < 40


def test_one_profile_at_a_time_and_none_for_a_client_that_leaves(running: GatewayProcess) -> None:
    with long_profile(running):
        refused = ask(running, "/profile?seconds=1")
        assert refused.status_code == 409
        assert refused.json()["error"]["code"] == "profile_running"
        assert "retry in at most" in refused.json()["error"]["message"]
    until(lambda: not profiling(running))
    assert ask(running, "/profile?seconds=1").status_code == 200


def test_a_drain_ends_a_profile_with_what_there_is(simulator: Stack) -> None:
    with gateway(simulator, ADMIN_KEY="admin") as process:
        with long_profile(process) as sock:
            process.kill(signal.SIGTERM)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        head = answer.partition(b"\r\n\r\n")[0].decode()
        assert head.startswith("HTTP/1.1 200")
        found = re.search(r"x-ztoapi-seconds: ([0-9.]+)", head)
        assert found is not None and float(found[1]) < 60
        assert process.wait() == 0


def test_profiling_leaves_the_process_as_it_was(running: GatewayProcess) -> None:
    assert ask(running, "/profile?seconds=1").status_code == 200
    ignored = re.search(r"SigIgn:\s*([0-9a-f]+)", Path(f"/proc/{running.children()[0]}/status").read_text())
    assert ignored is not None
    assert int(ignored[1], 16) >> (signal.SIGPROF - 1) & 1, "a late signal must not end the process"
    os.kill(running.children()[0], signal.SIGPROF)
    assert ask(running, "/").status_code == 200


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/profile?seconds=0", "seconds"),
        ("/profile?seconds=61", "seconds"),
        ("/profile?seconds=1.5", "seconds"),
        ("/profile?seconds=-1", "seconds"),
        ("/profile?format=svg", "format"),
        ("/tasks?worker=first", "worker"),
    ],
)
def test_questions_that_make_no_sense(running: GatewayProcess, path: str, name: str) -> None:
    answer = ask(running, path)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == name


def test_a_worker_can_be_chosen(simulator: Stack) -> None:
    with gateway(simulator, ADMIN_KEY="admin", WORKERS="2") as process:
        pids: dict[str, str] = {}
        for number in ("0", "1"):
            for _ in range(200):
                answer = ask(process, f"/cmdline?worker={number}")
                if answer.status_code == 200:
                    break
                assert answer.status_code == 421
                assert (answer.headers["connection"], answer.headers["x-ztoapi-worker"]) == (
                    "close",
                    "1" if number == "0" else "0",
                )
            assert answer.headers["x-ztoapi-worker"] == number
            pids[number] = answer.headers["x-ztoapi-pid"]
        assert sorted(map(int, pids.values())) == sorted(process.children())


def test_the_command_line(running: GatewayProcess) -> None:
    assert ask(running, "/cmdline").text.split("\0")[-4:] == ["-m", "ztoapi", "serve", ""]
