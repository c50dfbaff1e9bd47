"""Replacement of the running program by another version of it (SIGUSR2).

The supervisor executes the installed version in its own process. The process id, the workers, the listening sockets and
the shared memory stay, so that a service manager sees no change and no connection is refused. The state that cannot be
seen from outside passes through an unnamed file, whose descriptor is in an environment variable. Before, the new
version checks the configuration in a process of its own: if that fails, nothing has changed.
"""

import os
import subprocess
import sys
from collections.abc import MutableMapping
from typing import Final

import msgspec

__all__ = ["Inherited", "KeptWorker", "inherit", "replace_program"]

_VARIABLE: Final = "ZTOAPI_UPGRADE_FD"
_TRIAL_SECONDS: Final = 15.0
"""More than an import and a look at the configuration take on a busy machine, and less than most watchdogs allow: the
supervisor sends no keepalive meanwhile."""


class KeptWorker(msgspec.Struct, frozen=True):
    """A worker of the previous program. ``slot`` is its slot in shared memory."""

    pid: int
    slot: int
    retired: bool


class Inherited(msgspec.Struct, frozen=True):
    """The state that the previous program has passed on. ``service`` is that of the service, in its own encoding."""

    service: bytes
    workers: list[KeptWorker]
    pipe: tuple[int, int]
    """The read end and the write end of the pipe that workers watch."""


def replace_program(state: Inherited) -> str:
    """Executes the installed version with the arguments of this one. Returns only if it cannot start: the reason."""
    # The interpreter, its options and the program, without the program's own arguments.
    program = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv[1:])]
    command = [sys.executable, *program, *sys.argv[1:]]
    trial = [sys.executable, *program, "check", *sys.argv[2:]]
    try:
        done = subprocess.run(trial, capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode:
        return done.stderr.strip() or f"exit code {done.returncode}"
    for end in state.pipe:
        os.set_inheritable(end, True)
    file = os.memfd_create("ztoapi-upgrade", 0)
    os.write(file, msgspec.msgpack.encode(state))
    os.lseek(file, 0, os.SEEK_SET)
    environ = {**os.environ, _VARIABLE: str(file)}
    try:
        os.execve(sys.executable, command, environ)
    except OSError as error:
        os.close(file)
        return str(error)


def inherit(environ: MutableMapping[str, str]) -> Inherited | None:
    """Returns the state of the previous program, and removes it from ``environ``; None without one."""
    variable = environ.pop(_VARIABLE, None)
    if variable is None:
        return None
    with open(int(variable), "rb") as file:
        inherited = msgspec.msgpack.decode(file.read(), type=Inherited)
    for end in inherited.pipe:
        os.set_inheritable(end, False)
    return inherited
