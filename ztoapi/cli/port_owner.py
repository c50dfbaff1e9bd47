"""The process that listens on a port, from Linux's /proc; other systems do not show it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["owner_of_port"]

_LISTENING: Final = "0A"
"""TCP_LISTEN of linux/tcp_states.h, as in /proc/net/tcp."""
_COMMAND_CHARACTERS: Final = 60


def owner_of_port(port: int, proc: Path = Path("/proc")) -> str:
    """Returns the process id and the command line; empty if they cannot be known, as for a process of another user."""
    inodes = {f"socket:[{inode}]" for inode in _listeners(port, proc)}
    for process in proc.glob("[0-9]*") if inodes else ():
        try:
            files = (os.readlink(descriptor) for descriptor in (process / "fd").iterdir())
            if any(file in inodes for file in files):
                command = (process / "cmdline").read_text("utf-8", "replace").replace("\0", " ").strip()
                return f"process {process.name}, {_shortened(command)!r}"
        except OSError:
            # It has ended, or belongs to another user.
            continue
    return ""


def _shortened(command: str) -> str:
    """Returns the end of the command line, which has the program of an interpreter and its arguments."""
    return command if len(command) <= _COMMAND_CHARACTERS else f"...{command[-_COMMAND_CHARACTERS:]}"


def _listeners(port: int, proc: Path) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text("ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *rest = line.split()
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                yield rest[5]
