"""OpenTelemetry traces: two spans for each request, created from its record after it has ended.

The SERVER span ``POST /v1/chat/completions`` covers the client's request. Its child, the CLIENT span ``chat glm-5.3``,
covers the upstream request (https://github.com/open-telemetry/semantic-conventions-genai, which may still change). The
ids are generated earlier, because the upstream request carries them. The exporting thread does everything else,
including the creation of the spans.

Needs ``pip install ztoapi[otel]``; imported only if traces are configured.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic
from typing import Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from ztoapi import __version__
from ztoapi.config.model import Platform
from ztoapi.dialects.registry import DIALECTS
from ztoapi.errors import Ending
from ztoapi.telemetry.board import cut
from ztoapi.telemetry.record import RequestRecord, Spans
from ztoapi.wire.trace import Trace, field_lines

__all__ = ["SpanTracer"]

CLOSE_SECONDS: Final = 3.0
"""How long a worker waits for the collector when it stops."""
_TEXT_BYTES: Final = 256
_ID_BYTES: Final = 8
"""Size of a span id; a trace id is twice as long."""
_NOT_FAILED: Final = frozenset((Ending.DONE, Ending.CLIENT_ERROR, Ending.RATE_LIMITED, Ending.CLIENT_DISCONNECT))
"""Endings that the HTTP conventions do not count as failures of the server."""
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)


class SpanTracer:
    """Sends spans to the collector at ``endpoint``, the base URL of OTLP over HTTP. OpenTelemetry's own variables
    configure headers, timeouts and the sampler. ``clock`` returns Unix seconds. Create it in the worker process: it
    starts a thread."""

    def __init__(self, endpoint: str, platforms: Sequence[Platform], clock: Callable[[], float]) -> None:
        resource = Resource.create({SERVICE_VERSION: __version__})
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "ztoapi"}))
        # The provider reads OTEL_TRACES_SAMPLER. Its spans are not used: they would be created on the request path.
        self._sampler = TracerProvider(resource=resource, shutdown_on_exit=False).sampler
        self._resource = resource
        # Shared by all queued requests: the processor checks only that it is sampled.
        self._context = SpanContext(1, 1, is_remote=False, trace_flags=_SAMPLED)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._processor = BatchSpanProcessor(_Exporter(exporter, _SpanMaker(resource, platforms, clock)))

    def begin(self, record: RequestRecord, caller: Trace | None) -> bytes:
        """Starts the trace of a request, as a child of ``caller`` if there is one. Returns the header lines for the
        upstream request."""
        random = secrets.token_bytes(4 * _ID_BYTES)
        if caller is None:
            parent = None
            state = b""
            trace_id = int.from_bytes(random[2 * _ID_BYTES :]) or 1
            record.trace_id = f"{trace_id:032x}"
        else:
            state, trace_id = caller.state, int(caller.trace_id, 16)
            record.trace_id = caller.trace_id
            flags = TraceFlags(TraceFlags.SAMPLED if caller.sampled else TraceFlags.DEFAULT)
            remote = SpanContext(trace_id, int(caller.span_id, 16), is_remote=True, trace_flags=flags)
            parent = set_span_in_context(NonRecordingSpan(remote))
        decision = self._sampler.should_sample(parent, trace_id, record.method, SpanKind.SERVER).decision
        sampled = decision is Decision.RECORD_AND_SAMPLE
        # An id of zero is invalid.
        upstream = int.from_bytes(random[:_ID_BYTES]) or 1
        if sampled:
            caller_id = None if caller is None else int(caller.span_id, 16)
            own = int.from_bytes(random[_ID_BYTES : 2 * _ID_BYTES]) or 1
            record.spans = Spans(own, upstream, caller_id, state.decode("ascii"))
        return field_lines(b"00-%b-%016x-%02x" % (record.trace_id.encode("ascii"), upstream, sampled), state)

    def add(self, records: Sequence[RequestRecord]) -> None:
        """Queues the records of requests that have ended."""
        for record in records:
            if record.spans is not None:
                self._processor.on_end(_Ended(record, self._context, self._resource))

    def close(self) -> None:
        """Sends the queued spans; blocks for up to :data:`CLOSE_SECONDS`."""
        thread = threading.Thread(target=self._processor.shutdown, daemon=True)
        thread.start()
        thread.join(CLOSE_SECONDS)


class _Ended(ReadableSpan):
    """A queued request. Its spans are created later, because that is too slow for the request path."""

    def __init__(self, record: RequestRecord, context: SpanContext, resource: Resource) -> None:
        super().__init__("", context=context, resource=resource)
        self.record = record


class _Exporter(SpanExporter):
    """Creates the spans of queued requests and exports them. Called in the processor's thread."""

    def __init__(self, exporter: SpanExporter, maker: "_SpanMaker") -> None:
        self._exporter = exporter
        self._maker = maker

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._exporter.export(self._maker.make([span.record for span in spans if isinstance(span, _Ended)]))

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _SpanMaker:
    def __init__(self, resource: Resource, platforms: Sequence[Platform], clock: Callable[[], float]) -> None:
        self._resource = resource
        self._clock = clock
        self._scope = InstrumentationScope("ztoapi", __version__)
        self._upstreams = {platform.id: _upstream_attributes(platform) for platform in platforms}

    def make(self, records: Sequence[RequestRecord]) -> list[ReadableSpan]:
        offset = self._clock() - monotonic()
        return [span for record in records for span in self._spans(record, offset)]

    def _spans(self, record: RequestRecord, offset: float) -> Iterator[ReadableSpan]:
        spans = record.spans
        finished = record.finished
        assert spans is not None and finished is not None
        failed = record.ending not in _NOT_FAILED
        caller = None if spans.caller is None else self._context(record, spans.caller, is_remote=True)
        server = self._context(record, spans.server)
        # A path without a route may be anything, so it is not part of the name.
        route = record.path if record.model is not None else None
        yield self._span(
            record.method if route is None else f"{record.method} {cut(route, _TEXT_BYTES)}",
            server,
            caller,
            SpanKind.SERVER,
            _http_attributes(record),
            failed,
            (record.started + offset, finished + offset),
        )
        if record.sent is not None and record.platform is not None:
            yield self._span(
                f"chat {cut(record.served_model or record.model or '', _TEXT_BYTES)}",
                self._context(record, spans.client),
                server,
                SpanKind.CLIENT,
                {**self._upstreams[record.platform], **_chat_attributes(record)},
                failed,
                (record.sent + offset, (record.complete or finished) + offset),
            )

    @staticmethod
    def _context(record: RequestRecord, span_id: int, *, is_remote: bool = False) -> SpanContext:
        assert record.trace_id is not None and record.spans is not None
        state = TraceState.from_header([record.spans.state])
        return SpanContext(int(record.trace_id, 16), span_id, is_remote, _SAMPLED, state)

    def _span(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Mapping[str, AttributeValue | None],
        failed: bool,
        seconds: tuple[float, float],
    ) -> ReadableSpan:
        return ReadableSpan(
            name,
            context=context,
            parent=parent,
            resource=self._resource,
            attributes={name: value for name, value in attributes.items() if value is not None},
            kind=kind,
            status=Status(StatusCode.ERROR if failed else StatusCode.UNSET),
            start_time=int(seconds[0] * 1e9),
            end_time=int(seconds[1] * 1e9),
            instrumentation_scope=self._scope,
        )


