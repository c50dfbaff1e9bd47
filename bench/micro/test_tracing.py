"""OpenTelemetry, when enabled: the cost on the request path, and the cost of creating spans in the exporting thread."""

from unittest.mock import patch

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.pieces import note
from bench.micro.test_access_log import record
from ztoapi.telemetry.record import Spans
from ztoapi.wire.trace import Trace

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="OpenTelemetry (the extra otel) is not installed")

CALLER = Trace("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True, b"", b"rojo=1")


@pytest.mark.parametrize("caller", [None, CALLER], ids=["a trace begins", "a trace goes on"])
def test_begin(benchmark: BenchmarkFixture, caller: Trace | None) -> None:
    from ztoapi.telemetry.tracing import SpanTracer

    tracer = SpanTracer("http://127.0.0.1:1", (), lambda: 1e9)
    note(benchmark, "tracing, on the path", requests=1)
    assert benchmark(tracer.begin, record(), caller).startswith(b"traceparent")
    tracer.close()


def test_end(benchmark: BenchmarkFixture) -> None:
    from ztoapi.telemetry.tracing import SpanTracer

    # The processor's thread would compete with the measured code, and log that there is no collector.
    with patch("opentelemetry.sdk.trace.export.BatchSpanProcessor.on_end", lambda *_: None):
        tracer = SpanTracer("http://127.0.0.1:1", (), lambda: 1e9)
        made = record()
        made.spans = Spans(1, 2, None, "")
        note(benchmark, "tracing, on the path", requests=1)
        benchmark(tracer.add, [made])
        tracer.close()
    assert made.spans is not None
