"""The status file: the process id of a running gateway, and the outcome of its last reload or upgrade."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ztoapi import __version__

__all__ = ["Status", "StatusFile", "find_status", "state_directory"]


class Status(msgspec.Struct, frozen=True):
    """``number`` counts the reports; ``ok`` is False if a reload or an upgrade has failed."""

    pid: int
    version: str
    number: int
    ok: bool
    outcome: str


class StatusFile:
    """The file of the gateway on ``port``. ``number`` is that of the last report."""

    def __init__(self, port: int, number: int) -> None:
        self.number = number
        self._path = _path(port, os.environ)

    def write(self, outcome: str, *, ok: bool) -> None:
        """Replaces the file. Without a directory for it there is none: only the commands that wait for it need it."""
        self.number += 1
        if self._path is None:
            return
        status = Status(os.getpid(), __version__, self.number, ok, outcome)
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._path.parent, prefix=".status-", delete=False) as file:
                file.write(msgspec.json.encode(status))
            os.replace(file.name, self._path)


def find_status(port: int) -> tuple[Path | None, Status | None]:
    """Returns the path of the file for ``port``, if there can be one, and its content, if the process is alive."""
    path = _path(port, os.environ)
    try:
        status = None if path is None else msgspec.json.decode(path.read_bytes(), type=Status)
        if status is not None:
            os.kill(status.pid, 0)
    except (OSError, msgspec.DecodeError):
        return path, None
    return path, status


def state_directory(environ: Mapping[str, str]) -> Path | None:
    """Returns the directory for files that outlive the process: systemd's, or the user's."""
    if state := environ.get("STATE_DIRECTORY"):
        return Path(state.partition(":")[0])
    if state := environ.get("XDG_STATE_HOME"):
        return Path(state) / "ztoapi"
    if home := environ.get("HOME"):
        return Path(home) / ".local" / "state" / "ztoapi"
    return None


def _path(port: int, environ: Mapping[str, str]) -> Path | None:
    directory = state_directory(environ)
    return None if directory is None else directory / f"status-{port}.json"
