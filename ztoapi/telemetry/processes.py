"""Memory and open files of a process, on Linux."""

import mmap
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["ProcessFigures", "process_figures"]


class ProcessFigures(NamedTuple):
    """None if unknown: the process is gone, or the system is not Linux."""

    memory_bytes: int | None = None
    open_files: int | None = None


def process_figures(pid: int) -> ProcessFigures:
    """Returns the figures of process ``pid``."""
    path = Path(f"/proc/{pid}")
    try:
        memory = int((path / "statm").read_text().split()[1]) * mmap.PAGESIZE
        return ProcessFigures(memory, len(os.listdir(path / "fd")))
    except OSError:
        return ProcessFigures()
