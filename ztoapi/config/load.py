"""Reads the whole configuration; reports everything that is wrong with it at once."""

import ipaddress
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ztoapi.config import upstreams
from ztoapi.config.model import Config, Secret, ServerConfig, UpstreamConfig
from ztoapi.config.platform import usable_cores
from ztoapi.config.sources import Found, Problems, Sources, read_sources
from ztoapi.config.values import convert, split_list
from ztoapi.errors import ConfigError

__all__ = ["Loaded", "is_loopback", "load", "variables_of"]

_SHORT_NAMES: Final = {"host": "HOST", "port": "PORT", "workers": "WORKERS", "drain_seconds": "DRAIN_SECONDS"}
_TOP_LEVEL: Final = {
    "default_stream": "DEFAULT_STREAM",
    "enable_thinking": "ENABLE_THINKING",
    "think_mode": "THINK_TAGS_MODE",
    "zread_repository": "ZREAD_REPOSITORY",
    "dashboard_enabled": "DASHBOARD_ENABLED",
    "debug": "DEBUG_MODE",
    "cors_origins": "ZTOAPI_CORS_ORIGINS",
}
_KEYS: Final = {"default_key": "DEFAULT_KEY", "api_keys": "API_KEYS"}
_PLACEHOLDERS: Final = frozenset(("sk-your-key", "sk-your-api-key", "your-api-key", "your-key", "changeme", "sk-xxx"))
"""Keys that stand in examples, the first one was the default of the project before this one: known to everybody."""


class Loaded(NamedTuple):
    """The configuration, and for each option that was set where its value came from."""

    config: Config
    sources: dict[str, str]


def load(
    arguments: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    directory: Path,
    config_file: Path | None = None,
) -> Loaded:
    """Read all sources; ``arguments`` are command line options by name, None where not given.

    Raises ConfigError with every problem.
    """
    problems = Problems()
    sources = read_sources(arguments, environ=environ, directory=directory, config_file=config_file, problems=problems)
    _check_names(sources, problems)
    used: dict[str, str] = {}
    server = _read_struct(ServerConfig, "server", sources, problems, used)
    upstream = _read_struct(UpstreamConfig, "upstream", sources, problems, used)
    top = _read_fields(Config, _TOP_LEVEL, sources, problems, used)
    routing = upstreams.read_upstreams(sources, problems)
    warnings = list(routing.warnings)
    keys = _client_keys(sources, server, problems, warnings)
    if problems.lines:
        raise ConfigError(tuple(problems.lines))
    config = Config(
        server=server,
        upstream=upstream,
        api_keys=keys,
        platforms=routing.platforms,
        default_platform=routing.default_platform,
        routes=routing.routes,
        model_name=routing.model_name,
        warnings=tuple(warnings),
        **top,
    )
    return Loaded(config, used)


def variables_of(struct: str, field: str) -> tuple[str, ...]:
    """The environment variables of an option of ``struct`` (server, upstream, or empty), the first one wins."""
    if not struct:
        return (_TOP_LEVEL[field],)
    own = f"ZTOAPI_{field.upper()}"
    short = _SHORT_NAMES.get(field) if struct == "server" else None
    return (own,) if short is None else (own, short)


def is_loopback(host: str) -> bool:
    """Whether only this host can connect to a listener on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_names(sources: Sources, problems: Problems) -> None:
    keys = [*_TOP_LEVEL, *_KEYS, *upstreams.KEYS]
    variables = [*_TOP_LEVEL.values(), *_KEYS.values(), *upstreams.VARIABLES]
    for struct, kind in (("server", ServerConfig), ("upstream", UpstreamConfig)):
        for field in kind.__struct_fields__:
            keys.append(f"{struct}.{field}")
            variables += variables_of(struct, field)
    sources.check_names(keys, variables, problems)


S = typing.TypeVar("S", bound=msgspec.Struct)


def _read_struct(kind: type[S], name: str, sources: Sources, problems: Problems, used: dict[str, str]) -> S:
    hints = typing.get_type_hints(kind)
    values: dict[str, object] = {}
    for field in kind.__struct_fields__:
        found = sources.find(f"{name}.{field}", *variables_of(name, field))
        if found is None:
            continue
        if field == "workers" and str(found.value).lower() == "auto":
            found = found._replace(value=usable_cores())
        value = convert(found, field, hints[field], problems)
        if value is not None:
            values[field] = value
            used[f"{name}.{field}"] = found.source
    return kind(**values)


def _read_fields(
    kind: type[Config], variables: Mapping[str, str], sources: Sources, problems: Problems, used: dict[str, str]
) -> dict[str, typing.Any]:
    hints = typing.get_type_hints(kind)
    values: dict[str, typing.Any] = {}
    for field, variable in variables.items():
        found = sources.find(field, variable)
        if found is None:
            continue
        value = convert(found, field, hints[field], problems)
        if value is not None:
            values[field] = value
            used[field] = found.source
    return values


def _client_keys(sources: Sources, server: ServerConfig, problems: Problems, warnings: list[str]) -> tuple[Secret, ...]:
    found = [sources.find(key, variable) for key, variable in _KEYS.items()]
    values: list[str] = []
    for one in found:
        if one is not None:
            values += _key_list(one)
    placeholder = any(value.lower() in _PLACEHOLDERS for value in values)
    where = next((one.where for one in found if one is not None), "DEFAULT_KEY")
    if any(not value.isascii() for value in values):
        problems.add(where, "a key must be plain ASCII: it travels in a header")
    if is_loopback(server.host):
        if placeholder:
            warnings.append(f"{where}: this key stands in every example; choose another before others can connect")
    elif placeholder:
        problems.add(where, f"this key stands in every example, and {server.host} is not loopback: choose your own")
    elif not values:
        problems.add(where, f"is needed: {server.host} is not loopback, and without a key anybody could use the tokens")
    return tuple(Secret(value) for value in dict.fromkeys(values))


def _key_list(found: Found) -> tuple[str, ...]:
    value = found.value
    return tuple(map(str, value)) if isinstance(value, list) else split_list(str(value))
