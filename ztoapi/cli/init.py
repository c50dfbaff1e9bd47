"""``ztoapi init``: writes the example files of the distribution."""

import argparse
import shutil
from pathlib import Path

from ztoapi.cli.shipped import SHIPPED, shipped

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Writes the files and prints their names. Files that exist are kept. Returns 0."""
    for name in SHIPPED:
        source = shipped(name)
        files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        for file in files:
            if "__pycache__" not in file.parts:
                _write(file, Path(args.directory, name, file.relative_to(source)))
    print("Next: copy ztoapi.example.toml to ztoapi.toml, edit it, and run `ztoapi check`.")
    return 0


def _write(source: Path, target: Path) -> None:
    if target.exists():
        print(f"kept   {target}")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    print(f"wrote  {target}")
