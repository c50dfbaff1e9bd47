"""Prints the throughput of all streams at the end of a run, and checks the thresholds of ``--thresholds``.

The table that locust prints has no column for what ``tokens/s`` and ``truncation`` report, so their rows, full of
zeros, are left out of it unless a response was truncated. Files have all rows.

The process with all results does this: the only one, or the master. Exit codes: 0; 1 for failures without thresholds; 2
for an invalid thresholds file; 3 for a broken threshold.
"""

import logging
import re
import sys
from collections.abc import Mapping
from typing import Final

import gevent  # type: ignore[import-untyped]  # it has no types
from locust import events
from locust import stats as locust_stats
from locust.env import Environment
from locust.runners import WorkerRunner
from locust.stats import StatsEntry

from loadtests.events import listen
from loadtests.options import options_of
from loadtests.thresholds import Breach, Run, judge, load

__all__ = ["measured"]

_BROKEN: Final = 3
_ZEROS: Final = re.compile(r"SSE +(tokens/s|truncation)( \[.*\])? +\d+ +0\(0\.00%\)")
"""The rows of the printed table that are left out."""
_log = logging.getLogger(__name__)


def _hide_zeros(**_: object) -> None:
    logging.getLogger("locust.stats_logger").addFilter(lambda record: not _ZEROS.match(record.getMessage()))


def _check_thresholds(environment: Environment, **_: object) -> None:
    """Reads the file before the run, so that a mistake is reported at once."""
    path = options_of(environment).thresholds
    if path is None:
        return
    try:
        load(path)
    except (OSError, ValueError) as error:
        _log.error("thresholds: %s", error)
        sys.exit(2)


def measured(environment: Environment) -> Run:
    """Returns the results so far."""
    stats = environment.stats
    entries = {name: entry for (name, kind), entry in stats.entries.items() if kind == "SSE"}
    seconds = (stats.last_request_timestamp or stats.start_time) - stats.start_time
    tokens = sum(entry.total_content_length for entry in _labelled(entries, "E2E"))
    speeds = _labelled(entries, "tokens/s")
    streams = sum(entry.num_requests for entry in speeds)
    return Run(
        entries,
        tokens_per_second=tokens / seconds if seconds else 0.0,
        tokens_per_second_per_stream=sum(entry.total_content_length for entry in speeds) / streams if streams else 0.0,
    )


def _labelled(entries: Mapping[str, StatsEntry], event: str) -> list[StatsEntry]:
    return [entry for name, entry in entries.items() if name.partition(" [")[0] == event]


def _conclude(environment: Environment, **_: object) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return
    run = measured(environment)
    _write("")
    _write(f"Tokens/s, all streams together: {run.tokens_per_second:.1f}")
    _write(f"Tokens/s, mean of the streams:  {run.tokens_per_second_per_stream:.1f}")
    path = options_of(environment).thresholds
    if path is not None:
        breaches = judge(load(path), run)
        _show(path, breaches)
        if breaches:
            environment.process_exit_code = _BROKEN
        elif environment.runner is not None and not environment.runner.exceptions:
            # The thresholds decide how many failures are acceptable; locust would exit with 1 after any.
            environment.process_exit_code = 0
    # Locust writes its CSV files once a second; this wait includes the last second.
    gevent.sleep(locust_stats.CSV_STATS_INTERVAL_SEC * 1.5)


def _show(path: str, breaches: list[Breach]) -> None:
    if not breaches:
        _write(f"Thresholds of {path}: all met")
        return
    _write(f"Thresholds of {path}: {len(breaches)} broken")
    _write(f"{'event':<30} {'key':<22} {'limit':<18} measured")
    for breach in breaches:
        _write(f"{breach.event:<30} {breach.key:<22} {breach.limit:<18} {breach.measured}")


def _write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


listen(events.init, _hide_zeros)
listen(events.init, _check_thresholds)
listen(events.quitting, _conclude)
