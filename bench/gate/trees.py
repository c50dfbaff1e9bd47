"""Copies of the measured packages at the two compared states.

Copies are used because head may be edited during the run, and because a worktree of base would contain its own
scenarios. The paths of both have the same length, which affects instruction counts.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "COMMIT_CHARACTERS", "SHALLOW", "automatic_base", "changed_since", "copy", "described", "is_same", "resolve",
    "why_no_base", "worktree",
]  # fmt: skip

COMMIT_CHARACTERS = 12
SHALLOW = "the clone is shallow"
_MAIN_BRANCHES = ("origin/main", "origin/master", "main", "master")


def copy(root: Path, packages: Sequence[str], target: Path) -> Path:
    """Copies those of ``packages`` (paths below ``root``) that exist to ``target``, and returns it."""
    target.mkdir()
    for package in packages:
        path = root / package
        if path.is_dir():
            shutil.copytree(path, target / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.is_file():
            shutil.copy2(path, target)
    return target


def resolve(root: Path, reference: str) -> str | None:
    """Returns the commit of ``reference``, or None."""
    return _git(root, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}")


def automatic_base(root: Path, packages: Sequence[str]) -> str | None:
    """Returns the commit where this branch left main; on main itself HEAD if there are uncommitted changes, else the
    commit before it; None without such a commit, as in a shallow clone."""
    head = resolve(root, "HEAD")
    if head is None:
        return None
    for branch in _MAIN_BRANCHES:
        base = _git(root, "merge-base", "HEAD", branch)
        if base is not None and base != head:
            return base
    return head if _git(root, "status", "--porcelain", "--", *packages) else resolve(root, "HEAD~1")


def why_no_base(root: Path) -> str:
    """Returns the reason why ``automatic_base`` found no commit."""
    if resolve(root, "HEAD") is None:
        return "no git repository with a commit"
    return SHALLOW if _git(root, "rev-parse", "--is-shallow-repository") == "true" else "this is the first commit"


def described(root: Path, packages: Sequence[str]) -> tuple[str | None, str | None]:
    """Returns the commit of the working tree, with ``+`` if ``packages`` are changed, and its date; or None twice."""
    head = resolve(root, "HEAD")
    if head is None:
        return None, None
    changed = "+" if _git(root, "status", "--porcelain", "--", *packages) else ""
    return f"{head[:COMMIT_CHARACTERS]}{changed}", _git(root, "show", "-s", "--format=%cI", "HEAD")


def changed_since(root: Path, commit: str) -> list[str]:
    """Returns the Python files of the repository that differ from ``commit``, relative to ``root``."""
    prefix = _git(root, "rev-parse", "--show-prefix") or "."
    files = (_git(root, "diff", "--name-only", "--no-relative", "-z", commit, "--", ":(top)*.py") or "").split("\0")
    return [os.path.relpath(file, prefix) for file in files if file]


def is_same(root: Path, commit: str, packages: Sequence[str]) -> bool:
    """Whether no file of ``packages`` differs from ``commit``."""
    differs = _git(root, "diff", "--name-only", commit, "--", *packages)
    return differs == _git(root, "status", "--porcelain", "--", *packages) == ""


@contextmanager
def worktree(root: Path, commit: str, path: Path) -> Iterator[Path]:
    """Creates a worktree of ``commit`` at ``path``, and yields the folder in it that corresponds to ``root``."""
    prefix = _git(root, "rev-parse", "--show-prefix") or ""
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", path, commit], cwd=root, check=True)
    try:
        yield path / prefix
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", path], cwd=root, check=True)


def _git(root: Path, *arguments: str) -> str | None:
    """Returns the output of git; None if it fails or is missing."""
    try:
        result = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None
