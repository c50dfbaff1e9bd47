"""A real Prometheus scrapes a gateway of two workers under load, and its figures equal those of the load generator."""

import collections
import concurrent.futures
import http.client
import json
import math
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.deploy.expressions import panels, rule_expressions, written_out
from tests.deploy.prometheus_process import PrometheusProcess, sockets_of, tcp_sockets
from tests.processes.gateway_process import GatewayProcess
from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS

ADMIN_KEY = "what-operators-send"
CHAT = "/v1/chat/completions"
REQUESTS = f'ztoapi_http_requests_total{{route="{CHAT}"}}'
MESSAGES = [{"role": "user", "content": "hello"}]
MOST_AT_ONCE = 30
PREFIX = 16
"""Length of the part of a request's id that identifies the worker."""

pytestmark = pytest.mark.timeout(120)


class Load:
    """Sends chats, eight at a time, each over a connection of its own, and counts what comes back."""

    def __init__(self, url: str) -> None:
        self._url = url + CHAT
        self.codes: collections.Counter[str] = collections.Counter()
        self.tokens = 0
        self.workers: set[str] = set()

    def send(self, number: int) -> None:
        """``number`` of each kind: whole, streamed, refused, broken off in the middle."""
        kinds = [
            {"model": "glm-4.6:tokens=7"},
            {"model": "glm-4.6:tokens=9:itl=1", "stream": True, "stream_options": {"include_usage": True}},
            {"model": "glm-4.6:fault=1210"},
            {"model": "glm-4.6:itl=1:fault=truncate", "stream": True},
        ] * number
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for answer in pool.map(self._ask, kinds):
                self.codes[str(answer.status_code)] += 1
                self.workers.add(answer.headers["x-request-id"][:PREFIX])
                self.tokens += _tokens(answer)

    def _ask(self, fields: dict[str, object]) -> httpx.Response:
        # Nothing is encrypted, and to read the certificates would take longer than the request.
        with httpx.Client(verify=False, trust_env=False) as client:
            with client.stream("POST", self._url, json={"messages": MESSAGES, **fields}) as answer:
                try:
                    answer.read()
                except httpx.RemoteProtocolError:
                    answer._content = b""
            return answer


def _tokens(answer: httpx.Response) -> int:
    """The tokens of the response, by its usage."""
    text = answer.text
    parts = [line.removeprefix("data: ") for line in text.splitlines()] if text.startswith("data: ") else [text]
    return sum((json.loads(part).get("usage") or {}).get("completion_tokens", 0) for part in parts if part[:1] == "{")


