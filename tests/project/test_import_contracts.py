"""Import contracts: the tree keeps them, and each contract fails on a seeded violation."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VIOLATIONS = [
    ("wire/sse.py", "import asyncio", "Pure packages", "ztoapi.wire.sse -> asyncio"),
    ("dialects/openai.py", "import time", "Pure packages", "ztoapi.dialects.openai -> time"),
    ("server/exchange.py", "import h11", "h11 stays behind wire", "ztoapi.server.exchange -> h11"),
    ("upstream/pool.py", "import uvloop", "uvloop stays", "ztoapi.upstream.pool -> uvloop"),
    (
        *("telemetry/recorder.py", "import opentelemetry.trace", "OpenTelemetry is imported"),
        "ztoapi.telemetry.recorder -> opentelemetry",
    ),
    (
        *("profiling/cpu.py", "import ztoapi.telemetry.board", "The profiler"),
        "ztoapi.profiling.cpu -> ztoapi.telemetry.board",
    ),
    (
        *("handlers/chat.py", "import ztoapi.handlers.models", "Handlers and gates"),
        "ztoapi.handlers.chat -> ztoapi.handlers.models",
    ),
    ("wire/sse.py", "import ztoapi.server.exchange", "Layers", "ztoapi.wire.sse -> ztoapi.server.exchange"),
    ("server/exchange.py", "import ztoapi.upstream.pool", "Layers", "ztoapi.server.exchange -> ztoapi.upstream.pool"),
    ("utils/__init__.py", "", "Layers", "ztoapi.utils"),
    ("server/context.py", "import ztoapi.server.listener", "No cycles", ".context -> .listener"),
]
"""A module, a line put into it, the contract that it breaks, and how the report names it."""


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (Path(sys.executable).parent / "lint-imports").exists():
        pytest.skip("import-linter is not installed")
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "ztoapi", copy / "ztoapi")
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def test_the_tree_keeps_every_contract(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


def test_each_violation_is_found(copy: Path, tmp_path: Path) -> None:
    """One report on all of them: the section of each contract names the violations of this contract."""
    shutil.copytree(copy, tmp_path, dirs_exist_ok=True)
    for module, line, _, _ in VIOLATIONS:
        path = tmp_path / "ztoapi" / module
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{line}\n" + (path.read_text("utf-8") if path.exists() else ""), "utf-8")
    result = lint(tmp_path)
    assert result.returncode != 0
    _, *sections = re.split(r"^(?=.*\n-+\n)", result.stdout.partition("Broken contracts\n")[2], flags=re.MULTILINE)
    for module, _, contract, report in VIOLATIONS:
        assert any(text.startswith(contract) and report in text for text in sections), (module, contract, result.stdout)
