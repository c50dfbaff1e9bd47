"""One stack for the tests that do not need one of their own."""

from collections.abc import Iterator

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
