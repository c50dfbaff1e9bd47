"""A disconnect storm: users that repeatedly disconnect in the middle of a response, and others that stay.

With ``ztoapi demo --sim-port 9100`` in another terminal: ``locust -f loadtests/disconnect_storm.py --headless -u 20
-r 20 -t 30s -H http://127.0.0.1:9090 --simulator http://127.0.0.1:9100``

A disconnect is not a failure. With ``--simulator`` the event ``upstream cancels`` checks after the run that each
disconnect reached the upstream. It fails if streams are still open there, or if fewer were cancelled than clients
disconnected.
"""

import json
import logging
import sys
import time
import urllib.request
from http.client import HTTPException
from typing import Final

import gevent  # type: ignore[import-untyped]  # it has no types
from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtests.events import listen, note
from loadtests.options import options_of
from loadtests.users import Caller, StreamLeaver

_SETTLED_WITHIN_SECONDS: Final = 5.0
_STATS_TIMEOUT_SECONDS: Final = 5.0
_NOT_RUN: Final = 2
_log = logging.getLogger(__name__)


class Leaver(StreamLeaver):
    weight = 3


class StormBystander(Caller):
    weight = 1


class CancelCheck:
    """Compares the simulator's count of cancelled streams with the number of disconnects."""

    def __init__(self) -> None:
        self._cancels_before = 0

    def begin(self, environment: Environment, **_: object) -> None:
        simulator = _simulator_of(environment)
        if simulator is not None:
            self._cancels_before = _statistics(simulator)["cancels"]

    def end(self, environment: Environment, **_: object) -> None:
        simulator = _simulator_of(environment)
        if simulator is None:
            return
        left = environment.stats.get("disconnect [leaver]", "SSE").num_requests
        deadline = time.monotonic() + _SETTLED_WITHIN_SECONDS
        while True:
            counts = _statistics(simulator)
            cancelled, still_open = counts["cancels"] - self._cancels_before, counts["open_streams"]
            settled = cancelled >= left and still_open == 0
            if settled or time.monotonic() > deadline:
                break
            gevent.sleep(0.05)
        message = f"{left} clients disconnected, {cancelled} upstream streams were cancelled, {still_open} are open"
        note(environment, "upstream cancels", seconds=None, size=cancelled, error="" if settled else message)


def _simulator_of(environment: Environment) -> str | None:
    """Returns None in a worker: the process that has all results compares them."""
    return None if isinstance(environment.runner, WorkerRunner) else options_of(environment).simulator


def _statistics(simulator: str) -> dict[str, int]:
    with urllib.request.urlopen(f"{simulator}/sim/stats", timeout=_STATS_TIMEOUT_SECONDS) as response:
        counts = json.load(response)
    return {name: int(counts[name]) for name in ("cancels", "open_streams")}


def _check_simulator(environment: Environment, **_: object) -> None:
    """Ends the run at once if ``--simulator`` has no statistics."""
    simulator = _simulator_of(environment)
    if simulator is None:
        return
    try:
        _statistics(simulator)
    except (OSError, HTTPException, ValueError, KeyError) as error:
        _log.error(
            "--simulator: no statistics at %s/sim/stats: %s. Set the simulator's port (`ztoapi demo --sim-port PORT`), "
            "or leave the option out",
            simulator,
            error,
        )
        sys.exit(_NOT_RUN)


_check = CancelCheck()
listen(events.init, _check_simulator)
listen(events.test_start, _check.begin)
listen(events.test_stop, _check.end)
