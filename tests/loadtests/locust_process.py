"""A scenario as users run it: ``ztoapi demo`` in one process, locust in another, reports in files."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import httpx

from tests.processes.gateway_process import GatewayProcess

__all__ = ["Demo", "Entry", "LocustProcess"]

ROOT = Path(__file__).resolve().parents[2]
WAIT_SECONDS = 50.0
_LOOK_SECONDS = 0.2


class Demo(GatewayProcess):
    """``simulator`` is the origin of the simulated upstream behind the gateway at ``url``."""

    def __init__(self) -> None:
        super().__init__("demo", "--port", "0", "--sim-port", "0")

    def __enter__(self) -> Self:
        super().__enter__()
        self.simulator = self.wait_for_output(r"simulator +(http://127\.0\.0\.1:\d+)/")
        return self

    def stats(self) -> dict[str, int]:
        """The simulator's counts."""
        shown = httpx.get(f"{self.simulator}/sim/stats").json()
        return {name: value for name, value in shown.items() if isinstance(value, int)}


class Entry(NamedTuple):
    """A row of the report."""

    events: int
    failures: int
    size: int
    """The sum of all sizes."""


class LocustProcess:
    """``locust -f loadtests/<scenario>.py`` with ``arguments``; its reports go to ``directory``."""

    def __init__(self, directory: Path, scenario: str, host: str, *arguments: str) -> None:
        directory.mkdir()
        self._report = directory / "report"
        command = [sys.executable, "-m", "locust", "-f", f"loadtests/{scenario}.py", "--headless", "-H", host]
        command += ["--only-summary", "--csv", str(self._report), "--html", f"{self._report}.html"]
        self._process = subprocess.Popen(
            [*command, "--json-file", str(self._report), *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def running(self) -> bool:
        """Whether it has not ended; waits a moment if so."""
        try:
            self._process.wait(_LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            return True
        return False

    def finish(self) -> int:
        """Wait for its end; returns the exit code. ``output`` is what it printed."""
        self.output, _ = self._process.communicate(timeout=WAIT_SECONDS)
        return self._process.returncode

    def entries(self) -> dict[str, Entry]:
        """The report by event name, from the JSON file."""
        rows = json.loads(self._report.with_suffix(".json").read_text("utf-8"))
        return {
            row["name"]: Entry(row["num_requests"], row["num_failures"], row["total_content_length"]) for row in rows
        }

    def csv_counts(self) -> dict[str, tuple[int, int]]:
        """Count and failures by event name, from the CSV file."""
        with open(f"{self._report}_stats.csv", encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["Type"] == "SSE"]
        return {row["Name"]: (int(row["Request Count"]), int(row["Failure Count"])) for row in rows}

    def faults(self) -> dict[str, set[str]]:
        """Messages of the failures by event name, from the CSV file."""
        found: dict[str, set[str]] = {}
        with open(f"{self._report}_failures.csv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["Name"], set()).add(row["Error"])
        return found

    def html(self) -> str:
        return Path(f"{self._report}.html").read_text("utf-8")
