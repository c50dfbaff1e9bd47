"""One short comparison of ztoapi with itself, with real processes."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.peers.__main__ import main
from bench.peers.measure import tree
from bench.peers.targets import ROOT
from tests.support.waiting import WAIT_SECONDS, until


def test_a_run_writes_results_table_and_chart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The figures of this run mean nothing.
    monkeypatch.setattr("bench.peers.__main__._WARM_UP_SECONDS", 0.05)
    monkeypatch.setattr("bench.peers.__main__._SETTLE_SECONDS", 0.1)
    output = tmp_path / "results"
    arguments = ("--targets", "ztoapi", "--rounds", "1", "--seconds", "0.1")
    assert main([*arguments, "--workloads", "unary,single_stream,open1000", "--output", str(output)]) == 0
    rounds = json.loads(output.with_suffix(".json").read_text())["rounds"]
    assert [(one["workload"], one["target"]) for one in rounds] == [
        ("unary", "ztoapi"),
        ("single_stream", "direct"),
        ("single_stream", "ztoapi"),
        ("open1000", "ztoapi"),
    ]
    assert all(one["units"] > 0 and one["errors"] == {} for one in rounds)
    assert output.with_suffix(".md").read_text() == capsys.readouterr().out.rstrip("\n") + "\n"
    assert output.with_suffix(".svg").read_text().startswith("<svg")


def commands(pids: list[int]) -> str:
    """Returns the command lines of the processes that run; a zombie has none."""
    lines = []
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            lines.append(Path(f"/proc/{pid}/cmdline").read_text())
    return " ".join(filter(None, lines))


def test_a_terminated_run_leaves_no_process() -> None:
    # A workload that begins with the mock alone: no target has to start.
    arguments = ("--targets", "ztoapi", "--rounds", "1", "--seconds", "600", "--workloads", "single")
    run = subprocess.Popen([sys.executable, "-m", "bench.peers", *arguments], cwd=ROOT)
    try:
        asyncio.run(until(lambda: all(name in commands(tree(run.pid)) for name in ("peers.mock", "peers.load"))))
        started = tree(run.pid)
        run.send_signal(signal.SIGTERM)
        assert run.wait(WAIT_SECONDS) == 128 + signal.SIGTERM
        asyncio.run(until(lambda: not commands(started)))
    finally:
        run.kill()
        run.wait()
