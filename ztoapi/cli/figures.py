"""What ``/dashboard/stats`` and ``/dashboard/requests`` say, as far as ``ztoapi top`` shows it. Durations are in
seconds."""

import msgspec

__all__ = ["Credential", "Page", "Request", "Requests", "Series", "Stats", "Times", "Tokens", "Worker"]


class Requests(msgspec.Struct):
    total: float
    failed: float
    cancelled: float
    in_flight: float
    streams: float
    waiting: float
    connections: float
    per_second: float
    error_rate: float


class Times(msgspec.Struct):
    """Of the last minutes; None is "no data"."""

    p50: float | None
    p95: float | None
    p99: float | None
    maximum: float | None


class Tokens(msgspec.Struct):
    input: float
    output: float
    output_per_second: float


class Worker(msgspec.Struct):
    number: int
    pid: int | None
    cpu: float
    memory_bytes: int | None
    open_files: int | None
    in_flight: int
    loop_lag_p99: float | None


class Credential(msgspec.Struct):
    platform: str
    credential: str
    state: str
    in_flight: int
    requests: int
    failed: int
    latency: float | None
    until: float | None


class Series(msgspec.Struct):
    """A value for each second."""

    requests: list[float]
    output_tokens: list[float]


class Stats(msgspec.Struct):
    """``uptime`` is in seconds; ``window`` is the time that ``Times`` are of."""

    version: str
    now: float
    uptime: float
    window: str
    requests: Requests
    duration: Times
    time_to_first_token: Times
    inter_token: Times
    overhead: Times
    tokens: Tokens
    rate_limits: dict[str, float]
    workers: list[Worker]
    credentials: list[Credential]
    series: Series


class Request(msgspec.Struct):
    """``started`` is in Unix seconds."""

    started: float
    path: str
    model: str | None
    key: str | None
    client: str | None
    user_agent: str | None
    status: int
    ending: str | None
    phase: str
    cache: str | None
    output_tokens: int | None
    time_to_first_token: float | None
    duration: float


class Page(msgspec.Struct):
    requests: list[Request]
    total: int
