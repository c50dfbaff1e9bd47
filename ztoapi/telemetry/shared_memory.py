"""Memory that processes share: across a fork, and as a descriptor across an execve."""

import mmap
import os

__all__ = ["SharedMemory"]


class SharedMemory:
    """``size`` bytes of zeros; or the memory of ``descriptor``, which a previous program has passed on.

    Only memory with a ``name`` can be passed on: it takes two descriptors (memfd_create(2)). Pages that are never
    touched take no memory.
    """

    def __init__(self, size: int, name: str | None = None, descriptor: int | None = None) -> None:
        if descriptor is None and name is not None:
            descriptor = os.memfd_create(name)
            os.ftruncate(descriptor, size)
        if descriptor is not None:
            os.set_inheritable(descriptor, False)
        self._descriptor = descriptor
        self.mapping = mmap.mmap(-1 if descriptor is None else descriptor, size)

    def pass_on(self) -> int:
        """Returns the descriptor, which a program that is executed now inherits."""
        assert self._descriptor is not None, "memory without a name stays in this program"
        os.set_inheritable(self._descriptor, True)
        return self._descriptor
