"""The output of commands into a pipe whose reader has gone."""

import os
import subprocess
import sys

import pytest

from tests.processes.program import PYTHON_PATH


@pytest.mark.parametrize("arguments", [["schema"], ["--version"], ["serve", "--help"]])
def test_a_command_without_a_reader_ends_silently(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run(
        [sys.executable, "-m", "ztoapi", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": PYTHON_PATH},
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    assert (result.returncode, result.stderr) == (141, b"")
