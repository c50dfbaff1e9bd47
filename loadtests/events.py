"""Reports to locust, and listens to its events.

Each stream is one request of locust, so that its totals and the charts of its web page count streams. The parts of a
stream, such as the gaps between its tokens, are rows of the report that are not part of the totals.
"""

from collections.abc import Callable

from locust.env import Environment
from locust.event import EventHook
from locust.stats import StatsError

__all__ = ["BadAnswerError", "listen", "note", "report"]

KIND = "SSE"
"""Type of all rows."""


class BadAnswerError(Exception):
    """A response that counts as failed."""


def listen(hook: EventHook, listener: Callable[..., None]) -> None:
    """Calls ``listener`` whenever ``hook`` fires."""
    hook.add_listener(listener)  # type: ignore[no-untyped-call]  # locust's events have no types


def report(environment: Environment, name: str, *, seconds: float | None, size: int, error: str = "") -> None:
    """Reports a request. ``seconds`` is None for one without a time; ``error`` is the failure, or ""."""
    environment.events.request.fire(  # type: ignore[no-untyped-call]
        request_type=KIND,
        name=name,
        response_time=None if seconds is None else seconds * 1000,
        response_length=size,
        exception=BadAnswerError(error) if error else None,
        context={},
    )


def note(environment: Environment, name: str, *, seconds: float | None, size: int = 0, error: str = "") -> None:
    """Adds an event to a row of the report that the totals do not contain. The arguments are those of report."""
    stats = environment.stats
    entry = stats.get(name, KIND)
    entry.log(None if seconds is None else seconds * 1000, size)  # type: ignore[arg-type]  # None: without a time
    if error:
        fault = BadAnswerError(error)
        entry.log_error(fault)
        stats.errors.setdefault(StatsError.create_key(KIND, name, fault), StatsError(KIND, name, fault)).occurred()
