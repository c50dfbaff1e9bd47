"""Traces of ``ztoapi serve`` as a collector gets them."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="OpenTelemetry (the extra otel) is not installed")

from tests.support.collector import Collector, attributes

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

CHAT = {
    "model": "glm-4.6:reasoning=0:tokens=3",
    "messages": [{"role": "user", "content": "canary-body"}],
    "stream": True,
}
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, CLIENT = 2, 3
"""Kinds of spans; and of a status:"""
ERROR = 2


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def tracing(simulator: Stack, endpoint: str, **environment: str) -> GatewayProcess:
    return gateway(simulator, ZAI_TOKEN="canary-token", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **environment)


def ask(process: GatewayProcess, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
    body = body or CHAT
    return httpx.post(f"{process.url}/v1/chat/completions", json=body, headers=headers)


def stop(process: GatewayProcess) -> None:
    process.kill(signal.SIGTERM)
    assert process.wait() == 0


def upstream_head(stack: Stack) -> dict[str, str]:
    head: dict[str, str] = cast("dict[str, Any]", stack.stats()["last_request"])["headers"]
    return head


def of_kind(spans: "list[Span]", kind: int) -> "Span":
    (span,) = [span for span in spans if span.kind == kind]
    return span


def test_a_request_has_two_spans_in_its_clients_trace(simulator: Stack, collector: Collector, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with tracing(simulator, collector.url, DEFAULT_KEY="canary-key", ZTOAPI_ACCESS_LOG=str(log)) as process:
        parent = f"00-{TRACE_ID}-{SPAN_ID}-01"
        fields = {"traceparent": parent, "tracestate": "rojo=1", "user-agent": "me/1", "x-request-id": "mine"}
        assert ask(process, None, authorization="Bearer canary-key", **fields).status_code == 200
        sent = upstream_head(simulator)
        stop(process)
    server, client = of_kind(collector.spans, SERVER), of_kind(collector.spans, CLIENT)
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE_ID}
    assert {span.trace_state for span in collector.spans} == {"rojo=1"}
    assert server.parent_span_id.hex() == SPAN_ID
    assert client.parent_span_id == server.span_id
    assert sent["traceparent"] == f"00-{TRACE_ID}-{client.span_id.hex()}-01"
    assert sent["tracestate"] == "rojo=1"
    assert (server.name, client.name) == ("POST /v1/chat/completions", "chat glm-4.6:reasoning=0:tokens=3")
    assert server.start_time_unix_nano < client.start_time_unix_nano < client.end_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano
    shown = attributes(server)
    assert (
        shown.items()
        >= {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "url.path": "/v1/chat/completions",
            "client.address": "127.0.0.1",
            "user_agent.original": "me/1",
            "ztoapi.request_id": "mine",
            "ztoapi.ending": "done",
            "ztoapi.key": "default",
        }.items()
    )
    assert (
        attributes(client).items()
        >= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "z_ai",
            "gen_ai.request.model": "glm-4.6:reasoning=0:tokens=3",
            "gen_ai.response.model": "glm-4.6:reasoning=0:tokens=3",
            "gen_ai.usage.output_tokens": 3,
            "server.address": "127.0.0.1",
            "server.port": simulator.simulator_port,
            "ztoapi.credential": "zai-1",
        }.items()
    )
    assert "error.type" not in {**shown, **attributes(client)}
    assert "canary" not in str(collector.requests)
    assert json.loads(log.read_text())["trace_id"] == TRACE_ID
    assert 'string_value: "ztoapi"' in str(collector.requests[0].resource_spans[0].resource)


def test_without_a_caller_a_trace_begins_here(simulator: Stack, collector: Collector) -> None:
    with tracing(simulator, collector.url, OTEL_SERVICE_NAME="my-gateway") as process:
        assert ask(process).status_code == 200
        sent = upstream_head(simulator)
        stop(process)
    server, client = of_kind(collector.spans, SERVER), of_kind(collector.spans, CLIENT)
    assert server.parent_span_id == b""
    assert sent["traceparent"] == f"00-{server.trace_id.hex()}-{client.span_id.hex()}-01"
    assert int(server.trace_id.hex(), 16) and "tracestate" not in sent
    assert '"my-gateway"' in str(collector.requests[0].resource_spans[0].resource)


def test_what_the_caller_does_not_sample_is_not_sent(simulator: Stack, collector: Collector) -> None:
    with tracing(simulator, collector.url) as process:
        ask(process, traceparent=f"00-{TRACE_ID}-{SPAN_ID}-00")
        sent = upstream_head(simulator)["traceparent"]
        ask(process)
        stop(process)
    assert sent.startswith(f"00-{TRACE_ID}-") and sent.endswith("-00") and SPAN_ID not in sent
    assert TRACE_ID not in {span.trace_id.hex() for span in collector.spans}
    assert len(collector.spans) == 2


def test_the_sampler_is_opentelemetrys(simulator: Stack, collector: Collector) -> None:
    with tracing(simulator, collector.url, OTEL_TRACES_SAMPLER="always_off") as process:
        assert ask(process).status_code == 200
        assert upstream_head(simulator)["traceparent"].endswith("-00")
        stop(process)
    assert collector.spans == []


def test_failures_have_their_type_and_monitoring_leaves_no_span(simulator: Stack, collector: Collector) -> None:
    with tracing(simulator, collector.url) as process:
        httpx.get(f"{process.url}/health")
        httpx.get(f"{process.url}/metrics/")
        httpx.get(f"{process.url}/dashboard/stats")
        # Its beginning makes it none of the gateway's own.
        httpx.get(f"{process.url}/dashboardx/secret")
        ask(process, {**CHAT, "model": "glm-4.6:fault=500", "stream": False})
        stop(process)
    missing, failed = sorted(
        (span for span in collector.spans if span.kind == SERVER), key=lambda span: span.start_time_unix_nano
    )
    assert (missing.name, attributes(missing)["error.type"], missing.status.code) == ("GET", "not_found", 0)
    assert failed.status.code == of_kind(collector.spans, CLIENT).status.code == ERROR
    assert attributes(failed)["error.type"] == attributes(of_kind(collector.spans, CLIENT))["error.type"]


def test_names_that_are_no_utf8_spoil_no_batch(simulator: Stack, collector: Collector) -> None:
    with tracing(simulator, collector.url) as process:
        with socket.create_connection(("127.0.0.1", process.port)) as client:
            client.sendall(b"GET /x HTTP/1.1\r\nhost: localhost\r\nuser-agent: \xff\xfe\r\nconnection: close\r\n\r\n")
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 404")
        ask(process, {**CHAT, "model": "m" * 100_000})
        stop(process)
    assert "user_agent.original" in attributes(collector.spans[0])
    assert all(len(span.name) < 300 for span in collector.spans)


def test_spans_come_while_it_runs_from_every_worker(simulator: Stack, collector: Collector) -> None:
    with tracing(simulator, collector.url, WORKERS="2", OTEL_BSP_SCHEDULE_DELAY="10") as process:
        ids = {ask(process).headers["x-request-id"] for _ in range(20)}
        collector.wait_for(40)
        stop(process)
    servers = [span for span in collector.spans if span.kind == SERVER]
    assert {attributes(span)["ztoapi.request_id"] for span in servers} == ids
    assert len({one[:16] for one in ids}) == 2
    assert len({span.trace_id for span in servers}) == 20


def test_a_collector_that_is_away_stops_no_request(simulator: Stack) -> None:
    with tracing(simulator, "http://127.0.0.1:1") as process:
        assert ask(process).status_code == 200
        stop(process)


@pytest.mark.parametrize("own", [True, False])
def test_without_opentelemetry_only_an_own_setting_is_an_error(simulator: Stack, tmp_path: Path, own: bool) -> None:
    """The variable is set for all programs of a host."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['opentelemetry'] = None")
    (tmp_path / "own.toml").write_text("otlp_endpoint = 'http://127.0.0.1:1'")
    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    arguments = ("--config", str(tmp_path / "own.toml")) if own else ()
    process = gateway(
        simulator, *arguments, OTEL_EXPORTER_OTLP_ENDPOINT="" if own else "http://127.0.0.1:1", PYTHONPATH=path
    )
    try:
        if own:
            assert process.wait() == 2
        assert process.wait_for_output(r"(pip install 'ztoapi\[otel\]')")
        assert own or process.wait_for_output(r"on http://127\.0\.0\.1:(\d+)")
    finally:
        process.__exit__(None, None, None)


@pytest.mark.parametrize("wanted", [True, False])
def test_it_is_loaded_only_where_it_is_configured(simulator: Stack, wanted: bool) -> None:
    """By protobuf, the part of it that is a shared library."""
    with tracing(simulator, "http://127.0.0.1:1" if wanted else "") as process:
        assert ("/google/_upb/" in Path(f"/proc/{process.children()[0]}/maps").read_text()) is wanted
