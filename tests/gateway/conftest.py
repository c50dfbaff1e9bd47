"""One stack for the tests that do not need one of their own."""

import contextlib
from collections.abc import Callable, Iterator

import anthropic
import openai
import pytest

from tests.stack import Stack


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
def anthropic_sdk() -> Iterator[Callable[[Stack], anthropic.Anthropic]]:
    """Makes clients of Anthropic's SDK for a stack, and closes them."""
    with contextlib.ExitStack() as clients:
        yield lambda stack: clients.enter_context(anthropic.Anthropic(base_url=stack.url, api_key="any", max_retries=0))


@pytest.fixture
def openai_sdk() -> Iterator[Callable[[Stack], openai.OpenAI]]:
    """Makes clients of OpenAI's SDK for a stack, and closes them."""
    with contextlib.ExitStack() as clients:
        yield lambda stack: clients.enter_context(openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0))
