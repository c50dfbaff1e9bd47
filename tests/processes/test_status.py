"""The status file: it names a process that lives, and never a later one with the same id."""

import json
import os
from pathlib import Path

import pytest

from ztoapi.cli.status import StatusFile, find_status


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory of the files."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)


def test_a_later_process_with_the_same_id_is_not_the_gateway(tmp_path: Path) -> None:
    StatusFile(9090, 4).write("started", ok=True)
    path, status = find_status(9090)
    assert path is not None
    assert status is not None
    assert (status.pid, status.number, status.ok, status.outcome) == (os.getpid(), 5, True, "started")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"started": status.started - 1}))
    assert find_status(9090) == (path, None)


def test_a_gateway_is_found_at_its_former_port_too() -> None:
    file = StatusFile(9090, 0)
    file.move(9091)
    file.write("reload: the worker has been replaced", ok=True)
    assert [find_status(port)[1] for port in (9090, 9091)].count(None) == 0


def test_an_earlier_port_is_forgotten_after_the_change_was_reported(tmp_path: Path) -> None:
    file = StatusFile(9090, 0)
    file.move(9091)
    file.write("reload: the worker has been replaced", ok=True)
    file.write("the configuration has not changed", ok=True)
    assert [find_status(port)[1] is None for port in (9090, 9091)] == [True, False]
    file.move(9092)
    file.write("reload: the worker has been replaced", ok=True)
    file.forget_earlier()
    assert [find_status(port)[1] is None for port in (9091, 9092)] == [True, False]
    file.remove()
    assert [*(tmp_path / "ztoapi").iterdir()] == []


def test_files_of_gateways_that_have_ended_are_removed(tmp_path: Path) -> None:
    for port in (9090, 9091, 9092):
        StatusFile(port, 0).write("started", ok=True)
    killed, elsewhere = (tmp_path / "ztoapi" / f"status-{port}.json" for port in (9091, 9092))
    status = json.loads(killed.read_text())
    killed.write_text(json.dumps(status | {"started": status["started"] - 1}))
    # The process of another container has an id of its own.
    elsewhere.write_text(json.dumps(status | {"started": status["started"] - 1, "namespace": "pid:[1]"}))
    (tmp_path / "ztoapi" / "status-9093.json").write_text("half a fi")
    StatusFile.remove_stale()
    left = sorted(path.name for path in (tmp_path / "ztoapi").iterdir())
    assert left == ["status-9090.json", "status-9092.json", "status-9093.json"]
