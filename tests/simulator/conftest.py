"""A simulator with its defaults; what stands before it plays no part here."""

from collections.abc import Iterator

import pytest

from tests.stack import Stack


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


@pytest.fixture
def origin(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.simulator_port}"
