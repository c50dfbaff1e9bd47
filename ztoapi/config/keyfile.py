"""The key file: a TOML document with one table for each client key. It holds hashes, never keys.

    [alice]
    id = "7f3a09c4be12"
    hash = "blake2b:...:..."
    models = ["glm-5.3", "glm-4.5*"]
    expires = 2027-01-31T00:00:00Z
    requests_per_minute = 60

Operators edit the file, so commands change single lines of the text and keep comments and order. A command parses its
change before it replaces the file, and locks the directory, because the file itself is replaced.
"""

import contextlib
import datetime
import fcntl
import json
import os
import re
import stat
import tempfile
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ztoapi.config.model import ClientKey, KeyBudgets, Secret, TrafficLimits
from ztoapi.config.options import options_of
from ztoapi.config.sources import Problems, Setting
from ztoapi.config.spelling import did_you_mean
from ztoapi.config.tomlfile import line_numbers, syntax_error
from ztoapi.config.values import convert, read_list
from ztoapi.errors import ConfigError, UsageError

__all__ = [
    "PRIORITIES",
    "add_key",
    "find_key",
    "load_key",
    "load_keys",
    "read_budgets",
    "read_expiry",
    "read_key_file",
    "read_limits",
    "read_models",
    "read_name",
    "read_priority",
    "replace_key",
    "revoke_key",
]

_FIELDS: Final = (
    *("id", "hash", "models", "expires", "revoked", "priority"),
    *TrafficLimits.__struct_fields__,
    *KeyBudgets.__struct_fields__,
)
PRIORITIES: Final = ("normal", "high")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_RESERVED = re.compile(r"default|api-key-[0-9]+")
_ID = re.compile(r"[0-9a-f]{12}")
_HASH = re.compile(r"blake2b:[0-9a-f]{32}:[0-9a-f]{64}")
_CREATE: Final = "create the key with `ztoapi keys create`, which writes it"
_MODE: Final = 0o600
_KEPT_MODE: Final = stat.S_IRGRP
"""Group read permission is kept for services that read the file by their group."""


