"""The gate on this project: quiet without a change, loud about what is put into a copy of it."""

import shutil
import sysconfig
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.gate.measure import Counts, Tools, measure
from bench.gate.subject import Subject
from bench.gate.trees import copy
from tests.gate.conftest import Project

ROOT = Path(__file__).resolve().parents[2]
RUNS = 4
CHUNK = """
_take = ResponseStream.take_chunk


def _costly_take(self, read):
    {}
    return _take(self, read)


ResponseStream.take_chunk = _costly_take
"""


@pytest.fixture
def gateway(make: Callable[[], Project]) -> Project:
    """A copy of this project that can be altered, committed as it is."""
    project = make()
    shutil.copytree(ROOT / "ztoapi", project.root / "ztoapi", ignore=shutil.ignore_patterns("__pycache__"))
    (project.root / "bench").symlink_to(ROOT / "bench")
    shutil.copy(ROOT / "pyproject.toml", project.root)
    project.commit()
    return project


@pytest.mark.parametrize(
    ("what", "found", "base"),
    [
        ("import json; json.loads(json.dumps({'text': 'x' * 100}))", ["opcodes"], "HEAD"),
        ("bytearray(8)", ["blocks"], "none"),
        (
            "owner = self._owner; owner.transport.write(b''); owner.loop.call_soon(print); "
            "owner.record.model = [owner.record.model]",
            ["client_writes", "wake_ups", "kept"],
            "none",
        ),
    ],
    ids=["json round trip", "allocation", "write, wake-up, leak"],
)
def test_what_a_chunk_costs_more_is_found(gateway: Project, what: str, found: list[str], base: str) -> None:
    module = gateway.root / "ztoapi" / "server" / "stream.py"
    module.write_text(module.read_text("utf-8") + CHUNK.format(what), "utf-8")
    outcome = gateway.outcome("zai-chunk", "--base", base)
    if found == ["blocks"] and "blocks" not in outcome["scenarios"]["zai-chunk"]:
        pytest.skip("needs glibc and a C compiler")
    assert {failure.split()[1] for failure in outcome["failures"]} >= set(found)


def test_no_change_is_quiet_every_time(tmp_path: Path) -> None:
    """Equal to the last opcode and block each time, in processes of its own."""
    subject = Subject.read(ROOT, None, None, None, ["zai-chunk"])
    tools = Tools.find(tmp_path, instructions=False)

    def counts(side: str, runs: int) -> list[Counts]:
        tree = copy(ROOT, subject.packages, tmp_path / side)
        return [measure(tree, subject, tools).counts for _ in range(runs)]

    with ThreadPoolExecutor() as both:
        (base, *some), others = both.map(counts, ("base", "head"), (1 + RUNS // 2, RUNS // 2))
    assert [head for head in some + others if head != base] == []
    compiled = tmp_path / "head" / "compiled"
    assert (compiled / f"{tmp_path}/head/ztoapi".lstrip("/")).is_dir()
    libraries = sysconfig.get_path("purelib").lstrip("/")
    assert not (compiled / libraries).exists(), "modules of libraries are not compiled again"
    assert len(some + others) == RUNS
