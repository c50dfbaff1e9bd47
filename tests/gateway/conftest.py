"""One stack for the tests that do not need one of their own."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import anthropic
import httpx
import openai
import pytest

from tests.gateway.replies import Replies, Reply, ask
from tests.stack import Stack
from tests.support.waiting import WAIT_SECONDS
from ztoapi.errors import Ending
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


class Reading(Protocol):
    """Returns the response to a request whose upstream sends ``reply``; it must be complete in its record."""

    def __call__(self, reply: Reply, platform: str, **fields: object) -> httpx.Response: ...


@pytest.fixture(scope="module")
def reading() -> Iterator[Reading]:
    """One gateway for each platform serves all requests of a module: a complete response changes nothing in it."""
    started: dict[str, tuple[Replies, Stack]] = {}
    with contextlib.ExitStack() as running:

        def read(reply: Reply, platform: str, **fields: object) -> httpx.Response:
            if platform not in started:
                upstream = running.enter_context(Replies(lambda _: b""))
                started[platform] = upstream, running.enter_context(upstream.stack(platform))
            upstream, stack = started[platform]
            upstream.reply = lambda _: reply
            recorder = stack.application.recorder
            before = recorder.total
            response = ask(stack, **fields)  # type: ignore[arg-type]
            stack.wait_for(lambda: recorder.total > before)
            assert recorder.recent[-1].ending is Ending.DONE
            assert len(upstream.bodies) == before + 1, "each request is sent once"
            return response

        yield read


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
