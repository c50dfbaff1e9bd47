"""The memory of large bodies serves the next ones."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource
from ztoapi.server.allocator import tune_allocator
tuned = {}
held = [bytearray(300_000) for _ in range(3)]
del held
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    held = [bytearray(300_000) for _ in range(3)]
    del held
print(tuned, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(tuned: str) -> tuple[str, int]:
    command = [sys.executable, "-c", _FAULTS.replace("{}", tuned)]
    said, faults = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return said, int(faults)


def test_large_blocks_are_not_taken_from_the_kernel_each_time() -> None:
    said, faults = _faults("tune_allocator()")
    if said == "False":
        pytest.skip("the C library's allocator cannot be told")
    assert faults < 1000 < _faults("False")[1]
