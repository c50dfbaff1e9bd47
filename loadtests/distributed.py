"""Lets the workers of a distributed run finish, and report, before the master goes on to judge.

At the end of a headless run locust's master gives its workers half a second. Streams take longer: without this the
report lacks those that were open, and all that workers saw since their last report, up to 3 s before.
"""

import logging
from typing import Final

import gevent  # type: ignore[import-untyped]  # it has no types
from locust import events
from locust.env import Environment
from locust.rpc import Message
from locust.runners import MasterRunner, WorkerRunner

from loadtests.events import listen

__all__ = ["Finish"]

_FINISH: Final = "ztoapi-finish"
_FINISHED: Final = "ztoapi-finished"
_GRACE_SECONDS: Final = 5.0
"""For the messages, beyond what users may take to stop."""
_log = logging.getLogger(__name__)


class Finish:
    """Registers for the messages of its side; the master's waits."""

    def __init__(self) -> None:
        self._finished: set[str] = set()

    def register(self, environment: Environment, **_: object) -> None:
        runner = environment.runner
        if isinstance(runner, WorkerRunner):
            runner.register_message(_FINISH, self._finish, concurrent=True)
        elif isinstance(runner, MasterRunner):
            runner.register_message(_FINISHED, self._note)

    def wait(self, environment: Environment, **_: object) -> None:
        """In a headless master, as the run ends: have the workers stop, and wait until each has sent what it saw."""
        runner, options = environment.runner, environment.parsed_options
        if not isinstance(runner, MasterRunner) or options is None or not options.headless:
            return
        self._finished.clear()
        workers = {client.id for client in runner.clients.all}
        runner.send_message(_FINISH)
        with gevent.Timeout(environment.stop_timeout + _GRACE_SECONDS, False):
            while not workers <= self._finished:
                gevent.sleep(0.05)
        if not workers <= self._finished:
            _log.warning("%d workers did not report their last results", len(workers - self._finished))

    def _finish(self, environment: Environment, msg: Message) -> None:
        runner = environment.runner
        assert isinstance(runner, WorkerRunner)
        runner.stop()
        runner._send_stats()
        runner.send_message(_FINISHED)

    def _note(self, environment: Environment, msg: Message) -> None:
        self._finished.add(msg.node_id)


_finish = Finish()
listen(events.init, _finish.register)
listen(events.test_stopping, _finish.wait)
