"""The status file: the process id of a running gateway, and the outcome of its last reload or upgrade."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from ztoapi import __version__

__all__ = ["Status", "StatusFile", "find_status", "state_directory"]

_START_FIELD: Final = 19
"""Index of the start time in /proc/PID/stat, after the name of the program."""


class Status(msgspec.Struct, frozen=True):
    """``number`` counts the reports; ``ok`` is False if a reload or an upgrade has failed. ``started`` distinguishes
    the process from a later one with the same id."""

    pid: int
    started: int
    version: str
    number: int
    ok: bool
    outcome: str
    namespace: str = ""
    """The namespace of the process id, which distinguishes the containers that share a directory."""


class StatusFile:
    """The file of the gateway on ``port``. ``number`` is that of the last report."""

    def __init__(self, port: int, number: int) -> None:
        self.number = number
        self._port = port
        self._earlier: dict[int, bool] = {}
        """Earlier ports, with whether the outcome of the change was reported under them."""

    @staticmethod
    def remove_stale() -> None:
        """Removes the files of gateways that have ended without doing so."""
        directory = state_directory(os.environ)
        for path in [] if directory is None else directory.glob("status-*.json"):
            with contextlib.suppress(OSError, msgspec.DecodeError):
                status = msgspec.json.decode(path.read_bytes(), type=Status)
                if status.namespace == _namespace() and not _is_alive(status):
                    path.unlink()

    def move(self, port: int) -> None:
        """The gateway changes to ``port``. A command that has begun with the earlier one finds the outcome there."""
        if port != self._port:
            self._earlier[self._port] = False
            self._port = port

    def write(self, outcome: str, *, ok: bool) -> None:
        """Replaces the file. Without a directory for it there is none: only the commands that wait for it need it."""
        self.number += 1
        pid = os.getpid()
        status = Status(pid, _start_of(pid), __version__, self.number, ok, outcome, _namespace())
        self._forget([port for port, reported in self._earlier.items() if reported])
        for port in (self._port, *self._earlier):
            _replace(port, msgspec.json.encode(status))
        self._earlier = dict.fromkeys(self._earlier, True)

    def forget_earlier(self) -> None:
        """Removes the files of earlier ports. Called before another program takes over."""
        self._forget([*self._earlier])

    def remove(self) -> None:
        """Removes all files, at the end of the gateway."""
        self._forget([self._port, *self._earlier])

    def _forget(self, ports: list[int]) -> None:
        for port in ports:
            self._earlier.pop(port, None)
            if (path := _path(port, os.environ)) is not None:
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


def _replace(port: int, content: bytes) -> None:
    path = _path(port, os.environ)
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".status-", delete=False) as file:
            file.write(content)
        os.replace(file.name, path)


def find_status(port: int) -> tuple[Path | None, Status | None]:
    """Returns the path of the file for ``port``, if there can be one, and its content, if the process is alive."""
    path = _path(port, os.environ)
    try:
        status = None if path is None else msgspec.json.decode(path.read_bytes(), type=Status)
    except (OSError, msgspec.DecodeError):
        return path, None
    return path, status if status is not None and _is_alive(status) else None


def _is_alive(status: Status) -> bool:
    """Returns whether the process is that of the gateway, and this user may send it signals."""
    try:
        os.kill(status.pid, 0)
        return _start_of(status.pid) == status.started
    except OSError:
        return False


def _namespace() -> str:
    """Returns the id of this process's namespace; empty if the system has none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _start_of(pid: int) -> int:
    """Returns the time at which process ``pid`` started, in clock ticks since boot (proc_pid_stat(5)); an execve does
    not change it. Raises OSError."""
    # The name of the program, in parentheses, may contain spaces.
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[_START_FIELD])


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
