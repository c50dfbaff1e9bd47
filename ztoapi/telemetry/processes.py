"""Memory and open files of a process, on Linux."""

import mmap
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["ProcessFigures", "process_figures", "resident_bytes"]


class ProcessFigures(NamedTuple):
    """None if unknown: the process is gone, or the system is not Linux."""

    memory_bytes: int | None = None
    open_files: int | None = None


def process_figures(pid: int) -> ProcessFigures:
    """Returns the figures of process ``pid``."""
    try:
        return ProcessFigures(resident_bytes(pid), len(os.listdir(f"/proc/{pid}/fd")))
    except OSError:
        return ProcessFigures()


def resident_bytes(pid: int) -> int | None:
    """Returns the resident memory of process ``pid``; None if it is unknown."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * mmap.PAGESIZE
    except OSError:
        return None
