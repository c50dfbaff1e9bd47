"""Runs the client matrix if it is selected, and collects its results.

CLIENT_RESULTS=docs/client-results.json pytest -n 2 -m clients tests/clients && python -m docs.generate
"""

import datetime
import json
import os
from pathlib import Path
from typing import Any

import pytest

_found: list[Any] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the outcome of a check; the process that controls the others receives all reports."""
    if report.when == "teardown":
        _found.extend(value for name, value in report.user_properties if name == "client")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Replace the results of the clients that have run."""
    name = os.environ.get("CLIENT_RESULTS")
    if name is None or not _found or hasattr(session.config, "workerinput"):
        return
    path = Path(name)
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()  # noqa: TID251 - for people to read
    for client, api, version, check, outcome in _found:
        key = f"{client} {api}"
        if results.get(key, {}).get("date") != today or results[key]["version"] != version:
            results[key] = {"version": version, "date": today, "checks": {}}
        results[key]["checks"][check] = outcome
    path.write_text(json.dumps(dict(sorted(results.items())), indent=2) + "\n")
