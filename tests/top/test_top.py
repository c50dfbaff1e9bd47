"""``ztoapi top`` against a real gateway, at a real pseudo-terminal."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess
from tests.processes.program import run
from tests.stack import Stack
from tests.top.screen import Screen

HOSTILE = "m\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\u202e\u2028x"
UP, DOWN, HOME = "\x1b[A", "\x1b[B", "\x1b[H"


def ask(stack: Stack, model: str = "glm-4.6", agent: bytes = b"tester/1") -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": True}
    httpx.post(f"{stack.base_url}/chat/completions", json=body, headers={b"user-agent": agent})


def once(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("top", *arguments, **environment)


@pytest.fixture
def gateway() -> Iterator[Stack]:
    with Stack(ADMIN_KEY="admin") as stack:
        yield stack


def test_it_shows_what_the_gateway_does(gateway: Stack) -> None:
    with Screen("--url", gateway.url, ADMIN_KEY="admin") as screen:
        screen.wait_for(lambda text: "0 so far" in text and "LAG p99" in text)
        for _ in range(3):
            ask(gateway)
        screen.wait_for(lambda text: "3 so far" in text and text.count("tester/1") == 3)
        assert re.search(r"^zai/\S+ +ok ", screen.text, re.M)
        assert re.search(rf"^0 +{os.getpid()} ", screen.text, re.M)
        assert re.search(r"^\d\d:\d\d:\d\d +200 +done +glm-4\.6 ", screen.text, re.M)
        screen.wait_for(lambda text: re.search(r"^first token +[\d.]+ m?s ", text, re.M))
        screen.press("q")
        assert screen.end() == 0
        assert screen.given_back()


def test_a_stream_is_seen_while_it_runs(gateway: Stack) -> None:
    body = {"model": "glm-4.6:itl=5:tokens=100000", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with (
        Screen("--url", gateway.url, ADMIN_KEY="admin") as screen,
        httpx.stream("POST", f"{gateway.base_url}/chat/completions", json=body) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        screen.wait_for(lambda text: "1 in flight   1 streams" in text and "streaming" in text)


def test_nothing_of_a_client_reaches_the_terminal_but_text(gateway: Stack) -> None:
    with Screen("--url", gateway.url, ADMIN_KEY="admin") as screen:
        ask(gateway, HOSTILE, b"agent\xc2\x9b2J\xff\x9d0;x")
        screen.wait_for(lambda text: "1 so far" in text and "agent" in text)
        screen.press("q")
        assert screen.end() == 0
        # Whole, and not cut within an escape sequence.
        shown = screen.received.decode("utf-8")
        assert "owned" in shown
        # All that is left of escape sequences are our own.
        ours = r"\x1b\[(?:\?1049[hl]|\?25[hl]|\?7[hl]|H|K|J|[0127]m|31m)"
        assert set(re.findall(r"[\x00-\x1f\x7f-\x9f\u2028\u202e]", re.sub(ours, "", shown))) <= {"\r", "\n"}
    printed = once("--url", gateway.url, ADMIN_KEY="admin").stdout
    assert "owned" in printed
    assert set(re.findall(r"[\x00-\x1f\x7f-\x9f\u2028\u202e]", printed)) == {"\n"}
    as_json = once("--url", gateway.url, "--json", ADMIN_KEY="admin").stdout
    assert as_json.isascii() and "\x1b" not in as_json


def test_pause_holds_the_figures(gateway: Stack) -> None:
    with Screen("--url", gateway.url, ADMIN_KEY="admin") as screen:
        screen.wait_for(lambda text: "0 so far" in text)
        screen.press("p")
        screen.wait_for(lambda text: "PAUSED" in text)
        ask(gateway)
        # Each press draws the screen anew.
        screen.press("k")
        drawn = len(screen.received)
        screen.wait_for(lambda _: len(screen.received) > drawn)
        assert "0 so far" in screen.text
        screen.press("p")
        screen.wait_for(lambda text: "1 so far" in text and "PAUSED" not in text)


def test_requests_scroll(gateway: Stack) -> None:
    for number in range(6):
        ask(gateway, agent=b"agent-%d" % number)
    with Screen("--url", gateway.url, columns=160, lines=24, ADMIN_KEY="admin") as screen:
        screen.wait_for(lambda text: "agent-5" in text)
        screen.press(DOWN * 3)
        screen.wait_for(lambda text: "from 4 of 6" in text and "agent-5" not in text and "agent-2" in text)
        screen.press(UP)
        screen.wait_for(lambda text: "from 3 of 6" in text and "agent-3" in text)
        screen.press("\x1b[6~")
        screen.wait_for(lambda text: "from 6 of 6" in text and "agent-0" in text)
        screen.press(HOME)
        screen.wait_for(lambda text: "agent-5" in text)


def test_models_and_keys_take_the_place_of_workers(gateway: Stack) -> None:
    for model in ("glm-4.6", "glm-4.6", "glm-4.5"):
        ask(gateway, model)
    with Screen("--url", gateway.url, ADMIN_KEY="admin") as screen:
        screen.wait_for(lambda text: "3 so far" in text and f"{gateway.url}/v1 (OpenAI)   {gateway.url} (Anth" in text)
        screen.press("m")
        screen.wait_for(lambda text: "KEY (requests below)" in text and "LAG p99" not in text)
        screen.wait_for(lambda text: re.search(r"^- +3 +0 +0 +\d+ *$", text, re.M))
        screen.wait_for(lambda text: re.search(r"^\S+ +[123] +0 +0 +\d+ *$", text, re.M))
        screen.press("m")
        screen.wait_for(lambda text: "LAG p99" in text)


def test_requests_are_filtered_by_text(gateway: Stack) -> None:
    for number in range(3):
        ask(gateway, agent=b"agent-%d" % number)
    with Screen("--url", gateway.url, ADMIN_KEY="admin") as screen:
        screen.wait_for(lambda text: "agent-2" in text and "agent-1" in text)
        screen.press("/AGENTT\x7f-1q")
        screen.wait_for(lambda text: "filter: AGENT-1q_" in text)
        screen.press("\x7f\r")
        screen.wait_for(lambda text: "1 with 'AGENT-1'" in text and "agent-1" in text and "agent-2" not in text)
        screen.press("/")
        screen.wait_for(lambda text: "filter: AGENT-1_" in text)
        screen.press("x\x1b")
        screen.wait_for(lambda text: "1 with 'AGENT-1'" in text)


def test_requests_are_sorted_and_shown_in_detail(gateway: Stack) -> None:
    ask(gateway, "glm-4.6:tokens=500:itl=0", b"agent-long")
    ask(gateway, "glm-4.6:tokens=5", b"agent-short")
    with Screen("--url", gateway.url, ADMIN_KEY="admin") as screen:
        screen.wait_for(lambda text: "agent-long" in text and text.index("agent-long") > text.index("agent-short"))
        screen.press("sss")
        screen.wait_for(lambda text: "s sort: tokens" in text)
        screen.wait_for(lambda text: text.index("agent-long") < text.index("agent-short"))
        screen.press("\r")
        screen.wait_for(lambda text: re.search(r"^user agent +agent-long *$", text, re.M))
        screen.wait_for(lambda text: re.search(r"^time to first token +[\d.]+ m?s *$", text, re.M))
        screen.press(DOWN)
        screen.wait_for(lambda text: re.search(r"^user agent +agent-short *$", text, re.M))
        screen.press("\r")
        screen.wait_for(lambda text: "USER AGENT" in text)


@pytest.mark.parametrize(("columns", "lines"), [(60, 12), (200, 60), (20, 4), (1, 1)])
def test_it_follows_the_terminals_size(gateway: Stack, columns: int, lines: int) -> None:
    ask(gateway)
    with Screen("--url", gateway.url, ADMIN_KEY="admin") as screen:
        screen.wait_for(lambda text: "1 so far" in text)
        screen.resize(columns, lines)
        screen.kill(signal.SIGWINCH)
        keys = "q quit   p pause   up/down, page up/down, home: requests"
        last = keys if len(keys) <= columns else f"{keys[: columns - 1]}…"
        first = "" if lines == 1 else gateway.url[: columns - 1]
        screen.wait_for(lambda _: screen.lines[-1] == last and screen.lines[0].startswith(first))
        screen.press("q")
        assert screen.end() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_give_the_terminal_back(gateway: Stack, number: signal.Signals, code: int) -> None:
    with Screen("--url", gateway.url, ADMIN_KEY="admin") as screen:
        screen.wait_for(lambda text: "0 so far" in text)
        assert not screen.given_back()
        if number is signal.SIGINT:
            screen.press("\x03")
        else:
            screen.kill(number)
        assert screen.end() == code
        assert screen.given_back()


def test_a_failure_gives_the_terminal_back(gateway: Stack, tmp_path: Path) -> None:
    """Of the program itself: here what draws is broken."""
    (tmp_path / "sitecustomize.py").write_text("import ztoapi.cli.top_frame as frame\nframe._spark = None\n")
    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    with Screen("--url", gateway.url, ADMIN_KEY="admin", PYTHONPATH=path) as screen:
        assert screen.end() == 1
        assert screen.given_back()
        assert b"TypeError" in screen.received


def test_it_connects_again() -> None:
    with Stack() as upstream:
        environment = {
            "PLATFORM_ID": "zai",
            "UPSTREAM_URL": f"http://127.0.0.1:{upstream.simulator_port}/api/paas/v4",
            "ZAI_TOKEN": "t",
        }
        with GatewayProcess(PORT="0", **environment) as first:
            port, url = first.port, first.url
            screen = Screen("--url", url)
            with screen:
                screen.wait_for(lambda text: "0 so far" in text)
                first.kill(signal.SIGKILL)
                first.wait()
                screen.wait_for(lambda text: "no response" in text and "0 so far" in text)
                with GatewayProcess(PORT=str(port), **environment) as second:
                    (worker,) = second.children()
                    screen.wait_for(lambda text: "no response" not in text and f" {worker} " in text)
                    screen.press("q")
                    assert screen.end() == 0


def test_one_look_without_a_terminal(gateway: Stack) -> None:
    ask(gateway)
    for arguments in ((), ("--once",)):
        looked = once("--url", gateway.url, *arguments, ADMIN_KEY="admin")
        assert looked.returncode == 0
        assert "1 so far" in looked.stdout and "tester/1" in looked.stdout
        assert "\x1b" not in looked.stdout
    stats = json.loads(once("--url", gateway.url, "--json", ADMIN_KEY="admin").stdout)
    assert stats["requests"]["total"] == 1
    assert once("--json", PORT=str(gateway.port), ADMIN_KEY="admin").stdout.startswith("{\n"), "the configured address"


def test_errors_are_reported(gateway: Stack) -> None:
    refused = once("--url", gateway.url)
    assert refused.returncode == 1
    assert "returned 401: no admin key was given" in refused.stderr
    nobody = once("--url", "http://127.0.0.1:1")
    assert nobody.returncode == 1
    assert "no response from http://127.0.0.1:1" in nobody.stderr
    for url in ("127.0.0.1:9090", "ftp://x", "http://"):
        wrong = once("--url", url)
        assert wrong.returncode == 2, url
        assert "--url" in wrong.stderr
    other = once("--url", f"http://127.0.0.1:{gateway.simulator_port}")
    assert other.returncode == 1
    with Screen("--url", gateway.url) as screen:
        screen.wait_for(lambda text: "no admin key was given" in text and "retrying" in text)


@pytest.mark.parametrize(
    ("host", "variable"),
    [("127.0.0.1", "http_proxy"), ("127.0.0.1", "ALL_PROXY"), ("LOCALHOST", "HTTP_PROXY"), (None, "HTTP_PROXY")],
)
def test_no_proxy_is_given_the_key_of_a_gateway_on_this_host(gateway: Stack, host: str | None, variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        there = () if host is None else ("--url", f"http://{host}:{gateway.port}")
        port = {variable: f"http://127.0.0.1:{proxy.getsockname()[1]}", "ADMIN_KEY": "admin", "PORT": str(gateway.port)}
        looked = once("--once", *there, **port)
        with pytest.raises(BlockingIOError):
            proxy.accept()
    assert looked.returncode == 0, looked.stderr


def test_other_gateways_are_reached_through_the_proxy() -> None:
    """Which answers as a proxy does that cannot reach them."""
    with Stack() as proxy:
        looked = once("--once", "--url", "http://gateway.invalid", HTTP_PROXY=proxy.url, ADMIN_KEY="admin")
        assert looked.returncode == 1
        assert "gateway.invalid returned 4" in looked.stderr
