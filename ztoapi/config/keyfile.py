"""The key file: a TOML document with one table for each client key, which holds the key's hash and never the key.

    [alice]
    id = "7f3a09c4be12"
    hash = "blake2b:...:..."
    models = ["glm-4.6", "glm-4.5*"]
    expires = 2027-01-31T00:00:00Z
    requests_per_minute = 60

People edit it, so what a command changes is lines of the text: comments and order stay. Every change is read back
before it replaces the file, and is made under a lock on the directory, since the file itself is replaced.
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ztoapi.config.model import ClientKey, Secret, TrafficLimits
from ztoapi.config.sources import Found, Problems, did_you_mean
from ztoapi.config.tomlfile import line_numbers
from ztoapi.config.values import convert, read_list
from ztoapi.errors import ConfigError

__all__ = ["add_key", "read_expiry", "read_key_file", "read_limits", "read_models", "read_name", "revoke_key"]

_FIELDS: Final = ("id", "hash", "models", "expires", "revoked", *TrafficLimits.__struct_fields__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_RESERVED = re.compile(r"default|api-key-[0-9]+")
_ID = re.compile(r"[0-9a-f]{12}")
_HASH = re.compile(r"blake2b:[0-9a-f]{32}:[0-9a-f]{64}")
_MADE: Final = "make the key with 'ztoapi keys create', which writes it"
_MODE: Final = 0o600
_KEPT_MODE: Final = stat.S_IRGRP
"""A service that reads the file by its group goes on to do so."""


def read_key_file(path: Path, problems: Problems, warnings: list[str]) -> tuple[ClientKey, ...]:
    """The keys of the file at ``path``; those that are right, if there are problems."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read().decode("utf-8-sig")
    except FileNotFoundError:
        problems.add(str(path), "there is no such file: 'ztoapi keys create --name NAME' makes it")
        return ()
    except OSError as error:
        problems.add(str(path), f"cannot be read ({error.strerror}): mend its permissions, or name another key file")
        return ()
    except UnicodeDecodeError as error:
        problems.add(str(path), f"is not UTF-8 (byte {error.start}): save it as UTF-8")
        return ()
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        warnings.append(f"{path}: others may write to it, and so let in whom they like: chmod 600 it")
    keys = _read(text, path, problems)
    if not problems.lines and all(key.revoked for key in keys):
        warnings.append(f"{path}: holds no key that is not revoked")
    return keys


def add_key(path: Path, name: str, entry: Mapping[str, object]) -> None:
    """Append the key called ``name``; makes the file if there is none. Raises ConfigError, OSError."""
    with _locked(path):
        text, keys = _current(path, missing_ok=True)
        for key in keys:
            if key.name == name:
                line = line_numbers(text).get(name)
                remedy = (
                    "delete its table there to free the name, or choose another"
                    if key.revoked
                    else ("choose another, or revoke that one")
                )
                whose = "a revoked key" if key.revoked else "another key"
                raise ConfigError((f"--name: {name} is the name of {whose} ({path} line {line}): {remedy}",))
        lines = [f"[{name if _BARE.fullmatch(name) else json.dumps(name)}]"]
        lines += [f"{field} = {_toml(value)}" for field, value in entry.items()]
        before = text if not text or text.endswith("\n") else text + "\n"
        _replace(path, before + ("\n" if before else "") + "\n".join(lines) + "\n", {**_document(text), name: entry})


def revoke_key(path: Path, name: str) -> bool:
    """Mark the key called ``name`` as revoked; False if it was. Raises ConfigError, OSError."""
    with _locked(path):
        text, keys = _current(path)
        names = [key.name for key in keys]
        if name not in names:
            hint = did_you_mean(name, names) or "; ztoapi keys list shows those that there are"
            raise ConfigError((f"NAME: there is no key of this name in {path}{hint}",))
        if keys[names.index(name)].revoked:
            return False
        document = _document(text)
        lines = text.split("\n")
        lines.insert(line_numbers(text).get(name, 0), "revoked = true")
        entry = document[name]
        assert isinstance(entry, dict)
        _replace(path, "\n".join(lines), {**document, name: {**entry, "revoked": True}})
        return True


def read_name(found: Found, problems: Problems) -> bool:
    """Whether a key may have this name. One that cannot be a name may be a key by mistake, and is not repeated."""
    name = found.value
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.startswith("sk-"):
        problems.add(
            found.where,
            "must be 1 to 64 letters, digits and . _ @ -, and begin with a letter or digit but not with sk-",
        )
        return False
    if _RESERVED.fullmatch(name):
        problems.add(found.where, f"{name} is a name of DEFAULT_KEY and API_KEYS: choose another")
        return False
    return True


def read_models(found: Found, problems: Problems) -> tuple[str, ...]:
    """Patterns of models."""
    before = len(problems.lines)
    models = read_list(found, problems, separator=",")
    if not models and len(problems.lines) == before:
        problems.add(found.where, "must name at least one model; leave it out to allow all")
    if any(re.search(r"[\[\]?]", model) or not model.isprintable() for model in models):
        problems.add(found.where, "must be names of models, in which * stands for any characters")
    return tuple(model.lower() for model in models)


