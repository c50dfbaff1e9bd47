"""Memory that processes share: across a fork, and as a descriptor across an execve."""

import mmap
import os

__all__ = ["SharedMemory"]


class SharedMemory:
    """``size`` bytes of zeros; or the memory of ``descriptor``, which a previous program has passed on.

    Pages that are never touched take no memory. See memfd_create(2).
    """

    def __init__(self, name: str, size: int, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create(name)
            os.ftruncate(descriptor, size)
        os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self.mapping = mmap.mmap(descriptor, size)

    def pass_on(self) -> int:
        """Returns the descriptor, which a program that is executed now inherits."""
        os.set_inheritable(self._descriptor, True)
        return self._descriptor
