"""The sources of settings in order of precedence: command line, environment, ``.env.local``, ``.env``, TOML, defaults.

:class:`Sources` finds the setting of an option and records its source. :class:`Problems` collects errors, so that an
operator sees all of them at once.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ztoapi.config import dotenv, tomlfile
from ztoapi.config.exposed_files import exposed_files
from ztoapi.config.options import Declared, config_options
from ztoapi.config.other_gateways import other_gateways
from ztoapi.config.spelling import did_you_mean, misspelt

__all__ = ["Problems", "Setting", "Sources", "read_sources"]

_ENV_FILES: Final = (".env.local", ".env")
# Kubernetes sets these in every pod for a service named ztoapi (enableServiceLinks); they are not options.
# https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
_SERVICE_LINK = re.compile(
    r"ZTOAPI_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_LINK_PORT = re.compile(r"(tcp|udp|sctp)://.*")
_KIND_OF_COMPUTER = re.compile(r"\w+-(\w+-)?(linux|darwin|apple|mingw|w64)[\w.-]*")
"""The value of HOST that conda's compilers set, such as x86_64-conda-linux-gnu or arm64-apple-darwin20.0.0."""
_REFERENCE = re.compile(r"\$\{[A-Za-z_]\w*")


class Setting(NamedTuple):
    """A value as it was written, with the name of the option there (key, variable or flag) and its source.

    ``places`` are the sources of the parts of a table, by their dotted keys.
    """

    value: object
    name: str
    source: str
    places: Mapping[str, str] = {}

    @property
    def where(self) -> str:
        """The name and the source, for messages."""
        return f"{self.name} ({self.source})"

    def part(self, path: str, value: object = None) -> "Setting":
        """Returns the part of a table at ``path``, with the line of the nearest key that has one."""
        nearest = path
        while nearest and nearest not in self.places:
            nearest = nearest.rpartition(".")[0]
        return Setting(value, path, self.places.get(nearest, self.source))


class Problems:
    """Errors, one line each. No line contains a value that may be a secret."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, text: str) -> None:
        """Appends an error, unless it was reported before."""
        line = f"{where}: {text}"
        if line not in self.lines:
            self.lines.append(line)


class Sources:
    """All sources. ``layers`` are the environment and the ``.env`` files, in order of precedence. ``warnings`` concern
    the files."""

    def __init__(
        self,
        options: Iterable[Declared],
        arguments: Mapping[str, object],
        layers: Sequence[Mapping[str, Setting]],
        toml: Mapping[str, Setting],
        warnings: Sequence[str] = (),
    ) -> None:
        self._options = {option.key: option for option in options}
        self._tables = _tables(self._options.values())
        self._arguments = arguments
        self._layers = layers
        self._toml = toml
        self.warnings = warnings
        self._origins: dict[str, list[str]] = {}

    def find(self, key: str) -> Setting | None:
        """Returns the setting of the option ``key`` from the first source that has one. Empty values are unset."""
        option = self._options[key]
        if option.flag is not None and self._arguments.get(option.name) is not None:
            return Setting(self._arguments[option.name], option.flag, "command line")
        for layer in self._layers:
            for name in option.variables:
                if name in layer:
                    return layer[name]
        setting = self._toml.get(key)
        return None if setting is None or setting.value == "" else setting

    def used(self, path: str, *settings: Setting | None) -> None:
        """Records that the effective value at ``path`` comes from ``settings``."""
        for setting in settings:
            if setting is not None:
                self._origins.setdefault(path, []).append(setting.where)

    def origins(self) -> dict[str, str]:
        """Returns the sources of the effective values that are not defaults, by path."""
        return {path: ", ".join(dict.fromkeys(where)) for path, where in self._origins.items()}

    def check_names(self, problems: Problems) -> None:
        """Reports TOML keys and ZTOAPI_ variables that do not exist, and names in the ``.env`` files that misspell a
        variable: a file with a misspelt key would leave the gateway without one."""
        for key, setting in self._toml.items():
            if key in self._tables:
                problems.add(setting.where, f"must be a table: write [{key}] and its options below")
            elif key not in self._options:
                problems.add(setting.where, f"unknown option{self._hint(key, setting.value)}")
        known = {name for option in self._options.values() for name in option.variables}
        for number, layer in enumerate(self._layers):
            for name, setting in layer.items():
                if name in known:
                    continue
                if name.startswith("ZTOAPI_"):
                    problems.add(setting.where, f"unknown option{did_you_mean(name, known, after='ZTOAPI_')}")
                elif number > 0 and (meant := misspelt(name, known)) is not None:
                    problems.add(setting.where, f"unknown option; did you mean {meant}?")

    def _hint(self, key: str, value: object) -> str:
        """Returns the options with the name of ``key`` in other tables, or else the one that it may misspell; for a
        table beside others, those. Reports of the configuration name ``platform_id`` by its result."""
        if key == "default_platform":
            return "; did you mean platform_id?"
        name = key.rpartition(".")[2]
        others = [option.key for option in self._options.values() if option.name == name]
        if others:
            return f"; did you mean {' or '.join(others)}?"
        parent = key.rpartition(".")[0]
        tables = sorted(table for table in self._tables if parent and table.startswith(f"{parent}."))
        if tables and isinstance(value, dict):
            return f"; {parent} has the tables {', '.join(tables)}"
        return did_you_mean(key, [*self._options, *self._tables])

    def check_references(self, problems: Problems) -> None:
        """Reports values that refer to a variable: no source expands ``${NAME}``."""
        known = {name for option in self._options.values() for name in option.variables}
        for layer in (*self._layers, self._toml):
            for name, setting in layer.items():
                if name not in known and layer is not self._toml:
                    continue
                for path, text in _texts(name, setting.value):
                    if (reference := _REFERENCE.search(text)) is not None:
                        where = setting.part(path).where if layer is self._toml else setting.where
                        remedy = self._remedy(name, layer)
                        problems.add(where, f"{reference[0]}}} is not expanded: write the value itself{remedy}")

    def _remedy(self, name: str, layer: Mapping[str, Setting]) -> str:
        """Returns another way to set the option ``name`` than a reference in ``layer``."""
        if layer is self._layers[0]:
            return ", or let the shell expand it (double quotes)"
        option = self._options.get(name)
        variables = (name,) if option is None and layer is not self._toml else option.variables if option else ()
        return f", or remove the line and set {variables[-1]} in the environment" if variables else ""


def _texts(path: str, value: object) -> Iterator[tuple[str, str]]:
    """Yields the strings in a value with their dotted paths."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for number, part in enumerate(value, 1):
            yield from _texts(f"{path}[{number}]" if isinstance(part, dict) else path, part)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(f"{path}.{key}", part)


