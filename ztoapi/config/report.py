"""The configuration as text, for ``ztoapi check`` and the dashboard: the values, their sources, and fingerprints of
secrets."""

import hashlib
import json
from collections.abc import Iterator, Mapping

import msgspec

from ztoapi.config.listen import Listen, listen_addresses
from ztoapi.config.load import Loaded
from ztoapi.config.model import Config, Credential, Secret

__all__ = ["every_value", "masked", "summary"]

_NAMED = {"platforms": "id", "routes": "public", "keys": "name"}
"""Lists whose entries have a name, with the field of the name; ``Loaded.sources`` uses it in paths."""
_DIGITS = 8


def masked(loaded: Loaded) -> tuple[dict[str, object], dict[str, str]]:
    """Returns the configuration with masked secrets, and the source of each value."""
    config: dict[str, object] = msgspec.to_builtins(loaded.config, enc_hook=_mask)
    return config, {path: _source(path, loaded.sources) for path, _ in _rows(config)}


def _fingerprint(secret: Secret) -> str:
    """Returns the first digits of a secret's hash, which identify it to a reader that has it."""
    return f"sha256:{hashlib.sha256(secret.encode()).hexdigest()[:_DIGITS]}"


def every_value(loaded: Loaded) -> Iterator[str]:
    """Yields each value with its source; secrets are masked."""
    for path, value in _rows(msgspec.to_builtins(loaded.config, enc_hook=_mask)):
        yield f"{path} = {json.dumps(value)}  # {_source(path, loaded.sources)}"


def summary(loaded: Loaded, files: int) -> Iterator[str]:
    """Yields the addresses, the destination of each model, the credentials, the keys, and the values that are set.
    ``files`` is the limit on open files."""
    config = loaded.config
    yield f"listen: {', '.join(map(_words, listen_addresses(config.server)))}"
    yield f"requests in flight: up to {config.server.in_flight_limit(files)} in a worker, which may open {files} files"
    yield from _models(config)
    yield "credentials:"
    for platform in config.platforms:
        for credential in platform.credentials:
            source = _source(f"platforms.{platform.id}.credentials.{credential.name}", loaded.sources)
            yield f"  {platform.id}/{credential.name}  {', '.join(_properties(credential))}  # {source}"
        if not platform.credentials:
            yield f"  {platform.id}: none"
    yield from _keys(loaded)
    lines = list(_set(loaded))
    yield "other options:" if lines else "other options: none set"
    yield from lines


def _words(address: Listen) -> str:
    uses = {"tls": address.tls, "proxy": address.proxy, "admin": address.admin}
    return " ".join((str(address), *(word for word, used in uses.items() if used)))


def _set(loaded: Loaded) -> Iterator[str]:
    """Yields the values that differ from the defaults. The example file sets every option to its default."""
    defaults = dict(_rows(msgspec.to_builtins(Config())))
    for path, value in _rows(msgspec.to_builtins(loaded.config, enc_hook=_fingerprint)):
        if path.partition(".")[0] in _NAMED or (source := _source(path, loaded.sources)) == "default":
            continue
        if path not in defaults or value != defaults[path]:
            yield f"  {path} = {json.dumps(value)}  # {source}"


def _properties(credential: Credential) -> Iterator[str]:
    yield "no token" if credential.token is None else _fingerprint(credential.token)
    if credential.weight != 1:
        yield f"weight {credential.weight:g}"
    if credential.max_in_flight is not None:
        yield f"max_in_flight {credential.max_in_flight}"
    for model, cap in credential.max_in_flight_per_model.items():
        yield f"max_in_flight of {model} {cap}"


def _models(config: Config) -> Iterator[str]:
    urls = {platform.id: platform.chat_url for platform in config.platforms}
    yield "models:"
    for route in config.routes:
        yield f"  {route.public} -> {route.platform}:{route.upstream} at {urls.get(route.platform)}"
        for other in config.fallbacks.get(route.public.lower(), ()):
            yield f"    if unavailable: {other}"


def _keys(loaded: Loaded) -> Iterator[str]:
    config = loaded.config
    clients = [] if config.default_key is None else [("default", config.default_key)]
    clients += [(f"api-key-{number}", key) for number, key in enumerate(config.api_keys, 1)]
    yield "client keys:" if clients or config.keys else "client keys: none, so only this host is served"
    for name, key in clients:
        source = _source("default_key" if name == "default" else "api_keys", loaded.sources)
        yield f"  {name}  {_fingerprint(key)}  # {source}"
    for entry in config.keys:
        source = _source(f"keys.{entry.name}", loaded.sources)
        yield f"  {entry.name}  {'revoked' if entry.revoked else entry.id}  # {source}"


def _mask(value: object) -> str:
    assert isinstance(value, Secret)
    return "***"


def _rows(config: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yields each value with its path."""
    for name, value in config.items():
        if name in _NAMED:
            assert isinstance(value, list | tuple)
            for entry in value:
                yield from _entries(f"{name}.{entry[_NAMED[name]]}", entry, _NAMED[name])
        elif isinstance(value, dict):
            yield from _entries(name, value, "")
        elif name != "warnings":
            yield name, value


def _entries(path: str, entry: dict[str, object], name: str) -> Iterator[tuple[str, object]]:
    for key, value in entry.items():
        if path == "limits" and isinstance(value, dict) and value:
            # A table in the file.
            yield from _entries(f"{path}.{key}", value, "")
        elif key != name:
            yield f"{path}.{key}", value


def _source(path: str, sources: dict[str, str]) -> str:
    """Returns the source recorded for a value or for its parent."""
    return sources.get(path) or sources.get(path.rpartition(".")[0]) or "default"
