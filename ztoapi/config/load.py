"""Reads the whole configuration; reports everything that is wrong with it at once."""

import ipaddress
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from ztoapi.config import platforms, redis_url
from ztoapi.config.host import is_loopback, usable_cores
from ztoapi.config.keyfile import read_key_file
from ztoapi.config.model import (
    CacheConfig,
    ClientKey,
    Config,
    LimitsConfig,
    Secret,
    ServerConfig,
    TrafficLimits,
    UpstreamConfig,
)
from ztoapi.config.sources import Found, Problems, Sources, read_sources
from ztoapi.config.values import convert, read_list, read_text
from ztoapi.errors import ConfigError
from ztoapi.wire.address import read_network

__all__ = ["OPTIONS", "Loaded", "find_key_file", "load", "variables_of"]

_SHORT_NAMES: Final = {
    "server.host": "HOST",
    "server.port": "PORT",
    "server.workers": "WORKERS",
    "server.drain_seconds": "DRAIN_SECONDS",
    "limits.redis_url": "REDIS_URL",
}
_SCOPES: Final = {"global": "everybody", "key": "key", "model": "model", "address": "address"}
"""The tables under ``limits``, and what LimitsConfig calls them: ``global`` is a word of Python's."""
OPTIONS: Final[Mapping[str, tuple[type[msgspec.Struct], tuple[str, ...]]]] = {
    "server": (ServerConfig, ServerConfig.__struct_fields__),
    "upstream": (UpstreamConfig, UpstreamConfig.__struct_fields__),
    "limits": (LimitsConfig, ("redis_url", "gateways", "on_store_error", "ietf_headers")),
    "cache": (CacheConfig, CacheConfig.__struct_fields__),
    **{f"limits.{scope}": (TrafficLimits, TrafficLimits.__struct_fields__) for scope in _SCOPES},
}
"""The tables of options, and the options in each."""
_TOP_LEVEL: Final = {
    "default_stream": "DEFAULT_STREAM",
    "enable_thinking": "ENABLE_THINKING",
    "think_mode": "THINK_TAGS_MODE",
    "zread_repository": "ZREAD_REPOSITORY",
    "dashboard_enabled": "DASHBOARD_ENABLED",
    "history_file": "ZTOAPI_HISTORY_FILE",
    "access_log": "ZTOAPI_ACCESS_LOG",
    "access_log_format": "ZTOAPI_ACCESS_LOG_FORMAT",
    "otlp_endpoint": "OTEL_EXPORTER_OTLP_ENDPOINT",
    "debug": "DEBUG_MODE",
    "key_file": "ZTOAPI_KEY_FILE",
    "cors_origins": "ZTOAPI_CORS_ORIGINS",
}
_KEYS: Final = {"default_key": "DEFAULT_KEY", "api_keys": "API_KEYS", "admin_key": "ADMIN_KEY"}
_PLACEHOLDERS: Final = frozenset(
    (
        "sk-your-key",
        "sk-your-key-here",
        "sk-your-api-key",
        "sk-your-api-key-here",
        "your-key",
        "your-key-here",
        "your-api-key",
        "your-api-key-here",
        "a-key-for-your-clients",
        "changeme",
        "change-me",
        "sk-xxx",
        "sk-123456",
        "123456",
        "admin123",
    )
)
"""Keys that stand in examples, the first one was the default of the project before this one: known to everybody."""
_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HOST = re.compile(r"[^\s/@\[\]]+")
_ENDPOINT = re.compile(r"https?://[^\s?#]+")
_ORIGIN = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9.:_\[\]-]+")


