"""One short comparison of ztoapi with itself, with real processes."""

import json
from pathlib import Path

import pytest

from bench.peers.__main__ import main


def test_a_run_writes_results_table_and_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results"
    arguments = ("--targets", "ztoapi", "--rounds", "1", "--seconds", "0.2")
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
