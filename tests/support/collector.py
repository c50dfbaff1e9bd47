"""An OpenTelemetry collector that receives OTLP over HTTP on a free loopback port."""

import gzip
import http.server
import threading
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.waiting import WAIT_SECONDS

__all__ = ["Collector", "attributes"]


def attributes(span: Span) -> dict[str, object]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in span.attributes}


class Collector:
    """``url`` is its base URL; ``requests`` has the received requests."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self._arrived = threading.Condition()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    data = gzip.decompress(data)
                known = self.path == "/v1/traces"
                self.send_response(200 if known else 404)
                self.send_header("content-length", "0")
                self.end_headers()
                if known:
                    collector.take(ExportTraceServiceRequest.FromString(data))

            def log_message(self, *_: object) -> None:
                """Does nothing: requests are not logged."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_SECONDS)

    def take(self, request: ExportTraceServiceRequest) -> None:
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()

    @property
    def spans(self) -> list[Span]:
        return [
            span for request in self.requests for resource in request.resource_spans
            for scope in resource.scope_spans for span in scope.spans
        ]  # fmt: skip

    def wait_for(self, count: int) -> list[Span]:
        """Returns all spans once there are ``count``."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.spans) >= count, WAIT_SECONDS), self.spans
        return self.spans