class Loaded(NamedTuple):
    """The configuration, and for each value of it that is no default where it came from.

    ``sources`` is keyed by the value's path: ``server.port``, ``api_keys``, ``platforms.zai.credentials``,
    ``routes.glm-4.6``.
    """

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
    values = {table: _read_fields(kind, table, fields, sources, problems) for table, (kind, fields) in OPTIONS.items()}
    server, upstream = ServerConfig(**values["server"]), UpstreamConfig(**values["upstream"])
    for scope, field in _SCOPES.items():
        values["limits"][field] = TrafficLimits(**values[f"limits.{scope}"])
    top = _read_fields(Config, "", _TOP_LEVEL, sources, problems)
    _check_values(server, upstream, values, top, directory, sources, problems)
    routing = platforms.read_platforms(sources, problems, allow_coding=upstream.allow_coding_endpoint)
    warnings = list(routing.warnings)
    chosen = {key: _chosen_keys(sources, key, server.host, problems, warnings) for key in _KEYS}
    keys: tuple[ClientKey, ...] = ()
    if top.get("access_log", "off") not in ("off", "stdout", "stderr"):
        top["access_log"] = str(directory / top["access_log"])
    if "key_file" in top:
        top["key_file"] = str(directory / top["key_file"])
        keys = _filed_keys(Path(top["key_file"]), sources, problems, warnings)
    elif not chosen["default_key"] and not chosen["api_keys"] and not is_loopback(server.host):
        problems.add(
            "DEFAULT_KEY (not set)",
            f"is needed: {server.host} is not loopback, and without a key anybody could use the tokens; "
            "set it, name a key file (ZTOAPI_KEY_FILE), or listen on 127.0.0.1",
        )
    if {*chosen["admin_key"]} & {*chosen["default_key"], *chosen["api_keys"]}:
        problems.add(
            "ADMIN_KEY", "is a client key too, so that every client could see what operators see: choose another"
        )
    if problems.lines:
        raise ConfigError(tuple(problems.lines))
    config = Config(
        server=server,
        upstream=upstream,
        limits=LimitsConfig(**values["limits"]),
        cache=CacheConfig(**values["cache"]),
        default_key=next(iter(chosen["default_key"]), None),
        api_keys=chosen["api_keys"],
        admin_key=next(iter(chosen["admin_key"]), None),
        keys=keys,
        platforms=routing.platforms,
        default_platform=routing.default_platform,
        routes=routing.routes,
        fallbacks=routing.fallbacks,
        model_name=routing.model_name,
        warnings=tuple(warnings),
        **top,
    )
    return Loaded(config, sources.origins())


def find_key_file(
    arguments: Mapping[str, object], *, environ: Mapping[str, str], directory: Path, config_file: Path | None = None
) -> Path:
    """Where the key file is, or is to be, by the same sources as in :func:`load`; nothing else need be right.

    Raises ConfigError.
    """
    problems = Problems()
    sources = read_sources(arguments, environ=environ, directory=directory, config_file=config_file, problems=problems)
    found = sources.find("key_file", _TOP_LEVEL["key_file"])
    if found is None:
        problems.add("key_file (not set)", "name the key file: --key-file FILE, ZTOAPI_KEY_FILE, or in ztoapi.toml")
    name = None if found is None else read_text(found, problems)
    if name is None or problems.lines:
        raise ConfigError(tuple(problems.lines))
    return directory / name


def variables_of(struct: str, field: str) -> tuple[str, ...]:
    """The environment variables of an option of ``struct`` (a table of OPTIONS, or empty), the first one wins."""
    if not struct:
        return (_TOP_LEVEL[field],)
    # What is in [cache] is called enabled, shared, redis: too little by itself.
    scope = struct if struct == "cache" else struct.partition(".")[2]
    own = f"ZTOAPI_{scope}_{field}".upper() if scope else f"ZTOAPI_{field.upper()}"
    short = _SHORT_NAMES.get(f"{struct}.{field}")
    return (own,) if short is None else (own, short)


def _check_names(sources: Sources, problems: Problems) -> None:
    keys = [*_TOP_LEVEL, *_KEYS, *platforms.KEYS, *platforms.TABLES]
    variables = [*_TOP_LEVEL.values(), *_KEYS.values(), *platforms.VARIABLES]
    for table, (_, fields) in OPTIONS.items():
        for field in fields:
            keys.append(f"{table}.{field}")
            variables += variables_of(table, field)
    sources.check_names(keys, variables, problems)


def _read_fields(
    kind: type[msgspec.Struct], struct: str, fields: Iterable[str], sources: Sources, problems: Problems
) -> dict[str, typing.Any]:
    """The options that are set and right."""
    hints = typing.get_type_hints(kind)
    values: dict[str, typing.Any] = {}
    for field in fields:
        path = f"{struct}.{field}" if struct else field
        found = sources.find(path, *variables_of(struct, field))
        if found is None:
            continue
        sources.used(path, found)
        if field == "workers" and str(found.value).strip().lower() == "auto":
            values[field] = usable_cores()
            continue
        value = convert(found, field, hints[field], problems)
        if value is not None:
            values[field] = value
    return values


