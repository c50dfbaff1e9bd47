"""The relay's budget, in counts: memory blocks and writes for each read from the upstream."""

import shutil
import sys

import pytest

from bench.allocations import run


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs glibc and a C compiler"
)
def test_the_relay_keeps_its_budget() -> None:
    results = run()
    for name, counts in results.items():
        assert counts["writes_per_read"] == 1.0, name
        assert counts["blocks_kept"] <= 2, name
        assert counts["blocks_per_chunk"] <= 40, name
