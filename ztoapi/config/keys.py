"""Client keys: making one, and finding the one that a client has sent.

A key of the key file is ``sk-zto-ID-SECRET``: the id is public and finds the entry, the secret is 192 random bits. The
file holds a BLAKE2b hash of the whole key, keyed with 128 random bits of the entry's own. That is enough for random
secrets; ``docs/decisions/0021-client-keys.md`` says why.

DEFAULT_KEY and API_KEYS may be words that people chose, and stand in the environment as they are. They are found by
their hash under a key that each process draws for itself: nobody can choose what comes near to which entry.
"""

import hmac
import logging
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Final, NamedTuple

from ztoapi.config.keyfile import read_key_file
from ztoapi.config.model import ClientKey, Config
from ztoapi.config.sources import Problems

__all__ = ["KeyRing", "NewKey", "new_key"]

_PREFIX: Final = b"sk-zto-"
"""Tells scanners for leaked secrets what they found; ``sk-``, because some clients ask for it."""
_ID_BYTES: Final = 6
_ID_START: Final = 7
_ID_END: Final = _ID_START + 2 * _ID_BYTES
_SECRET_BYTES: Final = 24
_SALT_BYTES: Final = 16
_DIGEST_BYTES: Final = 32

_log = logging.getLogger(__name__)


class NewKey(NamedTuple):
    """A key that has just been made: ``text`` is for its owner, the rest for the key file."""

    text: str
    id: str
    hash: str


class _Entry(NamedTuple):
    salt: bytes
    digest: bytes
    key: ClientKey | None


def new_key() -> NewKey:
    """Draw a key."""
    id = secrets.token_hex(_ID_BYTES)
    text = f"{_PREFIX.decode('ascii')}{id}-{secrets.token_hex(_SECRET_BYTES)}"
    salt = secrets.token_bytes(_SALT_BYTES)
    return NewKey(text, id, f"blake2b:{salt.hex()}:{_digest(text.encode('ascii'), salt).hex()}")


class KeyRing:
    """The client keys in force: those of ``config``, and whatever its key file says after :meth:`reload`."""

    def __init__(self, config: Config) -> None:
        named = [] if config.default_key is None else [("default", config.default_key)]
        named += [(f"api-key-{number}", secret) for number, secret in enumerate(config.api_keys, 1)]
        self._path = config.key_file
        self._salt = secrets.token_bytes(_SALT_BYTES)
        self._chosen: dict[bytes, ClientKey] = {}
        for name, secret in named:
            self._chosen.setdefault(_digest(secret.encode(), self._salt), ClientKey(name=name))
        self._nobody = _Entry(secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_DIGEST_BYTES), None)
        self.required = bool(named) or config.key_file is not None
        """Whether a key is asked for. A key file asks for one even if it is empty."""
        self._take(config.keys)

    def __repr__(self) -> str:
        return f"<KeyRing {', '.join(self._named)}>"

    def find(self, given: bytes) -> ClientKey | None:
        """The key that a client has sent, revoked and expired ones too; None if it is none.

        Hashes whatever was given and compares once, in a time that does not depend on which keys there are.
        """
        if given.startswith(_PREFIX):
            entry = self._hashed.get(given[_ID_START:_ID_END], self._nobody)
            found = blake2b(given, key=entry.salt, digest_size=_DIGEST_BYTES)
            if hmac.compare_digest(found.digest(), entry.digest):
                return entry.key
        return self._chosen.get(_digest(given, self._salt))

    def named(self, name: str) -> ClientKey | None:
        """The key of this name."""
        return self._named.get(name)

    def reload(self) -> bool:
        """Read the key file again; what is wrong with it is logged, and the keys in force stay as they were. Returns
        whether they are the file's now."""
        if self._path is None:
            return False
        problems, warnings = Problems(), list[str]()
        keys = read_key_file(Path(self._path), problems, warnings)
        if problems.lines:
            for line in problems.lines:
                _log.error("%s", line)
            _log.error("the key file is not used as it is now: the keys in force stay as they were")
            return False
        for line in warnings:
            _log.warning("%s", line)
        self._take(keys)
        _log.info("%d client keys read from %s", len(keys), self._path)
        return True

    def _take(self, keys: tuple[ClientKey, ...]) -> None:
        hashed: dict[bytes, _Entry] = {}
        for key in keys:
            assert key.id is not None and key.hash is not None
            _, salt, digest = key.hash.reveal().split(":")
            hashed[key.id.encode("ascii")] = _Entry(bytes.fromhex(salt), bytes.fromhex(digest), key)
        self._hashed = hashed
        self._named = {key.name: key for key in (*self._chosen.values(), *keys)}


def _digest(key: bytes, salt: bytes) -> bytes:
    return blake2b(key, key=salt, digest_size=_DIGEST_BYTES).digest()