def _check_values(
    server: ServerConfig,
    upstream: UpstreamConfig,
    values: Mapping[str, Mapping[str, typing.Any]],
    top: Mapping[str, typing.Any],
    directory: Path,
    sources: Sources,
    problems: Problems,
) -> None:
    """What a type cannot say."""
    origins = sources.origins()
    limits = values["limits"]
    if values["cache"].get("redis") and "redis_url" not in limits:
        problems.add(origins["cache.redis"], "needs a Redis: set REDIS_URL, or limits.redis_url")
    if upstream.ca_file is not None and not (directory / upstream.ca_file).is_file():
        problems.add(origins["upstream.ca_file"], "there is no such file: name a file of certificates (PEM)")
    if upstream.session_header is not None and not _HEADER.fullmatch(upstream.session_header):
        problems.add(origins["upstream.session_header"], "must be the name of a header, such as x-session-id")
    if not _is_host(server.host):
        problems.add(
            origins["server.host"],
            "must be one address or name, without a scheme, brackets or a port, such as 127.0.0.1 or ::1",
        )
    if not all(_is_network(network) for network in server.trusted_proxies):
        problems.add(origins["server.trusted_proxies"], "each must be an address or a network such as 10.0.0.0/8")
    if "redis_url" in limits and (fault := redis_url.fault_of(limits["redis_url"].reveal())) is not None:
        problems.add(origins["limits.redis_url"], fault)
    for scope, field in _SCOPES.items():
        one: TrafficLimits = limits[field]
        if one.burst is not None and one.requests_per_second is None and one.requests_per_minute is None:
            problems.add(
                origins[f"limits.{scope}.burst"],
                "needs requests_per_second or requests_per_minute: it is a part of them",
            )
    if not _REPOSITORY.fullmatch(top.get("zread_repository", "owner/name")):
        problems.add(origins["zread_repository"], "must be owner/name, such as vllm-project/vllm")
    if not _ENDPOINT.fullmatch(top.get("otlp_endpoint", "http://localhost:4318")):
        problems.add(origins["otlp_endpoint"], "must be a URL such as http://localhost:4318 (OTLP over HTTP, not gRPC)")
    if not all(_ORIGIN.fullmatch(origin) for origin in top.get("cors_origins", ())):
        problems.add(origins["cors_origins"], "each must be * or scheme://host[:port], without a path or a last slash")


def _is_host(text: str) -> bool:
    """Whether ``text`` has the form of an address or a name; whether it resolves shows when it is bound."""
    if ":" not in text:
        return _HOST.fullmatch(text) is not None
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_network(text: str) -> bool:
    try:
        read_network(text)
    except ValueError:
        return False
    return True


def _chosen_keys(sources: Sources, key: str, host: str, problems: Problems, warnings: list[str]) -> tuple[Secret, ...]:
    """DEFAULT_KEY, API_KEYS or ADMIN_KEY; refuses what others may know where they can connect (defect 12)."""
    found = sources.find(key, _KEYS[key])
    if found is None:
        return ()
    sources.used(key, found)
    keys = read_list(found, problems)
    if any(not one.isascii() or not one.isprintable() or " " in one for one in keys):
        problems.add(found.where, "a key must be printable ASCII without blanks: it travels in a header")
    if key == "default_key" and len(keys) > 1:
        problems.add(found.where, "is one key; several, with | between them, go into API_KEYS")
    if key == "admin_key" and len(keys) > 1:
        problems.add(found.where, "is one key, without a | in it")
    if any(one.lower().replace("_", "-") in _PLACEHOLDERS for one in keys):
        if is_loopback(host):
            warnings.append(f"{found.where}: this key stands in examples; choose another before others can connect")
        else:
            problems.add(
                found.where, f"this key stands in examples, and {host} is not loopback: choose one of your own"
            )
    return tuple(Secret(one) for one in keys)


def _filed_keys(path: Path, sources: Sources, problems: Problems, warnings: list[str]) -> tuple[ClientKey, ...]:
    keys = read_key_file(path, problems, warnings)
    for key in keys:
        sources.used(f"keys.{key.name}", Found(None, key.name, str(path)))
    return keys