def read_key_file(
    path: Path, problems: Problems, warnings: list[str], *, where: str = "key file"
) -> tuple[ClientKey, ...]:
    """Returns the keys of the file at ``path``; the valid ones if there are problems. ``where`` is the option that
    names the file, with its source, for messages."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError:
        remedy = f"create it with `ztoapi keys create NAME --key-file {path}`"
        problems.add(where, f"{path}: file not found: {remedy}")
        return ()
    except IsADirectoryError:
        problems.add(where, f"{path} is a directory: name a file")
        return ()
    except OSError as error:
        remedy = "fix its permissions or name another key file"
        problems.add(where, f"{path} cannot be read ({error.strerror}): {remedy}")
        return ()
    except UnicodeDecodeError as error:
        problems.add(where, f"{path} is not valid UTF-8 (byte {error.start}): save it as UTF-8")
        return ()
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        warnings.append(f"{path}: writable by other users, who could add keys: run chmod 600")
    keys = _read(text, path, problems)
    if not problems.lines and all(key.revoked for key in keys):
        warnings.append(f"{path}: contains no active key")
    return keys


def load_keys(path: Path, warnings: list[str], *, where: str = "key file") -> tuple[ClientKey, ...]:
    """Same as :func:`read_key_file`. Raises ConfigError with all problems."""
    problems = Problems()
    keys = read_key_file(path, problems, warnings, where=where)
    if problems.lines:
        raise ConfigError(tuple(problems.lines))
    return keys


def add_key(path: Path, name: str, entry: Mapping[str, object]) -> None:
    """Appends the key ``name``; creates the file if it does not exist. Raises ConfigError, OSError."""
    with _locked(path):
        text, keys = _current(path, missing_ok=True)
        for key in keys:
            if key.name == name:
                line = line_numbers(text).get(name)
                remedy = "delete its table to free the name" if key.revoked else "revoke that key"
                state = "a revoked" if key.revoked else "an active"
                raise UsageError(
                    (f"{name} is the name of {state} key ({path} line {line}): choose another, or {remedy}",)
                )
        lines = [f"[{name if _BARE.fullmatch(name) else json.dumps(name)}]"]
        lines += [f"{field} = {_toml(value)}" for field, value in entry.items()]
        before = text if not text or text.endswith("\n") else text + "\n"
        _replace(path, before + ("\n" if before else "") + "\n".join(lines) + "\n", {**_document(text), name: entry})


def find_key(path: Path, keys: Iterable[ClientKey], name: str) -> ClientKey:
    """Returns the key ``name`` of the file at ``path``. Raises ConfigError if there is none."""
    by_name = {key.name: key for key in keys}
    if name not in by_name:
        hint = did_you_mean(name, by_name) or "; run `ztoapi keys list`"
        raise UsageError((f"no key of this name in {path}{hint}",))
    return by_name[name]


def load_key(path: Path, name: str) -> ClientKey:
    """Reads the key ``name`` of the file at ``path``. Raises ConfigError, also if there is none."""
    return find_key(path, load_keys(path, []), name)


def replace_key(path: Path, name: str, secrets: Mapping[str, str]) -> None:
    """Gives the key ``name`` another id and hash, the values of ``secrets``. Raises ConfigError, OSError."""
    with _locked(path):
        text, keys = _current(path)
        if find_key(path, keys, name).revoked:
            raise UsageError((f"{name} is revoked: create a key of another name, or delete its table",))
        document = _document(text)
        entry = document[name]
        assert isinstance(entry, dict)
        lines, numbers = text.split("\n"), line_numbers(text)
        for field, value in secrets.items():
            number = numbers.get(f"{name}.{field}", 0)
            lines[number - 1] = f"{field} = {_toml(value)}"
        _replace(path, "\n".join(lines), {**document, name: {**entry, **secrets}})


def revoke_key(path: Path, name: str) -> bool:
    """Marks the key ``name`` as revoked; returns False if it was revoked before. Raises ConfigError, OSError."""
    with _locked(path):
        text, keys = _current(path)
        if find_key(path, keys, name).revoked:
            return False
        document = _document(text)
        lines = text.split("\n")
        lines.insert(line_numbers(text).get(name, 0), "revoked = true")
        entry = document[name]
        assert isinstance(entry, dict)
        _replace(path, "\n".join(lines), {**document, name: {**entry, "revoked": True}})
        return True


def read_name(setting: Setting, problems: Problems) -> bool:
    """Returns whether a key may have this name. Messages do not repeat an invalid name, which may be a key."""
    name = setting.value
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("sk-"):
        problems.add(
            setting.where,
            "must be 1 to 64 letters, digits and . _ @ -, starting with a letter or digit but not with sk-",
        )
        return False
    if _RESERVED.fullmatch(name):
        problems.add(setting.where, f"{name} is reserved for DEFAULT_KEY and API_KEYS: choose another")
        return False
    return True


def read_models(setting: Setting, problems: Problems) -> tuple[str, ...]:
    """Returns patterns of models, in lower case."""
    before = len(problems.lines)
    models = read_list(setting, problems, separator=",")
    if not models and len(problems.lines) == before:
        problems.add(setting.where, "must name at least one model; omit it to allow all")
    if any(re.search(r"[\[\]?]", model) or not model.isprintable() for model in models):
        problems.add(setting.where, "must be names of models, with * for any characters")
    return tuple(model.lower() for model in models)


def read_expiry(setting: Setting, problems: Problems) -> datetime.datetime | None:
    """Returns a time with an offset, or the first moment of a date in UTC; None after a problem."""
    value = setting.value
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value) if len(value) > 10 else datetime.date.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value
    if isinstance(value, datetime.datetime):
        problems.add(setting.where, "must have an offset from UTC, such as 2027-01-31T00:00:00Z")
    elif isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
    else:
        problems.add(setting.where, "must be a date, or a time with an offset: 2027-01-31 or 2027-01-31T00:00:00Z")
    return None


def read_priority(setting: Setting, problems: Problems) -> str:
    """Returns the priority; ``normal`` after a problem."""
    if setting.value not in PRIORITIES:
        problems.add(setting.where, f"must be {' or '.join(PRIORITIES)}")
        return PRIORITIES[0]
    return str(setting.value)


def read_limits(fields: Mapping[str, Setting], problems: Problems) -> TrafficLimits:
    """Returns the limits among ``fields``."""
    values = _values(TrafficLimits, fields, problems)
    if "burst" in fields and not {"requests_per_second", "requests_per_minute"} & fields.keys():
        problems.add(fields["burst"].where, "requires requests_per_second or requests_per_minute")
    return TrafficLimits(**values)


def read_budgets(fields: Mapping[str, Setting], problems: Problems) -> KeyBudgets:
    """Returns the budgets among ``fields``."""
    return KeyBudgets(**_values(KeyBudgets, fields, problems))


def _values(
    kind: type[TrafficLimits | KeyBudgets], fields: Mapping[str, Setting], problems: Problems
) -> dict[str, typing.Any]:
    return {
        option.name: convert(fields[option.name], option, problems)
        for option in options_of(kind)
        if option.name in fields
    }


def _read(text: str, path: Path, problems: Problems) -> tuple[ClientKey, ...]:
    try:
        document = _document(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; or a number with too many digits
        problems.add(str(path), syntax_error(text, error))
        return ()
    lines = line_numbers(text)
    keys: list[ClientKey] = []
    owners: dict[object, str] = {}
    for name, entry in document.items():
        place = _place(path, lines, name)
        if not read_name(Setting(name, "the name of a key", place), problems):
            continue
        if not isinstance(entry, dict):
            problems.add(f"{name} ({place})", "must be a table: write [NAME] and its fields below")
            continue
        fields = {
            field: Setting(value, f"{name}.{field}", _place(path, lines, f"{name}.{field}", name))
            for field, value in entry.items()
        }
        keys.append(_read_key(name, place, fields, problems))
        if keys[-1].id is not None and owners.setdefault(keys[-1].id, name) != name:
            problems.add(fields["id"].where, f"duplicate of the id of {owners[keys[-1].id]}: {_CREATE}")
    return tuple(keys)


def _place(path: Path, lines: Mapping[str, int], *keys: str) -> str:
    """Returns the file and the line of the first of ``keys`` that has one. Lines ignore blanks in quoted keys."""
    numbers = (lines.get("".join(key.split())) for key in keys)
    return next((f"{path} line {number}" for number in numbers if number is not None), str(path))


def _read_key(name: str, place: str, fields: Mapping[str, Setting], problems: Problems) -> ClientKey:
    for field in fields:
        if field not in _FIELDS:
            hint = did_you_mean(field, _FIELDS)
            if isinstance(fields[field].value, dict):
                hint = f'; quote a name with a dot: ["{name}.{field}"]'
            problems.add(fields[field].where, f"unknown field{hint}")
    secrets: dict[str, str] = {}
    for field, form in (("id", _ID), ("hash", _HASH)):
        value = fields[field].value if field in fields else None
        if isinstance(value, str) and form.fullmatch(value):
            secrets[field] = value
        elif value is None:
            problems.add(f"{name}.{field} ({place})", f"required: {_CREATE}")
        else:
            problems.add(fields[field].where, f"invalid: {_CREATE}")
    revoked = fields.get("revoked")
    if revoked is not None and not isinstance(revoked.value, bool):
        problems.add(revoked.where, "must be true or false")
    return ClientKey(
        name=name,
        id=secrets.get("id"),
        hash=Secret(secrets["hash"]) if "hash" in secrets else None,
        models=read_models(fields["models"], problems) if "models" in fields else (),
        expires=read_expiry(fields["expires"], problems) if "expires" in fields else None,
        revoked=revoked is not None and revoked.value is True,
        priority=read_priority(fields["priority"], problems) if "priority" in fields else PRIORITIES[0],
        limits=read_limits(fields, problems),
        budgets=read_budgets(fields, problems),
    )


def _document(text: str) -> dict[str, object]:
    return tomllib.loads(text.removeprefix("\ufeff"))


def _current(path: Path, *, missing_ok: bool = False) -> tuple[str, tuple[ClientKey, ...]]:
    """Returns the text of the file and its keys. Raises ConfigError with all problems."""
    if missing_ok and not path.exists():
        return "", ()
    keys = load_keys(path, [])
    return path.read_text("utf-8-sig"), keys


def _toml(value: object) -> str:
    """Formats a string, a list of strings, a number or a time. For the first three TOML equals JSON."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime.datetime) else json.dumps(value)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Holds the lock on the directory of the file; waits until it is free."""
    directory = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _replace(path: Path, text: str, expected: dict[str, object]) -> None:
    """Replaces the file atomically by ``text``, which must parse as ``expected``."""
    try:
        valid = _document(text) == expected
    except ValueError:
        valid = False
    if not valid:
        raise ConfigError((f"{path}: this command cannot edit the file in its current form: edit it by hand",))
    path = path.resolve()
    number, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(number, "w", encoding="utf-8") as file:
            if path.exists():
                old = path.stat()
                os.fchmod(number, _MODE | (old.st_mode & _KEPT_MODE))
                if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                    os.chown(name, old.st_uid, old.st_gid)
            file.write(text)
            file.flush()
            os.fsync(number)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
