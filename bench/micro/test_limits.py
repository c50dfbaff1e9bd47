"""The token bucket, and all limits of a request together."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.inmemory import Gateway, request, whole_response
from bench.micro.pieces import note
from ztoapi.config.model import LimitsConfig, TrafficLimits
from ztoapi.limits.buckets import BucketPlace, Buckets
from ztoapi.limits.model import Descriptors, InFlightLimit, RateLimit, Rejection, Scope, Unit
from ztoapi.limits.shared_limits import SharedLimits
from ztoapi.structures.bucket import FULL, SECOND_NS, Rate

BATCH = 100
PLENTY = 10**8
WIDE = TrafficLimits(
    requests_per_second=PLENTY, requests_per_minute=PLENTY, tokens_per_minute=PLENTY, max_concurrency=1000
)
LIMITS = {
    "none": LimitsConfig(),
    "requests of a key": LimitsConfig(key=TrafficLimits(requests_per_minute=PLENTY)),
    "all of a key": LimitsConfig(key=WIDE),
    "all of four scopes": LimitsConfig(everybody=WIDE, key=WIDE, model=WIDE, address=WIDE),
}


def test_token_bucket(benchmark: BenchmarkFixture) -> None:
    rate = Rate(PLENTY, SECOND_NS)
    buckets, words = Buckets([BucketPlace(0, rate, by_token=False)]), [FULL]

    def take() -> None:
        for now in range(BATCH):
            assert buckets.take(words, now, 0)

    note(benchmark, "limits: pieces", takes=BATCH)
    benchmark(take)


def _scope(name: str) -> Scope:
    rates = (
        RateLimit(f"{name}_requests", Unit.REQUESTS, Rate(PLENTY, SECOND_NS)),
        RateLimit(f"{name}_tokens", Unit.TOKENS, Rate(PLENTY, SECOND_NS, 10**10)),
    )
    return Scope(name, (*rates, InFlightLimit(f"{name}_streams", 1000)), 100)


# The lock file of the workers stays open as long as they live.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("scopes", [1, 4])
def test_decision(benchmark: BenchmarkFixture, scopes: int, workers: int) -> None:
    known = [_scope(f"s{number}") for number in range(scopes)]
    descriptors: Descriptors = tuple((scope, "subject") for scope in known)
    limiter = SharedLimits(known, workers=workers).limiter(0)

    def decide() -> None:
        for _ in range(BATCH):
            decision = limiter.reserve(descriptors, 1000)
            assert not isinstance(decision, Rejection)
            decision.fields()
            decision.finish(36)

    note(benchmark, "limits: decisions, told and settled", decisions=BATCH, limits=3 * scopes, workers=workers)
    benchmark(decide)


@pytest.mark.parametrize("limits", LIMITS)
def test_whole_request_with(benchmark: BenchmarkFixture, limits: str) -> None:
    gateway = Gateway(limits=LIMITS[limits])
    question, response = request(stream=False, prompt="x" * 800), whole_response("x" * 800)

    def exchange() -> None:
        gateway.receive_request(question)
        gateway.receive_response(response)

    note(benchmark, "limits: a whole request", requests=1)
    benchmark(exchange)
    assert b" 200 OK" in gateway.client.last
    gateway.close()
