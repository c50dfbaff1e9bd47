"""Client keys: creating one, and finding the one that a client has sent.

A key of the key file is ``sk-zto-ID-SECRET``: the public id finds the entry, the secret is 192 random bits. The file
holds a BLAKE2b hash of the whole key, keyed with 128 random bits of the entry. A fast hash is enough for random
secrets; ``docs/decisions/0021-client-keys.md`` has the reasons.

DEFAULT_KEY and API_KEYS are chosen by operators and may be guessable. They are looked up by a hash with a random key of
the process, so that the time of a lookup does not depend on a prefix that the client chooses.
"""

import hmac
import logging
import os
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from ztoapi.config.keyfile import read_key_file
from ztoapi.config.model import ClientKey, Config
from ztoapi.config.sources import Problems

__all__ = ["KeyRing", "NewKey", "new_key"]

_PREFIX: Final = b"sk-zto-"
"""Identifies the key to scanners for leaked secrets; some clients require ``sk-``."""
_ID_BYTES: Final = 6
_ID_START: Final = 7
_ID_END: Final = _ID_START + 2 * _ID_BYTES
_SECRET_BYTES: Final = 24
_SALT_BYTES: Final = 16
_DIGEST_BYTES: Final = 32

_log = logging.getLogger(__name__)


class NewKey(NamedTuple):
    """A new key: ``text`` is for its owner, the rest for the key file."""

    text: str
    id: str
    hash: str


class _Entry(NamedTuple):
    salt: bytes
    digest: bytes
    key: ClientKey | None


class _Version(NamedTuple):
    """Changes with the contents of a file. The default is that of a missing one."""

    device: int = 0
    inode: int = 0
    size: int = 0
    modified_ns: int = 0
    changed_ns: int = 0


def new_key() -> NewKey:
    """Creates a random key."""
    id = secrets.token_hex(_ID_BYTES)
    text = f"{_PREFIX.decode('ascii')}{id}-{secrets.token_hex(_SECRET_BYTES)}"
    salt = secrets.token_bytes(_SALT_BYTES)
    return NewKey(text, id, f"blake2b:{salt.hex()}:{_digest(text.encode('ascii'), salt).hex()}")


class KeyRing:
    """The valid client keys: those of ``config``, and those of the key file after :meth:`reload`."""

    def __init__(self, config: Config) -> None:
        entries = [] if config.default_key is None else [("default", config.default_key)]
        entries += [(f"api-key-{number}", secret) for number, secret in enumerate(config.api_keys, 1)]
        self._path = config.key_file
        self._seen: _Version | None = None
        self._read: _Version | None = None
        self._keys: tuple[ClientKey, ...] | None = None
        """Those of the file; None if it was invalid at the last look."""
        self.reported: list[str] = []
        """Problems of the last reload, which :meth:`watch` does not log again."""
        self._salt = secrets.token_bytes(_SALT_BYTES)
        self._by_digest: dict[bytes, ClientKey] = {}
        for name, secret in entries:
            self._by_digest.setdefault(_digest(secret.encode(), self._salt), ClientKey(name=name))
        self._no_entry = _Entry(secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_DIGEST_BYTES), None)
        self.required = bool(entries) or config.key_file is not None
        """Whether requests need a key. With a key file they do, even if it is empty."""
        self.generation = 0
        """Changes whenever the keys change."""
        self._replace(config.keys)

    def __repr__(self) -> str:
        return f"<KeyRing {', '.join(self.by_name)}>"

    def find(self, key: bytes) -> ClientKey | None:
        """Returns the entry of the key that a client has sent, also if revoked or expired; None if it is unknown.

        Hashes the key and compares once, in a time that does not depend on the valid keys.
        """
        if key.startswith(_PREFIX):
            entry = self._hashed.get(key[_ID_START:_ID_END], self._no_entry)
            digest = blake2b(key, key=entry.salt, digest_size=_DIGEST_BYTES).digest()
            if hmac.compare_digest(digest, entry.digest):
                return entry.key
        return self._by_digest.get(_digest(key, self._salt))

    def of_file(self) -> tuple[ClientKey, ...]:
        """Returns the keys of the key file that are in force."""
        return tuple(key for key in self.by_name.values() if key.id is not None)

    def reload(self) -> bool:
        """Reads the key file again; returns whether it was valid. Problems are logged, and the current keys kept."""
        if self._path is None:
            return False
        self._read = _version(self._path)
        keys = self._valid_keys(self._path)
        if keys is None:
            return False
        self._take_over(keys, self._path)
        return True

    def watch(self) -> bool:
        """Reads the key file if it has changed; returns whether the keys are others now.

        Call it at intervals. A change is read at the second call that finds it, so that a file is not read while a
        program writes it.
        """
        if self._path is None:
            return False
        before, self._seen = self._seen, _version(self._path)
        if self._seen == self._read or self._seen != before:
            return False
        self._read = self._seen
        keys = self._valid_keys(self._path)
        if keys is None:
            # A worker may have read this file in place of the one before: the next valid one counts as changed.
            self._keys = None
            return False
        if keys == self._keys:
            return False
        self._take_over(keys, self._path)
        return True

    def _valid_keys(self, path: str) -> tuple[ClientKey, ...] | None:
        """Returns the keys of the file; None, with a message, if it is invalid."""
        problems, warnings = Problems(), list[str]()
        keys = read_key_file(Path(path), problems, warnings)
        if problems.lines:
            if not {*problems.lines} <= {*self.reported}:
                _log.error("invalid key file; keeping the current keys: %s", "; ".join(problems.lines))
            return None
        self.reported = []
        for line in warnings:
            _log.warning("%s", line)
        return keys

    def _take_over(self, keys: tuple[ClientKey, ...], path: str) -> None:
        self._replace(keys)
        _log.info("loaded %d client keys from %s", len(keys), path)

    def _replace(self, keys: tuple[ClientKey, ...]) -> None:
        hashed: dict[bytes, _Entry] = {}
        for key in keys:
            assert key.id is not None and key.hash is not None
            _, salt, digest = key.hash.reveal().split(":")
            hashed[key.id.encode("ascii")] = _Entry(bytes.fromhex(salt), bytes.fromhex(digest), key)
        self._keys = keys
        self._hashed = hashed
        self.by_name = {key.name: key for key in (*self._by_digest.values(), *keys)}
        """The keys by their names."""
        self.generation += 1


def _version(path: str) -> _Version:
    try:
        status = os.stat(path)
    except OSError:
        return _Version()
    return _Version(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _digest(key: bytes, salt: bytes) -> bytes:
    return blake2b(key, key=salt, digest_size=_DIGEST_BYTES).digest()
