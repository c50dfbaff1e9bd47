from collections.abc import Iterator

import pytest

from tests.stack import Stack


@pytest.fixture(scope="module")
def simulator() -> Iterator[Stack]:
    """A simulator, the upstream of the gateways of a module."""
    with Stack() as stack:
        yield stack
