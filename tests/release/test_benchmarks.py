"""``pytest bench --benchmark-only``, from the root of the repository."""

import os
import subprocess
import sys

import pytest

from tests.deploy.tools import ROOT


def test_benchmarks_run_without_further_options() -> None:
    pytest.importorskip("pytest_benchmark", reason="pip install -e '.[bench]'")
    command = [sys.executable, "-m", "pytest", "bench", "--benchmark-only", "--benchmark-max-time=0.001"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON"))}
    chosen = ["-k", "test_wire", "-p", "no:cacheprovider"]
    result = subprocess.run([*command, *chosen], cwd=ROOT, env=outside, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Rounds" in result.stdout and " skipped" not in result.stdout