def _upstream_attributes(platform: Platform) -> dict[str, AttributeValue | None]:
    url = urlsplit(platform.chat_url)
    return {
        "gen_ai.provider.name": DIALECTS[platform.dialect].provider,
        "server.address": url.hostname,
        "server.port": url.port or (443 if url.scheme == "https" else 80),
    }


def _http_attributes(record: RequestRecord) -> dict[str, AttributeValue | None]:
    peer, _, port = (record.peer or "").rpartition(":")
    agent = record.user_agent
    return {
        "http.request.method": cut(record.method, _TEXT_BYTES),
        "http.response.status_code": record.status or None,
        "http.request.body.size": record.bytes_in,
        "http.response.body.size": record.bytes_out,
        "url.scheme": "http",
        "url.path": cut(record.path, _TEXT_BYTES),
        "client.address": record.client,
        "network.peer.address": peer.strip("[]") or None,
        "network.peer.port": int(port) if port.isdigit() else None,
        "user_agent.original": None if agent is None else agent.decode("utf-8", "replace"),
        "error.type": _error_type(record),
        "ztoapi.request_id": record.request_id,
        "ztoapi.ending": None if record.ending is None else record.ending.value,
        "ztoapi.key": record.key,
    }


def _chat_attributes(record: RequestRecord) -> dict[str, AttributeValue | None]:
    usage = record.usage
    served = record.served_model
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": None if record.model is None else cut(record.model, _TEXT_BYTES),
        "gen_ai.response.model": None if served is None else cut(served, _TEXT_BYTES),
        "gen_ai.usage.input_tokens": None if usage is None else usage.prompt_tokens,
        "gen_ai.usage.output_tokens": None if usage is None else usage.completion_tokens,
        "error.type": _error_type(record),
        "ztoapi.platform": record.platform,
        "ztoapi.credential": record.credential,
        "ztoapi.attempts": record.attempts,
        "ztoapi.stream": record.stream,
        "ztoapi.time_to_first_token": record.time_to_first_token,
    }


def _error_type(record: RequestRecord) -> str | None:
    if record.ending is Ending.DONE or record.ending is None:
        return None
    return cut(record.error_code or record.ending.value, _TEXT_BYTES)
