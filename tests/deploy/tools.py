"""Running the real tools that know the formats of what lies in ``deploy/``."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["DEPLOY", "ROOT", "run", "where"]

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def where(tool: str, package: str) -> str:
    """Its path. Skips the test if it is absent, and names the package to install. CI installs all of them."""
    found = shutil.which(tool, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{tool} is not installed ({package})")
    return found


def run(tool: str, package: str, *arguments: str | Path) -> str:
    """Its output; fails unless it exits with 0."""
    ended = subprocess.run([where(tool, package), *arguments], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr
