"""Waiting for a condition on an event loop, and the time after which a test that waits fails."""

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ["WAIT_SECONDS", "until"]

WAIT_SECONDS: Final = 60.0
"""Time after which a test that waits for an event fails. No event takes this long, even on a busy machine."""


async def until(condition: Callable[[], bool]) -> None:
    """Returns once ``condition`` holds, which is checked every millisecond."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():
            turn = loop.create_future()
            loop.call_later(0.001, turn.set_result, None)
            await turn
