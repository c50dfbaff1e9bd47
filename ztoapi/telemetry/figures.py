"""The schema of ``/dashboard/stats``, ``/dashboard/requests`` and the JSON of ``/metrics``.

The gateway encodes these structs, ``ztoapi top`` decodes them. Durations are in seconds, times in Unix seconds; None
stands for "no data".
"""

import datetime

import msgspec

from ztoapi.telemetry.terminal_text import counted

__all__ = [
    "AdmissionFigures",
    "BudgetFigures",
    "BudgetsPage",
    "CacheFigures",
    "ConfigPage",
    "CredentialFigures",
    "CredentialName",
    "CredentialsPage",
    "Figures",
    "LatencyFigures",
    "LiveRequest",
    "MetricsSummary",
    "ModelFigures",
    "NetworkFigures",
    "RateLimitFigures",
    "RequestFigures",
    "RequestsPage",
    "ResetRequest",
    "ResetResponse",
    "SeriesFigures",
    "StallFigures",
    "TokenFigures",
    "UpstreamFigures",
    "WorkerFigures",
]


class RequestFigures(msgspec.Struct):
    """Counts since the start, without monitoring requests; rates over the last seconds. ``error_rate`` is the share of
    failures in the last minute, without refused requests."""

    total: int
    succeeded: int
    failed: int
    cancelled: int
    in_flight: int
    streams: int
    waiting: int
    connections: int
    per_second: float
    error_rate: float
    refused: int = 0


class LatencyFigures(msgspec.Struct):
    """A distribution over the window of :class:`Figures`, in seconds."""

    average: float | None
    maximum: float | None
    p50: float | None
    p95: float | None
    p99: float | None


class TokenFigures(msgspec.Struct):
    """Tokens as counted by the upstream."""

    input: int
    output: int
    cached: int
    reasoning: int
    output_per_second: float


class StallFigures(msgspec.Struct):
    """Times that a stream stood still, by cause."""

    upstream: int
    client: int


class ModelFigures(msgspec.Struct):
    """The counts of one model."""

    model: str
    requests: int
    failed: int
    output_tokens: int
    refused: int = 0


class RateLimitFigures(msgspec.Struct):
    """Decisions of the rate limits. ``denied`` includes the refusals of budgets."""

    granted: int
    denied: int


class AdmissionFigures(msgspec.Struct):
    """Requests that wait for admission, and requests that were refused."""

    waiting: int
    refused: int


class CacheFigures(msgspec.Struct):
    """Results and size of the response cache."""

    hit: int
    miss: int
    bypass: int
    shared: int
    bytes: int
    entries: int


class CredentialFigures(msgspec.Struct):
    """One upstream credential. ``until`` is the end of its cooldown, ``fault`` the cause, and ``models`` the number of
    models for which alone it is out of use, in the worker with the most."""

    platform: str
    credential: str
    state: str
    in_flight: int
    requests: int
    failed: int
    latency: float | None
    until: float | None
    fault: str | None = None
    models: int = 0
    last_fault: str | None = None
    last_failed: float | None = None

    def state_text(self, wait: str) -> str:
        """Returns the state in the words of the metrics, with its cause, as in ``cooling for 5 min (quota)``. ``wait``
        is the rest of the cooldown."""
        text = self.state if self.until is None else f"{self.state} for {wait}"
        if self.fault is not None and self.state != "ok":
            text += f" ({self.fault})"
        return f"{text}, but not for {counted(self.models, 'model')}" if self.models and self.state == "ok" else text


class CredentialsPage(msgspec.Struct):
    """``/admin/credentials``."""

    credentials: list[CredentialFigures]


class BudgetFigures(msgspec.Struct):
    """A budget of a client key, in tokens or US dollars. ``used`` contains the estimates of requests in flight, and is
    None while the store that has the counts is unreachable. ``reset`` is the end of the period."""

    key: str
    budget: str
    used: int | float | None
    limit: int | float
    reset: datetime.datetime


class BudgetsPage(msgspec.Struct):
    """The part of ``/admin/keys`` on budgets."""

    budgets: list[BudgetFigures]


class CredentialName(msgspec.Struct):
    """A credential of a platform."""

    platform: str
    credential: str


