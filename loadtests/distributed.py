"""Makes the master of a distributed run wait until its workers have finished and reported.

At the end of a headless run locust's master gives its workers half a second. Streams take longer. Without this module
the report would lack the open streams, and the results of up to 3 s since the last report of each worker.
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
"""Time for the messages, in addition to the stop timeout of users."""
_log = logging.getLogger(__name__)


class Finish:
    """Exchanges the messages of workers and master."""

    def __init__(self) -> None:
        self._finished: set[str] = set()

    def register(self, environment: Environment, **_: object) -> None:
        runner = environment.runner
        if isinstance(runner, WorkerRunner):
            runner.register_message(_FINISH, self._finish, concurrent=True)
        elif isinstance(runner, MasterRunner):
            runner.register_message(_FINISHED, self._note)

    def wait(self, environment: Environment, **_: object) -> None:
        """In a headless master, at the end of the run: stops the workers and waits for the results of each."""
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