def read_expiry(found: Found, problems: Problems) -> datetime.datetime | None:
    """A date, which is its first moment in UTC, or a time with an offset."""
    value = found.value
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value) if len(value) > 10 else datetime.date.fromisoformat(value)
        except ValueError:
            value = None
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value
    if isinstance(value, datetime.datetime):
        problems.add(found.where, "must say its offset from UTC: write 2027-01-31T00:00:00Z")
    elif isinstance(value, datetime.date):
        return datetime.datetime(value.year, value.month, value.day, tzinfo=datetime.UTC)
    else:
        problems.add(found.where, "must be a date, or a time with its offset: 2027-01-31 or 2027-01-31T00:00:00Z")
    return None


def read_limits(fields: Mapping[str, Found], problems: Problems) -> TrafficLimits:
    """Those of ``fields`` that are limits."""
    values: dict[str, typing.Any] = {
        name: convert(fields[name], name, int, problems) for name in TrafficLimits.__struct_fields__ if name in fields
    }
    if "burst" in fields and not {"requests_per_second", "requests_per_minute"} & fields.keys():
        problems.add(fields["burst"].where, "needs requests_per_second or requests_per_minute: it is a part of them")
    return TrafficLimits(**values)


def _read(text: str, path: Path, problems: Problems) -> tuple[ClientKey, ...]:
    try:
        document = _document(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError; an endless number is another
        problems.add(str(path), f"this is no TOML: {error}")
        return ()
    lines = line_numbers(text)
    keys: list[ClientKey] = []
    owners: dict[object, str] = {}
    for name, entry in document.items():
        place = _place(path, lines, name)
        if not read_name(Found(name, "the name of a key", place), problems):
            continue
        if not isinstance(entry, dict):
            problems.add(f"{name} ({place})", "must be a table: write [name of the key] and its fields below")
            continue
        fields = {
            field: Found(value, f"{name}.{field}", _place(path, lines, f"{name}.{field}", name))
            for field, value in entry.items()
        }
        keys.append(_read_key(name, place, fields, problems))
        if keys[-1].id is not None and owners.setdefault(keys[-1].id, name) != name:
            problems.add(fields["id"].where, f"is the id of {owners[keys[-1].id]} too: {_MADE}")
    return tuple(keys)


def _place(path: Path, lines: Mapping[str, int], *keys: str) -> str:
    """The file, and the line of the first of ``keys`` that has one; blanks in quotes do not count there."""
    numbers = (lines.get("".join(key.split())) for key in keys)
    return next((f"{path} line {number}" for number in numbers if number is not None), str(path))


def _read_key(name: str, place: str, fields: Mapping[str, Found], problems: Problems) -> ClientKey:
    for field in fields:
        if field not in _FIELDS:
            hint = did_you_mean(field, _FIELDS)
            if isinstance(fields[field].value, dict):
                hint = f'; a name with a dot in it is written in quotes: ["{name}.{field}"]'
            problems.add(fields[field].where, f"there is no such field{hint}")
    made: dict[str, str] = {}
    for field, form in (("id", _ID), ("hash", _HASH)):
        value = fields[field].value if field in fields else None
        if isinstance(value, str) and form.fullmatch(value):
            made[field] = value
        elif value is None:
            problems.add(f"{name}.{field} ({place})", f"is missing: {_MADE}")
        else:
            problems.add(fields[field].where, f"is not as it was written: {_MADE}")
    revoked = fields.get("revoked")
    if revoked is not None and not isinstance(revoked.value, bool):
        problems.add(revoked.where, "must be true or false")
    return ClientKey(
        name=name,
        id=made.get("id"),
        hash=Secret(made["hash"]) if "hash" in made else None,
        models=read_models(fields["models"], problems) if "models" in fields else (),
        expires=read_expiry(fields["expires"], problems) if "expires" in fields else None,
        revoked=revoked is not None and revoked.value is True,
        limits=read_limits(fields, problems),
    )


def _document(text: str) -> dict[str, object]:
    return tomllib.loads(text.removeprefix("\ufeff"))


def _current(path: Path, *, missing_ok: bool = False) -> tuple[str, tuple[ClientKey, ...]]:
    """The text of the file and its keys. Raises ConfigError with all that is wrong with it."""
    if missing_ok and not path.exists():
        return "", ()
    problems = Problems()
    keys = read_key_file(path, problems, [])
    if problems.lines:
        raise ConfigError(tuple(problems.lines))
    return path.read_text("utf-8-sig"), keys


def _toml(value: object) -> str:
    """A string, a list of strings, a number or a time. What JSON writes of the first three is TOML too."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime.datetime) else json.dumps(value)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among those who change the file; waits for its turn."""
    directory = os.open(path.resolve().parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _replace(path: Path, text: str, meant: dict[str, object]) -> None:
    """Put ``text`` in the place of the file, if it says what is ``meant``: a reader sees the old or the new one."""
    try:
        right = _document(text) == meant
    except ValueError:
        right = False
    if not right:
        raise ConfigError((f"{path}: is written in a way that this command cannot change: change it by hand",))
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
