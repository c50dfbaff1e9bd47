"""Workers, signals and exit codes of real processes."""

import json
import os
import re
import select
import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS

BODY = {"model": "glm-4.6:itl=20:tokens=75", "messages": [{"role": "user", "content": "x"}], "stream": True}
"""A stream of 1.5 seconds: time enough to send a signal meanwhile, also on a busy machine."""
QUICK = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}]}


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has)."""
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.fixture(scope="module")
def simulator() -> "Stack":  # type: ignore[misc]  # a generator fixture
    with Stack() as stack:
        yield stack


def test_sigterm_lets_a_stream_finish_then_exits_with_0(simulator: Stack) -> None:
    with gateway(simulator, WORKERS="3") as process:
        children = process.children()
        assert len(children) == 3
        with httpx.stream("POST", f"{process.url}/v1/chat/completions", json=BODY) as response:
            lines = response.iter_lines()
            next(lines)
            process.kill(signal.SIGTERM)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait() == 0
        assert all(gone(pid) for pid in children)


def test_second_signal_ends_at_once_with_1(simulator: Stack) -> None:
    with gateway(simulator, WORKERS="2") as process:
        children = process.children()
        endless = {**BODY, "model": "glm-4.6:fault=hang_mid"}
        with httpx.stream("POST", f"{process.url}/v1/chat/completions", json=endless) as response:
            lines = response.iter_lines()
            next(lines)
            process.kill(signal.SIGTERM)
            # Two pending signals of different kinds stay two.
            process.kill(signal.SIGINT)
            with pytest.raises(httpx.RemoteProtocolError):
                for _ in lines:
                    pass
        assert process.wait() == 1
        assert all(gone(pid) for pid in children)


def test_drain_time_is_kept(simulator: Stack) -> None:
    with gateway(simulator, DRAIN_SECONDS="0.2") as process:
        endless = {**BODY, "model": "glm-4.6:fault=hang_mid"}
        with httpx.stream("POST", f"{process.url}/v1/chat/completions", json=endless) as response:
            lines = response.iter_lines()
            next(lines)
            process.kill(signal.SIGTERM)
            text = ""
            with pytest.raises(httpx.RemoteProtocolError):
                for line in lines:
                    text += line
        assert '"code":"shutdown"' in text
        assert process.wait() == 1


def test_dead_worker_is_started_again(simulator: Stack) -> None:
    with gateway(simulator, WORKERS="2") as process:
        first = process.children()
        process.kill(signal.SIGKILL, first[0])
        process.wait_for_output(r"(restarting it)")
        process.wait_for(lambda: len(process.children()) == 2 and first[0] not in process.children())
        for _ in range(8):
            assert httpx.get(f"{process.url}/livez").status_code == 200
        process.kill(signal.SIGTERM)
        assert process.wait() == 0


def test_a_worker_that_dies_again_and_again_leaves_the_others_alone(simulator: Stack) -> None:
    with gateway(simulator, WORKERS="2") as process:
        well = process.children()[1]
        for delay in ("0.1", "0.2", "0.4", "0.8"):
            process.wait_for(lambda: len(process.children()) == 2)
            (unlucky,) = set(process.children()) - {well}
            process.kill(signal.SIGKILL, unlucky)
            process.wait_for_output(rf"(restarting it in {delay} s)")
        assert well in process.children()
        assert httpx.get(f"{process.url}/livez").status_code == 200


def test_a_worker_that_hangs_is_replaced_and_does_not_keep_the_gateway_from_ending(simulator: Stack) -> None:
    with gateway(simulator, WORKERS="2", DRAIN_SECONDS="0.2") as process:
        hung, well = process.children()
        process.kill(signal.SIGSTOP, hung)
        process.wait_for_output(r"(worker 0 is stuck: killing it)")
        process.wait_for(lambda: len(process.children()) == 2 and hung not in process.children())
        assert well in process.children()
        process.kill(signal.SIGSTOP, well)
        process.kill(signal.SIGTERM)
        assert process.wait() == 1
        assert gone(well)


def test_workers_end_when_their_supervisor_is_killed(simulator: Stack) -> None:
    with gateway(simulator, WORKERS="2") as process:
        children = process.children()
        watches = [os.pidfd_open(pid) for pid in children]
        process.kill(signal.SIGKILL)
        process.wait()
        for watch in watches:
            assert select.select([watch], [], [], WAIT_SECONDS)[0]
            os.close(watch)


def test_workers_share_the_load(simulator: Stack) -> None:
    """Each worker has its own socket: the ids begin with a prefix that identifies the worker."""
    with gateway(simulator, WORKERS="2") as process:
        prefixes = {httpx.get(f"{process.url}/livez").headers["x-request-id"][:16] for _ in range(60)}
        assert len(prefixes) == 2


def test_a_port_in_use_is_reported(simulator: Stack) -> None:
    with gateway(simulator) as process:
        second = GatewayProcess(PORT=str(process.port), ZAI_TOKEN="t")
        assert second.wait() == 1
        assert "cannot listen on 127.0.0.1" in second.wait_for_output(r"(?s)(.+)")
        second.__exit__(None, None, None)


def test_wrong_configuration_is_reported_and_exits_with_2() -> None:
    process = GatewayProcess(PORT="no", WORKERS="0")
    assert process.wait() == 2
    output = process.wait_for_output(r"(?s)(.+WORKERS.+)")
    assert "PORT (environment)" in output
    process.__exit__(None, None, None)


def test_demo_runs_and_ends_on_ctrl_c() -> None:
    with GatewayProcess("demo", "--port", "0", "--sim-port", "0", "--ttft-ms", "0", "--itl-ms", "0") as process:
        endpoint = process.wait_for_output(r"send requests to (\S+)\"")
        for page in ("dashboard", "chat"):
            url = process.wait_for_output(rf"\b{page} (http[^,]+),")
            assert httpx.get(url).headers["content-type"].startswith("text/html")
        answer = httpx.post(endpoint, json={**BODY, "model": "glm-4.6"})
        assert "[DONE]" in answer.text
        embeddings = httpx.post(f"{process.url}/v1/embeddings", json={"model": "embedding-3", "input": "x"})
        assert embeddings.json()["data"][0]["embedding"]
        children = process.children()
        process.kill(signal.SIGINT)
        assert process.wait() == 0
        assert all(gone(pid) for pid in children)


class FewFiles(GatewayProcess):
    open_files = (256, 1000)


def test_the_limit_of_open_files_is_raised_and_a_shortage_is_logged(simulator: Stack) -> None:
    upstream = f"http://127.0.0.1:{simulator.simulator_port}/api/paas/v4"
    process = FewFiles(UPSTREAM_URL=upstream, ZAI_TOKEN="t", PORT="0", WORKERS="2", ZTOAPI_MAX_IN_FLIGHT="2048")
    with process:
        assert "a worker may need 5220 open files" in process.output
        assert "server.max_in_flight = 2048" in process.output
        for pid in process.children():
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max open files +1000 +1000 ", limits)


class VeryFewFiles(GatewayProcess):
    open_files = (256, 256)


def test_a_limit_that_allows_few_requests_is_logged(simulator: Stack) -> None:
    upstream = f"http://127.0.0.1:{simulator.simulator_port}/api/paas/v4"
    with VeryFewFiles(UPSTREAM_URL=upstream, ZAI_TOKEN="t", PORT="0") as process:
        assert (
            "the limit of 256 open files allows a worker 62 requests in flight: raise the hard limit" in process.output
        )


def test_the_requests_in_flight_follow_the_limit_on_open_files(simulator: Stack) -> None:
    upstream = f"http://127.0.0.1:{simulator.simulator_port}/api/paas/v4"
    with FewFiles(UPSTREAM_URL=upstream, ZAI_TOKEN="t", PORT="0") as process:
        assert "with up to 387 requests in flight" in process.output
        assert "open files" not in process.output


def test_enough_open_files_are_not_spoken_of(simulator: Stack) -> None:
    with gateway(simulator, ZTOAPI_MAX_IN_FLIGHT="10", ZTOAPI_MAX_IDLE_CONNECTIONS="10") as process:
        assert "open files" not in process.output


def test_workers_share_one_limit(simulator: Stack) -> None:
    with gateway(simulator, WORKERS="2", ZTOAPI_GLOBAL_REQUESTS_PER_MINUTE="20") as process:
        started = time.monotonic()
        answers = [httpx.post(f"{process.url}/v1/chat/completions", json=QUICK) for _ in range(40)]
        # One more is admitted in three seconds.
        refilled = (time.monotonic() - started) / 3
        assert len({answer.headers["x-request-id"][:16] for answer in answers}) == 2
        assert 20 <= [answer.status_code for answer in answers].count(200) <= 20 + refilled


def test_what_a_dead_worker_had_in_hand_comes_back(simulator: Stack) -> None:
    with gateway(simulator, WORKERS="2", ZTOAPI_GLOBAL_MAX_CONCURRENCY="1") as process:
        url = f"{process.url}/v1/chat/completions"
        payload = json.dumps({**QUICK, "model": "glm-4.6:ttft=60000"}).encode()
        with socket.create_connection(("127.0.0.1", process.port)) as client:
            head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(payload)
            client.sendall(head + payload)
            simulator.wait_for(lambda: simulator.simulator.stats.open_streams == 1)
            assert httpx.post(url, json=QUICK).status_code == 429
            for pid in process.children():
                process.kill(signal.SIGKILL, pid)
            process.wait_for_output(r"(?s)(restarting it.*restarting it)")
            assert client.recv(1) == b""
        simulator.wait_for(lambda: len(process.children()) == 2)
        assert httpx.post(url, json=QUICK).status_code == 200
