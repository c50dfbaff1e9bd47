"""Where values come from, and in which order: command line, environment, ``.env.local``, ``.env``, TOML, defaults.

:class:`Sources` finds the value of an option and remembers where it was; :class:`Problems` collects what is wrong, so
that a user sees everything at once.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ztoapi.config import dotenv

__all__ = ["Found", "Problems", "Sources", "read_sources"]

_ENV_FILES = (".env.local", ".env")


class Found(NamedTuple):
    """A value as it was written, and where: ``where`` names the option and its source for people."""

    value: object
    name: str
    source: str

    @property
    def where(self) -> str:
        return f"{self.name} ({self.source})"


class Problems:
    """Everything that is wrong, one line each. Values are never part of a line: they may be secrets."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        self.lines.append(f"{where}: {what}")


class Sources:
    """All sources, in their order of precedence."""

    def __init__(self, arguments: Mapping[str, object], variables: dict[str, Found], toml: dict[str, Found]) -> None:
        self._arguments = arguments
        self._variables = variables
        self._toml = toml

    def find(self, key: str, *variables: str) -> Found | None:
        """The value of the TOML key ``key`` (dotted), overridden by the first of ``variables`` that is set, and by the
        command line (whose options are named like the last part of the key). Empty variables count as unset."""
        option = key.rpartition(".")[2]
        argument = self._arguments.get(option)
        if argument is not None:
            return Found(argument, f"--{option.replace('_', '-')}", "command line")
        for name in variables:
            found = self._variables.get(name)
            if found is not None and found.value != "":
                return found
        return self._toml.get(key)

    def check_names(self, keys: Iterable[str], variables: Iterable[str], problems: Problems) -> None:
        """Report TOML keys and ZTOAPI_ variables that do not exist."""
        _check(self._toml, list(keys), problems)
        own = {name: found for name, found in self._variables.items() if name.startswith("ZTOAPI_")}
        _check(own, [name for name in variables if name.startswith("ZTOAPI_")], problems)


def _check(given: dict[str, Found], known: list[str], problems: Problems) -> None:
    for name in given.keys() - set(known):
        close = difflib.get_close_matches(name, known, 1)
        problems.add(given[name].where, f"there is no such option{f'; did you mean {close[0]}?' if close else ''}")


def read_sources(
    arguments: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    directory: Path,
    config_file: Path | None,
    problems: Problems,
) -> Sources:
    """Read the environment and the files in ``directory``; ``config_file`` replaces ``ztoapi.toml`` and must exist."""
    variables: dict[str, Found] = {}
    for name in reversed(_ENV_FILES):
        path = directory / name
        if path.is_file():
            entries, broken = dotenv.parse(path.read_text("utf-8", errors="replace"))
            for line in broken:
                problems.add(f"{name} line {line}", "this is no KEY=VALUE line; comments begin with #")
            variables |= {key: Found(entry.value, key, f"{name} line {entry.line}") for key, entry in entries.items()}
    variables |= {key: Found(value, key, "environment") for key, value in environ.items()}
    return Sources(arguments, variables, _read_toml(directory, config_file, problems))


def _read_toml(directory: Path, config_file: Path | None, problems: Problems) -> dict[str, Found]:
    path = config_file or directory / "ztoapi.toml"
    if not path.is_file():
        if config_file is not None:
            problems.add(f"--config {config_file}", "there is no such file")
        return {}
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.add(str(path), f"this is no TOML: {error}")
        return {}
    found: dict[str, Found] = {}
    for key, value in document.items():
        if isinstance(value, dict) and key in ("server", "upstream"):
            found |= {f"{key}.{name}": Found(inner, f"{key}.{name}", path.name) for name, inner in value.items()}
        else:
            found[key] = Found(value, key, path.name)
    return found
