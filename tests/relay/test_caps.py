"""Caps on a shared: exact over all workers, and given back by those that die."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.config.reading import loaded
from ztoapi.app import make_shared_limits
from ztoapi.config.model import Config
from ztoapi.relay.caps import PlatformCaps, cap_scopes

TOML = """
[[platforms.zai.credentials]]
token = "a"
max_in_flight = 4
max_in_flight_per_model = { "glm-4.6" = 2, "*" = 3 }

[[platforms.zai.credentials]]
token = "b"
"""


def configured(directory: Path) -> Config:
    (directory / "ztoapi.toml").write_text(TOML)
    return loaded(directory).config


def taken(caps: PlatformCaps, credential: int, model: str) -> Callable[[], None]:
    give_back = caps.take(credential, model)
    assert give_back is not None
    return give_back


def test_all_workers_together_stay_below_the_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Both are in this process, and the lock between processes would keep a file open.
    monkeypatch.setattr("ztoapi.limits.shared_limits.ProcessLock", lambda _: threading.Lock())
    config = configured(tmp_path)
    shared = make_shared_limits(config, workers=2)
    one, other = (PlatformCaps(config.platforms[0], shared.limiter(slot)) for slot in (0, 1))
    first = taken(one, 0, "glm-4.6")
    taken(other, 0, "glm-4.6")
    assert one.take(0, "glm-4.6") is None
    assert other.take(0, "glm-4.6") is None
    taken(other, 0, "glm-4.5")
    taken(other, 0, "glm-5")
    # Four in all.
    assert one.take(0, "glm-5") is None
    first()
    taken(other, 0, "glm-4.6")
    shared.reclaim(1)
    # The worker that took the place of the second has nothing in flight.
    for _ in range(2):
        taken(one, 0, "glm-4.6")
    assert one.take(0, "glm-4.6") is None


def test_any_other_model_has_a_count_of_its_own(tmp_path: Path) -> None:
    config = configured(tmp_path)
    caps = PlatformCaps(config.platforms[0], make_shared_limits(config).limiter(0))
    for _ in range(3):
        taken(caps, 0, "x")
    assert caps.take(0, "x") is None
    taken(caps, 0, "y")


def test_what_has_no_caps_is_not_counted(tmp_path: Path) -> None:
    config = configured(tmp_path)
    caps = PlatformCaps(config.platforms[0], make_shared_limits(config).limiter(0))
    for _ in range(100):
        taken(caps, 1, "glm-4.6")
    assert cap_scopes(loaded(tmp_path / "nowhere", ZAI_TOKEN="a").config.platforms) == []
