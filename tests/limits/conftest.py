"""A Redis server of a test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.limits.redis_server import RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server
