"""Key files for tests."""

import datetime
from pathlib import Path

from ztoapi.config.keyfile import add_key, read_key_file
from ztoapi.config.keys import new_key
from ztoapi.config.model import ClientKey
from ztoapi.config.sources import Problems

__all__ = ["FAR_AWAY", "add", "empty", "problems", "read", "remove"]

FAR_AWAY = datetime.datetime(2999, 1, 1, tzinfo=datetime.UTC)


def empty(directory: Path) -> Path:
    """Make a key file without keys."""
    path = directory / "keys.toml"
    path.touch(mode=0o600)
    return path


def add(path: Path, name: str, **fields: object) -> str:
    """Make a key; returns what its owner sends."""
    key = new_key()
    add_key(path, name, {"id": key.id, "hash": key.hash, **fields})
    return key.text


def remove(path: Path, name: str) -> None:
    """Delete the table of a key, as people do."""
    before, _, rest = path.read_text().partition(f"[{name}]\n")
    _, bracket, after = rest.partition("\n[")
    path.write_text(before + bracket.lstrip("\n") + after)


def read(path: Path) -> dict[str, ClientKey]:
    """The keys of a file in which nothing is wrong."""
    found = Problems()
    keys = read_key_file(path, found, [])
    assert found.lines == []
    return {key.name: key for key in keys}


def problems(path: Path) -> list[str]:
    """The problems of a file, without its path."""
    found = Problems()
    read_key_file(path, found, [])
    return [line.replace(str(path), "FILE") for line in found.lines]
