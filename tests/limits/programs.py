"""Runs an experiment of a program of this directory, and returns its outcome."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

__all__ = ["run"]

T = TypeVar("T")


def run(program: str, experiment: str, kind: type[T]) -> T:
    command = [sys.executable, "-m", f"tests.limits.{program}", experiment]
    result = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=50, check=False
    )
    assert result.returncode == 0, result.stderr
    outcome = json.loads(result.stdout)
    assert isinstance(outcome, kind)
    return outcome
