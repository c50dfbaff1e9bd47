"""The console of ``ztoapi serve`` and ``ztoapi demo`` on a terminal, and JSON without one."""

import json
import re
import signal

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.processes.terminal_process import TerminalProcess
from tests.stack import BASES, Stack

CHAT = {"model": "glm-5.3", "stream": True, "messages": [{"role": "user", "content": "x"}]}
ROW = r"(?m)^(\d\d:\d\d:\d\d (?:\x1b\[\d+m)?{}.*)\r$"


def served(columns: int, simulator: Stack, *arguments: str, **environment: str) -> TerminalProcess:
    upstream = f"http://127.0.0.1:{simulator.simulator_port}{BASES['zai']}"
    settings = {"PLATFORM_ID": "zai", "UPSTREAM_URL": upstream, "ZAI_TOKEN": "t", "PORT": "0", **environment}
    return TerminalProcess(columns, "serve", *arguments, **settings)


@pytest.mark.parametrize("columns", [80, 140])
def test_serve_begins_with_a_block_and_shows_requests(simulator: Stack, columns: int) -> None:
    with served(columns, simulator, HOST="x86_64-conda-linux-gnu", DEFAULT_KEY="k") as process:
        url = process.wait_for(r"base URL +(http://127\.0\.0\.1:\d+/v1)\r\n")
        process.wait_for(r"(Press Ctrl-C to stop)")
        block = "\n".join(process.lines)
        for pattern in (
            r"^\d\d:\d\d:\d\d WARNING +HOST \(environment\): x86_64",
            r"^ztoapi \S+, process \d+, 1 worker$",
            r"^  dashboard +http://127\.0\.0\.1:\d+/dashboard$",
            r"^  chat +http://127\.0\.0\.1:\d+/chat$",
            r"^  models +glm-5\.3 > zai \(http",
            r"^  credentials +1 of zai$",
            r"^  keys +1$",
            r"^  warnings +1, see above$",
        ):
            assert re.search(pattern, block, re.MULTILINE), (pattern, block)
        headers = {"authorization": "Bearer k"}
        assert httpx.post(f"{url}/chat/completions", json=CHAT, headers=headers).status_code == 200
        assert httpx.post(f"{url}/messages", json=CHAT, headers={"x-api-key": "wrong"}).status_code == 401
        good = process.wait_for(ROW.format("200"))
        bad = process.wait_for(ROW.format("401"))
    assert "\x1b[32m200\x1b[0m chat      stream glm-5.3 > zai-1" in good
    assert re.search(r"\d > \d+ +default", good)
    assert "\x1b[33m401\x1b[0m messages  whole" in bad and "invalid_api_key: " in bad
    assert max(map(len, process.lines)) <= max(columns, max(len(line) for line in process.lines if "HOST" in line))


def test_without_colours(simulator: Stack) -> None:
    with served(100, simulator, NO_COLOR="1") as process:
        url = process.wait_for(r"base URL +(http://127\.0\.0\.1:\d+/v1)\r\n")
        httpx.get(f"{url}/nothing")
        assert "404 GET" in process.wait_for(ROW.format("404"))
    assert "\x1b" not in process.output


def test_quiet_shows_failures_only(simulator: Stack) -> None:
    with served(100, simulator, "-q", "--port", "0", ZTOAPI_HISTORY_FILE="/proc/nowhere/history.db") as process:
        pass
    assert process.output == "" or "base URL" not in process.output


def test_the_demonstration_shows_its_requests() -> None:
    with TerminalProcess(100, "demo", "--port", "0", "--ttft-ms", "1", "--itl-ms", "1") as process:
        url = process.wait_for(r"gateway +(http://127\.0\.0\.1:\d+/v1)\r\n")
        process.wait_for(r"(Press Ctrl-C to stop both)")
        assert httpx.post(f"{url}/chat/completions", json=CHAT).status_code == 200
        assert "chat      stream glm-5.3 > demo" in process.wait_for(ROW.format("200"))


def test_without_a_terminal_every_line_is_json(simulator: Stack) -> None:
    environment = {"HOST": "x86_64-conda-linux-gnu", "ZTOAPI_ACCESS_LOG": "stdout", "WORKERS": "2"}
    with gateway(simulator, **environment) as process:
        assert httpx.post(f"{process.url}/v1/chat/completions", json=CHAT).status_code == 200
        assert httpx.get(f"{process.url}/nothing").status_code == 404
        process.kill(signal.SIGHUP)
        process.wait_for_output("(nothing to do)")
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
        process.output += process.rest()
    lines = [json.loads(line) for line in process.output.splitlines()]
    requests = [line for line in lines if "request_id" in line]
    messages = [line for line in lines if "level" in line]
    assert len(requests) == 2 and len(requests) + len(messages) == len(lines)
    assert {line["level"] for line in messages} == {"info", "warning"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)


def test_the_level_of_messages(simulator: Stack) -> None:
    with gateway(simulator, ZTOAPI_LOG_LEVEL="debug") as process:
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
    process = gateway(simulator, "-q", "--listen", "127.0.0.1:0", ZTOAPI_LOG_LEVEL="debug")
    try:
        process.kill(signal.SIGTERM)
        process.wait()
        assert '"level": "info"' not in process.rest()
    finally:
        process.__exit__(None, None, None)


@pytest.mark.parametrize(("command", "words"), [("demo", "gateway"), ("simulate", "simulator on")])
def test_demonstration_and_simulator_write_json_without_a_terminal(command: str, words: str) -> None:
    with GatewayProcess(command, "--port", "0") as process:
        process.wait_for_output(words + r" (http://127\.0\.0\.1:\d+)")
        process.kill(signal.SIGTERM)
        process.wait()
        process.output += process.rest()
    assert {json.loads(line)["level"] for line in process.output.splitlines()} == {"info"}
