"""A request body that is written in parts, as the content of an httpx request."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from ztoapi.upstream.upload import Upload
from ztoapi.wire.limits import HIGH_WATER_BYTES, LOW_WATER_BYTES

__all__ = ["HttpxUpload"]


class HttpxUpload:
    """Holds the parts of ``upload`` until httpx has sent the earlier ones."""

    __slots__ = ("_full", "_last", "_more", "_parts", "_size", "_upload")

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._full = self._last = False
        self._more = asyncio.Event()

    def write(self, part: bytes | bytearray, *, last: bool) -> None:
        """Adds a part."""
        self._parts.append(bytes(part))
        self._size += len(part)
        self._last = last
        self._more.set()
        if self._size > HIGH_WATER_BYTES and not last:
            self._full = True
            self._upload.on_full()

    async def content(self) -> AsyncIterator[bytes]:
        """Yields the body. httpx asks for the first part when it is connected."""
        self._upload.on_writable()
        while True:
            while self._parts:
                part = self._parts.popleft()
                self._size -= len(part)
                if part:
                    yield part
            if self._last:
                return
            self._more.clear()
            if self._full and self._size <= LOW_WATER_BYTES:
                self._full = False
                self._upload.on_writable()
            await self._more.wait()
