"""Scenario runs take a while and need locust, wrk and hey: they run only with ``pytest -m load``."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "load" in (config.option.markexpr or ""):
        return
    skip = pytest.mark.skip(reason="run pytest -m load")
    for item in items:
        if item.get_closest_marker("load") is not None:
            item.add_marker(skip)
