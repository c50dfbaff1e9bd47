"""What the kernel says of one process, on Linux; elsewhere nothing."""

import mmap
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["ProcessFigures", "process_figures"]


class ProcessFigures(NamedTuple):
    """None where the system does not say."""

    memory_bytes: int | None = None
    open_files: int | None = None


def process_figures(pid: int) -> ProcessFigures:
    """Those of ``pid``; none if it is gone."""
    path = Path(f"/proc/{pid}")
    try:
        memory = int((path / "statm").read_text().split()[1]) * mmap.PAGESIZE
        return ProcessFigures(memory, len(os.listdir(path / "fd")))
    except OSError:
        return ProcessFigures()
