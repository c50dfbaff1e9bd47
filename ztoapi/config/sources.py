"""Where values come from, and in which order: command line, environment, ``.env.local``, ``.env``, TOML, defaults.

:class:`Sources` finds the value of an option and remembers where it was; :class:`Problems` collects what is wrong, so
that a user sees everything at once.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ztoapi.config import dotenv, tomlfile

__all__ = ["Found", "Problems", "Sources", "did_you_mean", "read_sources"]

_ENV_FILES: Final = (".env.local", ".env")
# Kubernetes sets these in every pod for a service called ztoapi (enableServiceLinks); nobody meant an option by them.
# https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
_SERVICE_LINK = re.compile(
    r"ZTOAPI_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_PORT = re.compile(r"(tcp|udp|sctp)://.*")


class Found(NamedTuple):
    """A value as it was written, and where: ``where`` names the option and its source for people. ``places`` are the
    sources of what a file says, by their dotted keys."""

    value: object
    name: str
    source: str
    places: Mapping[str, str] = {}

    @property
    def where(self) -> str:
        return f"{self.name} ({self.source})"

    def within(self, path: str) -> str:
        """As ``where``, for a part of the value, as near as its place is known."""
        known = path
        while known and known not in self.places:
            known = known.rpartition(".")[0]
        return f"{path} ({self.places.get(known, self.source)})"


class Problems:
    """Everything that is wrong, one line each. No line holds a value that may be a secret."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        line = f"{where}: {what}"
        if line not in self.lines:
            self.lines.append(line)


class Sources:
    """All sources, in their order of precedence; ``layers`` are the environment and the ``.env`` files."""

    def __init__(
        self, arguments: Mapping[str, object], layers: Sequence[Mapping[str, Found]], toml: Mapping[str, Found]
    ) -> None:
        self._arguments = arguments
        self._layers = layers
        self._toml = toml
        self._origins: dict[str, list[str]] = {}

    def find(self, key: str, *variables: str) -> Found | None:
        """The value of the TOML key ``key`` (dotted), overridden by the first of ``variables`` that is set, and by the
        command line (whose options are named like the last part of the key). Empty values count as unset."""
        option = key.rpartition(".")[2]
        argument = self._arguments.get(option)
        if argument is not None:
            return Found(argument, f"--{option.replace('_', '-')}", "command line")
        for layer in self._layers:
            for name in variables:
                if name in layer:
                    return layer[name]
        found = self._toml.get(key)
        return None if found is None or found.value == "" else found

    def used(self, path: str, *found: Found | None) -> None:
        """Note that the effective value at ``path`` comes from ``found``."""
        for one in found:
            if one is not None:
                self._origins.setdefault(path, []).append(one.where)

    def origins(self) -> dict[str, str]:
        """Where each effective value that is no default comes from."""
        return {path: ", ".join(dict.fromkeys(where)) for path, where in self._origins.items()}

    def check_names(self, keys: Iterable[str], variables: Iterable[str], problems: Problems) -> None:
        """Report TOML keys and ZTOAPI_ variables that do not exist."""
        known = frozenset(keys)
        for name, found in self._toml.items():
            if name in tomlfile.TABLES:
                problems.add(found.where, f"must be a table: write [{name}] and its options below")
            elif name not in known:
                problems.add(found.where, f"there is no such option{did_you_mean(name, [*known, *tomlfile.TABLES])}")
        own = frozenset(name for name in variables if name.startswith("ZTOAPI_"))
        for layer in self._layers:
            for name, found in layer.items():
                if name.startswith("ZTOAPI_") and name not in own:
                    problems.add(found.where, f"there is no such option{did_you_mean(name, own, after='ZTOAPI_')}")


def did_you_mean(name: str, known: Iterable[str], after: str = "") -> str:
    """A hint at the one of ``known`` that ``name`` resembles in what stands after ``after``, or nothing."""
    rest = {one.removeprefix(after): one for one in sorted(known)}
    close = difflib.get_close_matches(name.removeprefix(after), rest, 1)
    return f"; did you mean {rest[close[0]]}?" if close else ""


def read_sources(
    arguments: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    directory: Path,
    config_file: Path | None,
    problems: Problems,
) -> Sources:
    """Read the environment and the files in ``directory``; ``config_file`` replaces ``ztoapi.toml`` and must exist."""
    layers = [{name: Found(value, name, "environment") for name, value in environ.items() if _meant(name, value)}]
    layers += [_read_dotenv(directory / name, problems) for name in _ENV_FILES]
    return Sources(arguments, layers, _read_toml(directory, config_file, problems))


def _meant(name: str, value: str) -> bool:
    if name.startswith("ZTOAPI_") and (
        _SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_LINK_PORT.fullmatch(value))
    ):
        return False
    return bool(value.strip())


def _read_dotenv(path: Path, problems: Problems) -> dict[str, Found]:
    entries, broken = dotenv.parse(_read_text(path, path.name, problems) or "")
    for line, what in broken.items():
        problems.add(f"{path.name} line {line}", what)
    return {
        name: Found(entry.value, name, f"{path.name} line {entry.line}")
        for name, entry in entries.items()
        if entry.value
    }


def _read_toml(directory: Path, config_file: Path | None, problems: Problems) -> dict[str, Found]:
    path = config_file or directory / "ztoapi.toml"
    name = path.name if config_file is None else str(config_file)
    try:
        text = _read_text(path, name, problems, required=config_file is not None) or ""
        options = tomlfile.parse(text)
    except tomllib.TOMLDecodeError as error:
        problems.add(name, f"this is no TOML: {error}")
        return {}
    places = {key: f"{name} line {line}" for key, line in tomlfile.line_numbers(text).items()}
    return {
        key: Found(option.value, key, name if option.line is None else f"{name} line {option.line}", places)
        for key, option in options.items()
    }


def _read_text(path: Path, name: str, problems: Problems, *, required: bool = False) -> str | None:
    """The text of a file, without the mark that some editors put at its beginning; None if there is none to be had."""
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        if required:
            problems.add(f"{name} (--config)", "there is no such file: name one that exists")
    except OSError as error:
        problems.add(name, f"cannot be read ({error.strerror}): mend its permissions, or take it away")
    except UnicodeDecodeError as error:
        problems.add(name, f"is not UTF-8 (byte {error.start}): save it as UTF-8")
    return None