class OpenStream:
    """A stream that has begun and goes on until it is closed."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        body = {"model": "glm-4.6:fault=hang_mid", "messages": MESSAGES, "stream": True}
        self.connection.request("POST", CHAT, json.dumps(body), {"content-type": "application/json"})
        self.answer = self.connection.getresponse()
        assert self.answer.status == 200
        assert self.answer.fp.readline()
        self.worker = self.answer.headers["x-request-id"][:PREFIX]

    def read_to_the_break(self) -> None:
        """Read what has come, and that it ends without the last chunk."""
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            self.answer.read()

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


@pytest.fixture
def gateway(simulator: Stack) -> Iterator[GatewayProcess]:
    with GatewayProcess(
        PLATFORM_ID="zai",
        UPSTREAM_URL=f"http://127.0.0.1:{simulator.simulator_port}/api/paas/v4",
        # A worker may get five broken streams in a row, after which a credential is out of use for a second.
        UPSTREAM_TOKENS="a|b|c|d",
        PORT="0",
        WORKERS="2",
        ADMIN_KEY=ADMIN_KEY,
        ZTOAPI_ADDRESS_MAX_CONCURRENCY=str(MOST_AT_ONCE),
    ) as process:
        yield process


@pytest.fixture
def prometheus(gateway: GatewayProcess, tmp_path: Path) -> Iterator[PrometheusProcess]:
    with PrometheusProcess(tmp_path, gateway.port, ADMIN_KEY) as process:
        process.wait_for(lambda: process.ask('up{job="ztoapi"}') != {})
        yield process


def test_totals_are_what_was_sent_also_after_a_worker_was_killed(
    gateway: GatewayProcess, prometheus: PrometheusProcess
) -> None:
    load = Load(gateway.url)
    load.send(15)
    assert len(load.workers) == 2
    prometheus.wait_for(lambda: prometheus.total(REQUESTS) == 60)
    prometheus.wait_for(lambda: prometheus.ask(f"sum by (code) ({REQUESTS})") == load.codes)
    prometheus.wait_for(lambda: prometheus.total('ztoapi_tokens_total{type="output"}') >= load.tokens > 0)

    streams = [OpenStream(gateway.port) for _ in range(20)]
    lost = kill_a_worker(gateway, prometheus, streams)
    assert 0 < len(lost) < len(streams)
    for stream in streams:
        stream.close()
    load.send(5)

    # Those in the dead worker's hand are lost; the others, and what it had served before, are counted.
    counted = 60 + len(streams) - len(lost) + 20
    prometheus.wait_for(lambda: prometheus.total(REQUESTS) == counted)
    load.codes["200"] += len(streams) - len(lost)
    prometheus.wait_for(lambda: prometheus.ask(f"sum by (code) ({REQUESTS})") == load.codes)
    totals = {
        "ztoapi_requests_lost_total": len(lost),
        "ztoapi_worker_restarts_total": 1,
        "ztoapi_streams_in_flight": 0,
        f"resets({REQUESTS}[5m])": 0,
        "ztoapi_stream_ends_total": counted,
    }
    # A scrape that takes more than its second, on a busy machine, leaves no values until the next.
    prometheus.wait_for(lambda: {name: prometheus.total(name) for name in totals} == totals)


def kill_a_worker(
    gateway: GatewayProcess, prometheus: PrometheusProcess, streams: list[OpenStream]
) -> list[OpenStream]:
    """Kill one, while nothing but ``streams`` is in flight, and wait for its successor; which of them were its."""
    prometheus.stop()
    with httpx.Client(base_url=gateway.url, headers={"authorization": f"Bearer {ADMIN_KEY}"}) as client:
        answer = client.get("/metrics")
        while f"\nztoapi_requests_in_flight {len(streams):.1f}\n" not in answer.text:
            answer = client.get("/metrics")
        survivor = answer.headers["x-request-id"][:PREFIX]
        # The one that has answered may still be writing that down: it lives.
        port = answer.extensions["network_stream"].get_extra_info("client_addr")[1]
        # Other programs may have connections from a port of this number, to other ports.
        ends = (gateway.port, port)
        (inode,) = [inode for inode, (local, remote, _) in tcp_sockets().items() if (local, remote) == ends]
        (victim,) = [pid for pid in gateway.children() if inode not in sockets_of(pid)]
        gateway.kill(signal.SIGKILL, victim)
        gateway.wait_for_output(r"(restarting it)")
        while "\nztoapi_workers 2.0\n" not in client.get("/metrics").text:
            pass
    prometheus.go_on()
    lost = [stream for stream in streams if stream.worker != survivor]
    for stream in lost:
        stream.read_to_the_break()
    return lost


def test_dashboards_and_rules_get_answers(gateway: GatewayProcess, prometheus: PrometheusProcess) -> None:
    """Numbers, not just no error: a query that finds no series is answered with nothing, one of no change with NaN."""
    load = Load(gateway.url)
    load.send(1)
    streams = [OpenStream(gateway.port) for _ in range(MOST_AT_ONCE)]
    load.send(1)
    assert load.codes["429"] == 4
    for stream in streams:
        stream.close()
    prometheus.wait_for(lambda: prometheus.total(REQUESTS) == 8 + MOST_AT_ONCE)
    # A series that has just appeared has no rate; one that grows has.
    load.send(5)
    prometheus.wait_for(lambda: prometheus.total(REQUESTS) == 28 + MOST_AT_ONCE)
    waiting = {(panel.title, expression) for panel in panels() for expression in panel.expressions}

    def answered() -> bool:
        for title, expression in list(waiting):
            if any(map(math.isfinite, prometheus.ask(written_out(expression)).values())):
                waiting.discard((title, expression))
        return not waiting

    try:
        prometheus.wait_for(answered)
    finally:
        print("without an answer:", waiting)
    recorded = [name for name, _ in rule_expressions() if ":" in name]
    prometheus.wait_for(lambda: all(prometheus.ask(name) for name in recorded))
    rules = [rule for group in prometheus.get("/rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(rule_expressions())
    assert {rule["health"] for rule in rules} == {"ok"}


def test_without_the_admin_key_there_is_nothing_to_see(gateway: GatewayProcess, tmp_path: Path) -> None:
    with PrometheusProcess(tmp_path, gateway.port, "a-guess") as process:
        process.wait_for(lambda: process.ask('up{job="ztoapi"}') != {})
        assert process.total('up{job="ztoapi"}') == 0
        (target,) = process.get("/targets")["activeTargets"]
        assert "401" in target["lastError"]