class ResetRequest(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The body for ``/admin/credentials/reset``: one credential, as ``name`` or ``platform/name``, or all."""

    credential: str | None = None
    all: bool = False


class ResetResponse(msgspec.Struct):
    """The credentials that have been put back into service."""

    reset: list[CredentialName]


class ConfigPage(msgspec.Struct):
    """``/admin/config``: the warnings, and the lines that ``ztoapi check`` prints."""

    warnings: list[str]
    text: str


class UpstreamFigures(msgspec.Struct):
    """Upstream connections, retries, and errors by code."""

    idle: int
    busy: int
    retries: int
    errors: dict[str, int]


class WorkerFigures(msgspec.Struct):
    """One worker process. ``cpu`` is a share of one core."""

    number: int
    pid: int | None
    alive: bool
    cpu: float
    memory_bytes: int | None
    open_files: int | None
    in_flight: int
    loop_lag_p99: float | None


class NetworkFigures(msgspec.Struct):
    """Bytes of request and response bodies."""

    bytes_in: int
    bytes_out: int


class SeriesFigures(msgspec.Struct):
    """One value for each second of the window. Quantiles cover the ten seconds that end there."""

    seconds: list[int]
    requests: list[int]
    failed: list[int]
    streams: list[int]
    output_tokens: list[int]
    ttft_p50: list[float | None]
    ttft_p99: list[float | None]
    inter_token_p50: list[float | None]
    inter_token_p99: list[float | None]
    duration_p50: list[float | None]
    duration_p99: list[float | None]
    refused: list[int] = []


class Figures(msgspec.Struct):
    """The body of ``/dashboard/stats``."""

    version: str
    now: float
    started: float
    uptime: float
    window: str
    """Length of the window that latencies and series cover, such as ``5m``."""
    requests: RequestFigures
    duration: LatencyFigures
    time_to_first_token: LatencyFigures
    inter_token: LatencyFigures
    overhead: LatencyFigures
    tokens: TokenFigures
    stream_ends: dict[str, int]
    status: dict[str, int]
    stalls: StallFigures
    models: list[ModelFigures]
    rate_limits: RateLimitFigures
    admission: AdmissionFigures
    cache: CacheFigures | None
    """None without a response cache."""
    credentials: list[CredentialFigures]
    upstream: UpstreamFigures
    workers: list[WorkerFigures]
    network: NetworkFigures
    series: SeriesFigures
    api_urls: list[str] | None = None
    """Origins of the API, with the host as configured (such as ``0.0.0.0``); None if the address of this response
    serves it too."""


class LiveRequest(msgspec.Struct, kw_only=True, gc=False):
    """One request in flight or recently finished."""

    id: str
    started: float
    method: str
    path: str
    model: str | None
    platform: str | None
    credential: str | None
    key: str | None
    client: str | None
    user_agent: str | None
    status: int
    ending: str | None
    outcome: str | None = None
    """``answered``, ``failed``, ``refused`` or ``cancelled``; None while the request is in flight."""
    error_message: str | None = None
    """The error's message for the client."""
    upstream_code: str | None = None
    received_after: float | None = None
    """Seconds from the start until the whole request had arrived and was admitted."""
    sent_after: float | None = None
    """Seconds from the start until the last attempt was sent upstream."""
    first_after: float | None = None
    """Seconds from the start to the first event of a stream."""
    complete_after: float | None = None
    """Seconds from the start until the upstream response was complete."""
    phase: str
    stream: bool
    attempts: int
    bytes_in: int
    bytes_out: int
    input_tokens: int | None
    output_tokens: int | None
    time_to_first_token: float | None
    duration: float
    error_code: str | None
    cache: str | None
    peer: str | None


class RequestsPage(msgspec.Struct):
    """The body of ``/dashboard/requests``. ``total`` counts the matches on all pages."""

    requests: list[LiveRequest]
    total: int
    page: int
    page_size: int


class MetricsSummary(msgspec.Struct):
    """The body of ``/metrics`` as JSON. Its names are those of the Go design that preceded this project; ``workers``
    takes the place of its goroutines."""

    memory_alloc_mb: float
    workers: int
    uptime_seconds: float
    total_requests: int
    avg_response_time_ms: float
