"""One stack for the tests that do not need one of their own."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import anthropic
import openai
import pytest

from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS
from ztoapi.limits import redis_limiter


@pytest.fixture(scope="session")
def shared() -> Iterator[Stack]:
    """Z.ai's official format behind a gateway without client keys."""
    with Stack() as stack:
        yield stack


@pytest.fixture
def stack() -> Iterator[Stack]:
    """The same, for one test alone: its records and statistics start at nothing."""
    with Stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def closed() -> Iterator[Stack]:
    """A gateway with a client key and an admin key."""
    with Stack(ADMIN_KEY="admin", DEFAULT_KEY="client") as stack:
        yield stack


@pytest.fixture
def _patient_limiter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives calls to Redis a minute. They have 50 ms, which a busy machine may exceed."""
    patient = partial(redis_limiter.RedisLimiter, timeout_seconds=WAIT_SECONDS)
    monkeypatch.setattr(redis_limiter, "RedisLimiter", patient)
    monkeypatch.setattr(redis_limiter, "_CONNECT_SECONDS", WAIT_SECONDS)


@pytest.fixture
def anthropic_sdk() -> Iterator[Callable[[Stack], anthropic.Anthropic]]:
    """Makes clients of Anthropic's SDK for a stack, and closes them."""
    with contextlib.ExitStack() as clients:
        yield lambda stack: clients.enter_context(anthropic.Anthropic(base_url=stack.url, api_key="any", max_retries=0))


@pytest.fixture
def openai_sdk() -> Iterator[Callable[[Stack], openai.OpenAI]]:
    """Makes clients of OpenAI's SDK for a stack, and closes them."""
    with contextlib.ExitStack() as clients:
        yield lambda stack: clients.enter_context(openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0))
