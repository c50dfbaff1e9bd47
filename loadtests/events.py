"""Reports events to locust, and listens to its events."""

from collections.abc import Callable

from locust.env import Environment
from locust.event import EventHook

__all__ = ["BadAnswerError", "listen", "report"]


class BadAnswerError(Exception):
    """A response that counts as failed."""


def listen(hook: EventHook, listener: Callable[..., None]) -> None:
    """Calls ``listener`` whenever ``hook`` fires."""
    hook.add_listener(listener)  # type: ignore[no-untyped-call]  # locust's events have no types


def report(environment: Environment, name: str, *, seconds: float | None, size: int, error: str = "") -> None:
    """Fires an event of type SSE. ``seconds`` is None for an event without a time; ``error`` is the failure, or ""."""
    environment.events.request.fire(  # type: ignore[no-untyped-call]
        request_type="SSE",
        name=name,
        response_time=None if seconds is None else seconds * 1000,
        response_length=size,
        exception=BadAnswerError(error) if error else None,
        context={},
    )
