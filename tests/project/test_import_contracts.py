"""Import contracts: the tree keeps them, and each contract fails on a seeded violation."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def lint(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    if not (Path(sys.executable).parent / "lint-imports").exists():
        pytest.skip("import-linter is not installed")
    shutil.copytree(ROOT / "ztoapi", tmp_path / "ztoapi")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_tree_keeps_every_contract(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("wire/sse.py", "import asyncio", "Pure packages"),
        ("dialects/openai.py", "import time", "Pure packages"),
        ("server/exchange.py", "import h11", "h11 stays behind wire"),
        ("upstream/pool.py", "import uvloop", "uvloop stays"),
        ("telemetry/recorder.py", "import opentelemetry.trace", "OpenTelemetry"),
        ("profiling/cpu.py", "import ztoapi.telemetry.board", "The profiler"),
        ("handlers/chat.py", "import ztoapi.handlers.models", "Handlers and gates"),
        ("wire/sse.py", "import ztoapi.server.exchange", "Layers"),
        ("server/exchange.py", "import ztoapi.upstream.pool", "Layers"),
        ("utils/__init__.py", "", "Layers"),
        ("server/context.py", "import ztoapi.server.listener", "No cycles"),
    ],
)
def test_a_violation_is_found(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / "ztoapi" / module
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{line}\n" + (path.read_text("utf-8") if path.exists() else ""), "utf-8")
    result = lint(copy)
    assert result.returncode != 0
    assert any(contract in text and "BROKEN" in text for text in result.stdout.splitlines()), result.stdout
