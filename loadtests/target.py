"""Ends a run whose requests cannot succeed: nothing listens at the URL, or the server refuses the path or the key.

Only a headless run in one process is ended. On locust's web page the URL may change, and the master of a distributed
run may have another network than its workers.
"""

import argparse
import logging
import socket
import sys
from typing import Final, cast
from urllib.parse import urlsplit

import gevent  # type: ignore[import-untyped]  # it has no types
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner

from loadtests.events import listen

__all__ = ["end_if_hopeless", "fault_of"]

_CONNECT_SECONDS: Final = 5
_ATTEMPTS: Final = 10
_PAUSE_SECONDS: Final = 0.2
"""Together two seconds, for a server that the same script has just started."""
_NOT_RUN: Final = 2
_REFUSALS: Final = 3
"""More than one, because one of several keys may be wrong."""
_PORTS: Final = {"http": 80, "https": 443}
_REMEDIES: Final = {
    401: "pass the key with --key",
    403: "pass another key with --key, or another model with --model",
    404: "correct the base URL or --model",
    405: "correct the base URL",
}
"""Statuses of responses to requests that never succeed."""
_log = logging.getLogger(__name__)


def fault_of(url: str | None) -> str:
    """Returns the reason why requests to ``url`` cannot be sent, or ""."""
    if not url:
        return "no target: set its URL with -H http://127.0.0.1:9090"
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError as error:
        return f"the URL {url} is invalid: {error}"
    if not parts.hostname or port is None:
        return f"the URL {url} does not begin with http:// or https://"
    try:
        _connect(parts.hostname, port)
    except OSError as error:
        return (
            f"no connection to {url}: {error}. Start the server (`ztoapi demo` starts a simulated one), or set its URL "
            "with --url (locust: -H)"
        )
    return ""


def _connect(host: str, port: int) -> None:
    """Opens a connection and closes it. Raises OSError."""
    for _ in range(_ATTEMPTS):
        try:
            socket.create_connection((host, port), _CONNECT_SECONDS).close()
        except ConnectionRefusedError as error:
            refused = error
            gevent.sleep(_PAUSE_SECONDS)
        else:
            return
    raise refused


def _check(environment: Environment, **_: object) -> None:
    if _is_headless(environment) and (fault := fault_of(environment.host)):
        _log.error(fault)
        sys.exit(_NOT_RUN)


def _is_headless(environment: Environment) -> bool:
    options = cast("argparse.Namespace", environment.parsed_options)
    return bool(options.headless) and isinstance(environment.runner, LocalRunner)


def end_if_hopeless(environment: Environment, status: int, text: str) -> None:
    """Ends the run after ``_REFUSALS`` requests if all have failed, the last one with a status that will not change."""
    total = environment.stats.total
    if status not in _REMEDIES or not _REFUSALS == total.num_requests == total.num_failures:
        return
    if not _is_headless(environment):
        return
    _log.error("%s responds with status %d: %s; %s", environment.host, status, text, _REMEDIES[status])
    environment.process_exit_code = 1
    assert environment.runner is not None
    # In a greenlet of its own, because it ends the one of this user.
    gevent.spawn(environment.runner.quit)


listen(events.init, _check)
