"""What glibc's allocator does with the memory of large bodies.

As it comes, each body of a few hundred KB is given back to the kernel when the request is over, and the next one is
taken from it page by page: 13 to 33 page faults for each prompt of 300 KB, and with what is set here none.
"""

import ctypes
from typing import Final

__all__ = ["tune_allocator"]

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_KEPT_BYTES: Final = 8388608
"""Free memory at the end of the heap that is kept: three copies each of ten such prompts, a fifth of an idle worker."""
_LARGEST_KEPT_BYTES: Final = 4194304
"""Larger blocks are mapped one by one, and always given back at once."""


def tune_allocator() -> bool:
    """Keep what is free for the next request; False where the C library has no such setting (musl, macOS)."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    kept: int = mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    mapped: int = mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
    return bool(kept and mapped)
