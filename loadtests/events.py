"""The one form of what the load tests report to locust, and the one way they listen to it."""

from collections.abc import Callable

from locust.env import Environment
from locust.event import EventHook

__all__ = ["BadAnswerError", "listen", "report"]


class BadAnswerError(Exception):
    """An answer that counts as failed."""


def listen(hook: EventHook, listener: Callable[..., None]) -> None:
    """Have ``listener`` called on every firing of ``hook``."""
    hook.add_listener(listener)  # type: ignore[no-untyped-call]  # locust's events have no types


def report(environment: Environment, name: str, *, seconds: float | None, size: int, error: str = "") -> None:
    """Fire an event of type SSE. ``seconds`` None: it has no time. ``error``: it failed, and why."""
    environment.events.request.fire(  # type: ignore[no-untyped-call]
        request_type="SSE",
        name=name,
        response_time=None if seconds is None else seconds * 1000,
        response_length=size,
        exception=BadAnswerError(error) if error else None,
        context={},
    )
