"""The declarations of all metrics that are sampled once a second: gauges, and counters that other objects keep.

An object with such values has a method ``samples()``. :class:`ztoapi.telemetry.sampler.Sampler` calls it and writes the
values to the board. Metrics that are counted for each request are declared in :mod:`ztoapi.telemetry.metrics`.
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from ztoapi.errors import Fault

__all__ = [
    "SAMPLED",
    "CredentialState",
    "Sample",
    "SampleKind",
    "SampledMetric",
    "Source",
    "fault_of",
    "merged",
    "stamped",
]


class Sample(NamedTuple):
    """The value of a metric in this worker. ``first`` and ``second`` are label values. Counters start at 0 when the
    worker starts."""

    metric: str
    value: float
    first: str = ""
    second: str = ""


Source = Callable[[], Iterable[Sample]]


class SampleKind(enum.Enum):
    """How the values of several workers are merged."""

    COUNTER = enum.auto()
    """The sum. The counts of dead workers stay in it."""
    SUM = enum.auto()
    """A gauge whose values are added up."""
    MAX = enum.auto()
    """A gauge whose largest value is shown."""
    MIN = enum.auto()
    """A gauge whose smallest value is shown."""


class CredentialState(enum.IntEnum):
    """Values of ``ztoapi_credential_state`` on the board. The worst state of all workers is shown."""

    OK = 0
    COOLING = 1
    DISABLED = 2


_FAULTS: Final = tuple(Fault)
_STAMP_PARTS: Final = 16
"""More than there are faults, and a power of two, so that doubles are exact."""


def stamped(second: int, fault: Fault | None) -> float:
    """Returns a time in Unix seconds with a fault in its fraction. The latest one of all workers then has its fault."""
    return second if fault is None else second + (1 + _FAULTS.index(fault)) / _STAMP_PARTS


def fault_of(stamp: float) -> Fault | None:
    """Returns the fault in the fraction of ``stamp``."""
    place = int(stamp % 1.0 * _STAMP_PARTS)
    return _FAULTS[place - 1] if 0 < place <= len(_FAULTS) else None


class SampledMetric(NamedTuple):
    """One metric, with at most two labels."""

    kind: SampleKind
    labels: tuple[str, ...]
    help: str


SAMPLED: Final[Mapping[str, SampledMetric]] = {
    "ztoapi_client_connections": SampledMetric(SampleKind.SUM, (), "Client connections that are open."),
    "ztoapi_client_connections_evicted": SampledMetric(
        SampleKind.COUNTER, (), "Idle client connections closed to make room for new ones."
    ),
    "ztoapi_client_connections_refused": SampledMetric(
        SampleKind.COUNTER, (), "Client connections refused because there were too many."
    ),
    "ztoapi_client_buffered_bytes": SampledMetric(
        SampleKind.SUM, (), "Bytes of requests that are buffered for clients."
    ),
    "ztoapi_client_buffers_refused": SampledMetric(
        SampleKind.COUNTER, (), "Requests refused because the memory for requests was used up."
    ),
    "ztoapi_client_plain_http": SampledMetric(
        SampleKind.COUNTER, (), "Client connections with HTTP in place of TLS, which were refused."
    ),
    "ztoapi_wrong_keys": SampledMetric(SampleKind.COUNTER, (), "Requests with a key that is not known."),
    "ztoapi_wrong_keys_refused": SampledMetric(
        SampleKind.COUNTER, (), "Requests refused because their address had sent too many wrong keys."
    ),
    "ztoapi_admission_waiting": SampledMetric(SampleKind.SUM, (), "Requests that wait for admission."),
    "ztoapi_admission_refused": SampledMetric(
        SampleKind.COUNTER, (), "Requests refused because the gateway was overloaded."
    ),
    "ztoapi_upstream_connections": SampledMetric(SampleKind.SUM, ("state",), "Upstream connections, idle or busy."),
    "ztoapi_upstream_connections_opened": SampledMetric(SampleKind.COUNTER, (), "Upstream connections opened."),
    "ztoapi_upstream_lookups_failed": SampledMetric(
        SampleKind.COUNTER, (), "Lookups of the names of upstreams that failed."
    ),
    "ztoapi_upstream_names_stale": SampledMetric(
        SampleKind.MAX, (), "Names of upstreams whose last lookup failed, so that earlier addresses are used."
    ),
    "ztoapi_upstream_exhausted": SampledMetric(
        SampleKind.MAX, ("platform",), "1 while every credential of the platform is out of use in some worker."
    ),
    "ztoapi_upstream_last_resort_requests": SampledMetric(
        SampleKind.COUNTER, ("platform",), "Attempts made although every credential was out of use."
    ),
    "ztoapi_upstream_retries_refused": SampledMetric(
        SampleKind.COUNTER, ("platform",), "Retries refused by the retry budget."
    ),
    "ztoapi_ratelimit_decisions": SampledMetric(
        SampleKind.COUNTER, ("result", "scope"), "Decisions of the rate limits; scope is the limit that denied, or all."
    ),
    "ztoapi_budget_refusals": SampledMetric(
        SampleKind.COUNTER,
        ("budget", "reason"),
        "Requests refused because a budget was used up, or the rest of it reserved for requests in flight.",
    ),
    "ztoapi_budget_used_ratio": SampledMetric(
        SampleKind.MAX, ("key", "budget"), "Used share of a budget, with the estimates of requests in flight."
    ),
    "ztoapi_credential_state": SampledMetric(
        SampleKind.MAX, ("platform", "credential"), "1 for the state of the credential in the worker where it is worst."
    ),
    "ztoapi_credential_in_flight": SampledMetric(
        SampleKind.SUM, ("platform", "credential"), "Requests in flight with the credential."
    ),
    "ztoapi_credential_requests": SampledMetric(
        SampleKind.COUNTER, ("platform", "credential"), "Attempts made with the credential."
    ),
    "ztoapi_credential_failures": SampledMetric(
        SampleKind.COUNTER, ("platform", "credential"), "Failed attempts with the credential."
    ),
    "ztoapi_credential_latency_seconds": SampledMetric(
        SampleKind.MAX, ("platform", "credential"), "Time to the first byte, as used to choose credentials (peak EWMA)."
    ),
    "ztoapi_credential_retry_timestamp_seconds": SampledMetric(
        SampleKind.MAX,
        ("platform", "credential"),
        "End of the credential's cooldown (Unix seconds); 0 if it is in use.",
    ),
    "ztoapi_credential_models_out_of_use": SampledMetric(
        SampleKind.MAX, ("platform", "credential"), "Models for which alone the credential is out of use."
    ),
    "ztoapi_credential_last_failure_timestamp_seconds": SampledMetric(
        SampleKind.MAX, ("platform", "credential"), "The last failed attempt (Unix seconds); 0 if there was none."
    ),
    "ztoapi_cache_requests": SampledMetric(
        SampleKind.COUNTER, ("result",), "Requests by their result in the response cache."
    ),
    "ztoapi_cache_bytes": SampledMetric(SampleKind.SUM, (), "Bytes held by the response cache."),
    "ztoapi_cache_entries": SampledMetric(SampleKind.SUM, (), "Responses held by the response cache."),
    "ztoapi_stored_responses": SampledMetric(
        SampleKind.SUM, (), "Responses of the Responses API that are stored in memory."
    ),
    "ztoapi_stored_response_bytes": SampledMetric(SampleKind.SUM, (), "Bytes of these responses."),
    "ztoapi_access_log_dropped": SampledMetric(
        SampleKind.COUNTER,
        (),
        "Requests missing from the access log because it could not be written, or not fast enough.",
    ),
    "ztoapi_messages_dropped": SampledMetric(
        SampleKind.COUNTER, (), "Messages for operators that standard error did not take, fast enough or at all."
    ),
    "ztoapi_store_failures": SampledMetric(SampleKind.COUNTER, ("store",), "Failed calls of the shared store."),
    "ztoapi_store_up": SampledMetric(SampleKind.MIN, ("store",), "1 if the shared store answers, else 0."),
}


def merged(kind: SampleKind, values: Iterable[float]) -> float:
    """Returns the merged value of all workers."""
    if kind is SampleKind.MAX:
        return max(values)
    if kind is SampleKind.MIN:
        return min(values)
    return sum(values)
