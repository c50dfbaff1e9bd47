"""Finds files with secrets that other users of the machine can read."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ztoapi.config.options import Declared

__all__ = ["exposed_files"]

_READERS = stat.S_IRGRP | stat.S_IROTH


def exposed_files(options: Iterable[Declared], files: Mapping[Path, Mapping[str, object]]) -> Iterator[str]:
    """Yields a warning for each of ``files`` that has a secret and is readable by its group or by others. ``files``
    maps each file to its settings, by name.

    A file of another owner, or on a read-only file system, gives no warning: those are the secrets of a container,
    whose mode the orchestrator sets and the gateway's user cannot change.
    """
    secrets = set[str]()
    for option in options:
        if "Secret" in repr(option.type):
            secrets.update((option.key, *option.variables))
    for path, settings in files.items():
        found = sorted(name for name, value in settings.items() if name in secrets or _has_token(value))
        if found and _is_exposed(path):
            mode = stat.S_IMODE(path.stat().st_mode)
            yield f"{path} contains {found[0]} and is readable by other users (mode {mode:04o}): run chmod 600 {path}"


def _has_token(value: object) -> bool:
    """Returns whether a table, such as that of the platforms, has the token of a credential."""
    if isinstance(value, Mapping):
        return "token" in value or any(map(_has_token, value.values()))
    return isinstance(value, list) and any(map(_has_token, value))


def _is_exposed(path: Path) -> bool:
    status = path.stat()
    if not status.st_mode & _READERS or status.st_uid != os.geteuid():
        return False
    return not os.statvfs(path).f_flag & os.ST_RDONLY