def read_sources(
    arguments: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    directory: Path,
    config_file: Path | None,
    problems: Problems,
) -> Sources:
    """Reads the environment and the files in ``directory``; ``config_file`` replaces ``ztoapi.toml`` and must exist."""
    layers = [
        {name: Setting(value, name, "environment") for name, value in environ.items() if _is_setting(name, value)}
    ]
    files = {directory / name: _read_dotenv(directory / name, problems) for name in _ENV_FILES}
    layers += files.values()
    foreign = other_gateways((name, setting.where) for layer in layers[1:] for name, setting in layer.items())
    options = list(config_options())
    toml = _read_toml(directory, config_file, _tables(options), problems)
    files[config_file or directory / "ztoapi.toml"] = toml
    values = {path: {name: setting.value for name, setting in found.items()} for path, found in files.items()}
    return Sources(options, arguments, layers, toml, [*exposed_files(options, values), *_ignored(environ), *foreign])


def _tables(options: Iterable[Declared]) -> frozenset[str]:
    return frozenset(option.table for option in options if option.table)


def _is_setting(name: str, value: str) -> bool:
    if name.startswith("ZTOAPI_") and (
        _SERVICE_LINK.fullmatch(name) or (name.endswith("_PORT") and _SERVICE_LINK_PORT.fullmatch(value))
    ):
        return False
    if name == "HOST" and _KIND_OF_COMPUTER.fullmatch(value):
        return False
    return bool(value.strip())


def _ignored(environ: Mapping[str, str]) -> Iterator[str]:
    """Yields warnings about variables that other programs have set, and that are not options."""
    host = environ.get("HOST", "")
    if _KIND_OF_COMPUTER.fullmatch(host):
        yield (
            f"HOST (environment): {host} is a kind of computer (conda sets it), not an address, and is ignored: choose "
            "the address to listen on with --host or ZTOAPI_HOST"
        )


def _read_dotenv(path: Path, problems: Problems) -> dict[str, Setting]:
    entries, broken = dotenv.parse(_read_text(path, path.name, problems) or "")
    for line, error in broken.items():
        problems.add(f"{path.name} line {line}", error)
    return {
        name: Setting(entry.value, name, f"{path.name} line {entry.line}")
        for name, entry in entries.items()
        if entry.value
    }


def _read_toml(
    directory: Path, config_file: Path | None, tables: frozenset[str], problems: Problems
) -> dict[str, Setting]:
    path = config_file or directory / "ztoapi.toml"
    name = path.name if config_file is None else str(config_file)
    source = name if config_file is None else f"{name} (--config)"
    text = _read_text(path, source, problems, required=config_file is not None) or ""
    try:
        values = tomlfile.parse(text, tables)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; or a number with too many digits, or deep nesting
        problems.add(source, tomlfile.syntax_error(text, error))
        return {}
    places = {key: f"{name} line {line}" for key, line in tomlfile.line_numbers(text).items()}
    return {
        key: Setting(entry.value, key, name if entry.line is None else f"{name} line {entry.line}", places)
        for key, entry in values.items()
    }


def _read_text(path: Path, name: str, problems: Problems, *, required: bool = False) -> str | None:
    """Returns the text of a file without a byte order mark; None if the file cannot be read."""
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        if required:
            problems.add(name, "file not found: name an existing file")
    except IsADirectoryError:
        problems.add(name, "is a directory: name a file" if required else "is a directory: remove or rename it")
    except OSError as error:
        problems.add(name, f"cannot be read ({error.strerror}): fix its permissions or remove it")
    except UnicodeDecodeError as error:
        problems.add(name, f"not valid UTF-8 (byte {error.start}): save it as UTF-8")
    return None
