"""Records the times of a run for the page of ``--report``, and writes it at the end."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtests.events import listen
from loadtests.options import options_of
from loadtests.timeline import Timeline, page

__all__ = ["Course", "course"]

_KEY = "ztoapi-course"


class Course:
    """The times of the run in this process; in a master, those of its workers."""

    def __init__(self) -> None:
        self._timeline = Timeline()

    def add(self, series: str, seconds: float) -> None:
        self._timeline.add(series, int(time.time()), seconds)  # noqa: TID251 - workers have this clock in common

    def send(self, client_id: str, data: dict[str, Any]) -> None:
        data[_KEY] = self._timeline.take()

    def receive(self, client_id: str, data: dict[str, Any]) -> None:
        self._timeline.merge(data.get(_KEY, {}))

    def write(self, environment: Environment, **_: object) -> None:
        options = options_of(environment)
        report = options.report
        if report is None or isinstance(environment.runner, WorkerRunner):
            return
        total = environment.stats.total
        parsed = cast("argparse.Namespace", environment.parsed_options)
        facts = (
            f"Scenario: {Path(parsed.locustfile).stem}",
            f"Target: {environment.host}, model {options.model}, API {options.api}",
            f"Users: {parsed.num_users} at most",
            f"Start: {datetime.fromtimestamp(total.start_time, UTC):%Y-%m-%d %H:%M:%S} UTC",
            f"Requests: {total.num_requests}, of which {total.num_failures} failed",
        )
        path = Path(report).resolve()
        failures = {f"{error.name}: {error.error}": error.occurrences for error in environment.stats.errors.values()}
        path.write_text(page(self._timeline, facts, failures), "utf-8")
        sys.stdout.write(f"Report: {path}\n")
        sys.stdout.flush()


course = Course()
listen(events.report_to_master, course.send)
listen(events.worker_report, course.receive)
listen(events.quitting, course.write)
