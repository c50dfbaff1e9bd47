"""The installations of the clients under test: each is made once and kept in the user's cache directory."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

__all__ = ["Installation", "install", "pinned_version"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ztoapi-clients"
PACKAGES = tomllib.loads(Path(__file__).with_name("packages.toml").read_text())
INSTALL_SECONDS = 500.0
"""Less than the timeout of these tests. While two whole suites ran beside it, pip took more than 300 s."""


class Installation(NamedTuple):
    """``programs`` is the directory of its commands; ``modules`` that of its Node modules, if it has any."""

    programs: Path
    modules: Path


def pinned_version(name: str, package: str) -> str:
    """Return the version of a package of the installation ``name``."""
    pins = (pin.replace("==", "@").rpartition("@") for kind in PACKAGES[name].values() for pin in kind)
    return str(next(version for pinned, _, version in pins if pinned.partition("[")[0] == package))


def install(name: str) -> Installation:
    """Install the packages of a table, unless they are installed."""
    pins = PACKAGES[name]
    digest = hashlib.sha256(repr((pins, sys.version_info[:2])).encode()).hexdigest()[:12]
    place = CACHE / f"{name}-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for command in _commands(pins, place):
                done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
                assert done.returncode == 0, done.stdout + done.stderr
            (place / "complete").touch()
    if "npm" in pins:
        return Installation(place / "node_modules" / ".bin", place / "node_modules")
    return Installation(place / "bin", place / "node_modules")


def _commands(pins: dict[str, list[str]], place: Path) -> list[list[str]]:
    if "npm" in pins:
        return [["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), *pins["npm"]]]
    quick = shutil.which("uv")
    if quick is not None:
        python = ["--python", str(place / "bin" / "python")]
        return [
            [quick, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(place)],
            [quick, "pip", "install", "--quiet", *python, *pins["pip"]],
        ]
    return [
        [sys.executable, "-m", "venv", str(place)],
        [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", *pins["pip"]],
    ]
