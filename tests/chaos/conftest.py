"""A chaos run takes minutes and both cores: it runs only with ``pytest -m chaos``."""

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "chaos" in (config.option.markexpr or ""):
        return
    for item in items:
        if item.get_closest_marker("chaos") is not None:
            item.add_marker(pytest.mark.skip(reason="run pytest -m chaos"))
