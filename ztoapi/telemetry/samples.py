"""What is looked at once a second rather than counted at each request: gauges, and counters that others keep.

Whoever has something to show has a method ``samples()``; :class:`ztoapi.telemetry.sampler.Sampler` puts what it gives
on the board. A metric must stand in :data:`SAMPLED`, which is also what ``/metrics`` shows.
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

__all__ = ["SAMPLED", "CredentialState", "Kind", "Sample", "SampledMetric", "Source", "merged"]


class Sample(NamedTuple):
    """The value of a metric in this worker. ``first`` and ``second`` are the values of its labels. A counter is given
    since the start of the worker."""

    metric: str
    value: float
    first: str = ""
    second: str = ""


Source = Callable[[], Iterable[Sample]]


class Kind(enum.Enum):
    """How the workers' values become one."""

    COUNTER = enum.auto()
    """Added up; what a dead worker has counted stays."""
    SUM = enum.auto()
    """A gauge of how many there are: added up."""
    MAX = enum.auto()
    """A gauge of how things are: the worst, or largest."""
    MIN = enum.auto()


class CredentialState(enum.IntEnum):
    """Values of ``ztoapi_credential_state`` on the board: the worst of all workers' is shown."""

    OK = 0
    COOLING = 1
    DISABLED = 2


class SampledMetric(NamedTuple):
    """``labels`` has at most two names."""

    kind: Kind
    labels: tuple[str, ...]
    help: str


SAMPLED: Final[Mapping[str, SampledMetric]] = {
    "ztoapi_client_connections": SampledMetric(Kind.SUM, (), "Client connections that are open."),
    "ztoapi_admission_waiting": SampledMetric(Kind.SUM, (), "Requests that wait to be taken in hand."),
    "ztoapi_admission_refused": SampledMetric(Kind.COUNTER, (), "Requests refused because the gateway was overloaded."),
    "ztoapi_upstream_connections": SampledMetric(Kind.SUM, ("state",), "Upstream connections, idle or busy."),
    "ztoapi_upstream_connections_opened": SampledMetric(Kind.COUNTER, (), "Upstream connections opened."),
    "ztoapi_upstream_retries_refused": SampledMetric(
        Kind.COUNTER, ("platform",), "Retries that the retry budget did not allow."
    ),
    "ztoapi_ratelimit_decisions": SampledMetric(
        Kind.COUNTER, ("result", "scope"), "Decisions of the rate limits; scope is whose limit denied, or all."
    ),
    "ztoapi_credential_state": SampledMetric(
        Kind.MAX, ("platform", "credential"), "1 for the state that the credential is in, in the worst off worker."
    ),
    "ztoapi_credential_in_flight": SampledMetric(
        Kind.SUM, ("platform", "credential"), "Requests in flight with the credential."
    ),
    "ztoapi_credential_requests": SampledMetric(
        Kind.COUNTER, ("platform", "credential"), "Tries made with the credential."
    ),
    "ztoapi_credential_failures": SampledMetric(
        Kind.COUNTER, ("platform", "credential"), "Tries with the credential that failed."
    ),
    "ztoapi_credential_latency_seconds": SampledMetric(
        Kind.MAX, ("platform", "credential"), "Time to the first byte that the credential is chosen by (peak EWMA)."
    ),
    "ztoapi_credential_retry_timestamp_seconds": SampledMetric(
        Kind.MAX, ("platform", "credential"), "When the credential is tried again (Unix seconds); 0 if it is in use."
    ),
    "ztoapi_cache_requests": SampledMetric(Kind.COUNTER, ("result",), "What the response cache did for requests."),
    "ztoapi_cache_bytes": SampledMetric(Kind.SUM, (), "Octets that the response cache holds."),
    "ztoapi_cache_entries": SampledMetric(Kind.SUM, (), "Answers that the response cache holds."),
    "ztoapi_access_log_dropped": SampledMetric(
        Kind.COUNTER,
        (),
        "Requests without a line in the access log, which could not be written fast enough, or at all.",
    ),
    "ztoapi_store_failures": SampledMetric(Kind.COUNTER, ("store",), "Calls of the common store that failed."),
    "ztoapi_store_up": SampledMetric(Kind.MIN, ("store",), "Whether the common store answers."),
}


def merged(kind: Kind, values: Iterable[float]) -> float:
    """The value of all workers together."""
    if kind is Kind.MAX:
        return max(values)
    if kind is Kind.MIN:
        return min(values)
    return sum(values)
