"""``ztoapi check``: validates the configuration, and prints the values that are set, with their sources.

It imports the gateway, which takes most of its time: an upgrade relies on it to find a version that is not complete
(:mod:`ztoapi.server.upgrade`).
"""

import argparse
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ztoapi.cli.live import LiveCheck, Step
from ztoapi.cli.options import host_fault, load_config
from ztoapi.cli.serve import available, shortage_of_files
from ztoapi.config.host import raise_open_files
from ztoapi.config.listen import listen_addresses
from ztoapi.config.load import Loaded
from ztoapi.config.model import Config, Credential, Secret
from ztoapi.server.context import ServerContext

__all__ = ["fingerprint", "run"]

_NAMED = {"platforms": "id", "routes": "public", "keys": "name"}
"""Lists whose entries have a name, with the field of the name; ``Loaded.sources`` uses it in paths."""
_DIGITS = 8


def run(args: argparse.Namespace) -> int:
    """Prints the verdict, the warnings and the configuration, or tests the upstreams. Returns 0, or 1 if a test has
    failed. Raises ConfigError with all problems."""
    loaded = available(load_config(args))
    warnings = [*loaded.config.warnings, *_host_warning(loaded)]
    if args.json:
        return _print_json(loaded, warnings, live=args.live)
    print("the configuration is valid")
    for warning in warnings:
        print(f"warning: {warning}")
    if args.live:
        failed = False
        for step in _steps(loaded.config):
            print(f"{step.state:<7}  {step.subject}: {step.text}", flush=True)
            failed = failed or step.state == "FAILED"
        return 1 if failed else 0
    print("\n".join(_every_value(loaded) if args.all else _summary(loaded)))
    return 0


def _print_json(loaded: Loaded, warnings: Sequence[str], *, live: bool) -> int:
    config: dict[str, object] = msgspec.to_builtins(loaded.config, enc_hook=_mask)
    sources = {path: _source(path, loaded.sources) for path, _ in _rows(config)}
    document: dict[str, object] = {"config": config | {"warnings": warnings}, "sources": sources}
    steps = list(_steps(loaded.config)) if live else []
    if live:
        document["live"] = [step._asdict() for step in steps]
    print(json.dumps(document, indent=2))
    return 1 if any(step.state == "FAILED" for step in steps) else 0


def _steps(config: Config) -> Iterator[Step]:
    """Yields the results of the tests: of the limit on open files, then of each upstream."""
    limit = raise_open_files()
    shortage = shortage_of_files(config, limit)
    yield Step("ok" if shortage is None else "warning", "open files", shortage or f"the limit is {limit}")
    yield from LiveCheck(config, os.environ, ServerContext.wall_clock).steps()


def fingerprint(secret: Secret) -> str:
    """Returns the first digits of a secret's hash, which identify it to a reader that has it."""
    return f"sha256:{hashlib.sha256(secret.encode()).hexdigest()[:_DIGITS]}"


def _host_warning(loaded: Loaded) -> Iterator[str]:
    """Yields a warning if this host does not have the address to listen on: the gateway may run on another one."""
    server = loaded.config.server
    if not server.listen and server.fd is None and (fault := host_fault(server.host)) is not None:
        yield f"{loaded.sources.get('server.host', 'server.host')}: {server.host}: {fault}"


def _every_value(loaded: Loaded) -> Iterator[str]:
    for path, value in _rows(msgspec.to_builtins(loaded.config, enc_hook=_mask)):
        yield f"{path} = {json.dumps(value)}  # {_source(path, loaded.sources)}"


def _summary(loaded: Loaded) -> Iterator[str]:
    """Yields the addresses, the destination of each model, the credentials, the keys, and the values that are set."""
    config = loaded.config
    yield f"\nlisten: {', '.join(map(str, listen_addresses(config.server)))}"
    files = raise_open_files()
    yield f"requests in flight: up to {config.server.in_flight_limit(files)} in a worker, which may open {files} files"
    yield from _models(config)
    yield "credentials:"
    for platform in config.platforms:
        source = _source(f"platforms.{platform.id}.credentials", loaded.sources)
        for credential in platform.credentials:
            yield f"  {platform.id}/{credential.name}  {', '.join(_properties(credential))}  # {source}"
        if not platform.credentials:
            yield f"  {platform.id}: none"
    yield from _keys(loaded)
    lines = list(_set(loaded))
    yield "set:" if lines else "set: nothing"
    yield from lines


def _set(loaded: Loaded) -> Iterator[str]:
    """Yields the values that differ from the defaults. The example file sets every option to its default."""
    defaults = dict(_rows(msgspec.to_builtins(Config())))
    for path, value in _rows(msgspec.to_builtins(loaded.config, enc_hook=fingerprint)):
        if path.partition(".")[0] in _NAMED or (source := _source(path, loaded.sources)) == "default":
            continue
        if path not in defaults or value != defaults[path]:
            yield f"  {path} = {json.dumps(value)}  # {source}"


def _properties(credential: Credential) -> Iterator[str]:
    yield "no token" if credential.token is None else fingerprint(credential.token)
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
        yield f"  {name}  {fingerprint(key)}  # {source}"
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
