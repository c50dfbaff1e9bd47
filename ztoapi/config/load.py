"""Reads the configuration from all sources, and reports all errors at once."""

import ipaddress
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from ztoapi.config import redis_url
from ztoapi.config.advice import PricedModels, advice
from ztoapi.config.catalogue import read_models
from ztoapi.config.certificates import tls_fault
from ztoapi.config.host import usable_cores
from ztoapi.config.keyfile import read_key_file
from ztoapi.config.listen import Listen, listen_addresses, read_listen
from ztoapi.config.model import (
    CacheConfig,
    ClaudeConfig,
    ClientKey,
    Config,
    KeyBudgets,
    LimitsConfig,
    PlatformSettings,
    ResponsesConfig,
    Secret,
    ServerConfig,
    TrafficLimits,
    UpstreamConfig,
)
from ztoapi.config.options import Declared, config_options
from ztoapi.config.platforms import read_platforms
from ztoapi.config.sources import Problems, Setting, Sources, read_sources
from ztoapi.config.values import convert, is_placeholder, read_text, secret_fault
from ztoapi.errors import ConfigError
from ztoapi.wire.address import read_network

__all__ = ["Loaded", "find_key_file", "load"]

_SCOPES: Final = ("global", "key", "model", "address")
_BY_PLATFORMS: Final = frozenset(("model_name", "fallbacks", *PlatformSettings.__struct_fields__))
"""Options that ``platforms.py`` reads."""
_BY_CATALOGUE: Final = frozenset(("models",))
"""Options that ``catalogue.py`` reads."""
_LEAST_WORKER_BYTES: Final = 67108864
"""The memory of a worker that has just started, and 20 MB for its requests."""
_PUBLISHED: Final = frozenset(("a-key-for-your-clients", "sk-123456", "123456", "admin123"))
"""Client keys of published examples, which an attacker tries first."""


class Loaded(NamedTuple):
    """The configuration, and the source of each value that is not a default.

    ``sources`` is keyed by the value's path: ``server.port``, ``api_keys``, ``platforms.zai.credentials``,
    ``routes.glm-5.3``.
    """

    config: Config
    sources: dict[str, str]


class _Values(NamedTuple):
    """The valid settings by table, and what else the checks need."""

    tables: Mapping[str, dict[str, Any]]
    sources: Sources
    problems: Problems
    warnings: list[str]
    directory: Path

    def origin(self, path: str) -> str:
        return self.sources.origins()[path]


def load(
    arguments: Mapping[str, object],
    *,
    environ: Mapping[str, str],
    directory: Path,
    config_file: Path | None = None,
    host_fault: Callable[[str], str | None] | None = None,
) -> Loaded:
    """Reads all sources; ``arguments`` are the values of the flags by option name, None where absent.

    ``host_fault`` returns the reason why this host cannot listen on an address, if that is to be checked.
    Raises ConfigError with all problems.
    """
    problems = Problems()
    sources = read_sources(arguments, environ=environ, directory=directory, config_file=config_file, problems=problems)
    sources.check_names(problems)
    sources.check_references(problems)
    values = _Values(_read_tables(sources, problems), sources, problems, [*sources.warnings], directory)
    top, server = values.tables[""], ServerConfig(**values.tables["server"])
    upstream = UpstreamConfig(**values.tables["upstream"])
    limits = _limits(values)
    _check_files(values, upstream)
    addresses = _check_addresses(values, server, host_fault)
    exposed = next((address for address in addresses if not address.local), None)
    _check_redis(values)
    _check_stored_responses(values, server.workers)
    _check_worker_memory(values, server.worker_max_memory_bytes)
    routing = read_platforms(sources, problems, allow_coding=upstream.allow_coding_endpoint)
    values.warnings.extend(routing.warnings)
    _check_keys(values, exposed)
    keys = _read_keys(values, exposed)
    models = read_models(sources, problems)
    if problems.lines:
        raise ConfigError(tuple(problems.lines))
    values.warnings.extend(advice(routing, upstream, sources.origins(), environ))
    config = Config(
        server=server,
        upstream=upstream,
        limits=limits,
        cache=CacheConfig(**values.tables["cache"]),
        responses=ResponsesConfig(**values.tables["responses"]),
        claude=ClaudeConfig(**values.tables["claude"]),
        keys=keys,
        platforms=routing.platforms,
        default_platform=routing.default_platform,
        routes=routing.routes,
        fallbacks=routing.fallbacks,
        model_name=routing.model_name,
        models=models,
        warnings=tuple(values.warnings),
        **top,
    )
    unpriced = PricedModels(config).advice(keys or [ClientKey(name="each client key")])
    config = msgspec.structs.replace(config, warnings=(*config.warnings, *unpriced))
    return Loaded(config, sources.origins())


def find_key_file(
    arguments: Mapping[str, object], *, environ: Mapping[str, str], directory: Path, config_file: Path | None = None
) -> tuple[Path, str]:
    """Returns the path of the key file, which may not exist yet, and the option that names it, with its source; other
    options are not checked. Raises ConfigError."""
    problems = Problems()
    sources = read_sources(arguments, environ=environ, directory=directory, config_file=config_file, problems=problems)
    setting = sources.find("key_file")
    if setting is None:
        problems.add("key_file (not set)", "name the key file: --key-file FILE, ZTOAPI_KEY_FILE, or in ztoapi.toml")
    name = None if setting is None else read_text(setting, problems)
    if setting is None or name is None or problems.lines:
        raise ConfigError(tuple(problems.lines))
    return directory / name, setting.where


def _read_tables(sources: Sources, problems: Problems) -> Mapping[str, dict[str, Any]]:
    """Returns the valid settings of :class:`Config` and its tables."""
    values: dict[str, dict[str, Any]] = defaultdict(dict)
    for option in config_options():
        setting = None if option.key in _BY_PLATFORMS | _BY_CATALOGUE else sources.find(option.key)
        if setting is None:
            continue
        sources.used(option.key, setting)
        value = _value(setting, option, problems)
        if value is not None:
            values[option.table][option.name] = value
    return values


def _value(setting: Setting, option: Declared, problems: Problems) -> object:
    if option.option.auto is not None and str(setting.value).strip().lower() == "auto":
        return usable_cores()
    return convert(setting, option, problems)


def _limits(values: _Values) -> LimitsConfig:
    for scope in _SCOPES:
        limits = TrafficLimits(**values.tables[f"limits.{scope}"])
        values.tables["limits"]["everybody" if scope == "global" else scope] = limits
        if limits.burst is not None and limits.requests_per_second is None and limits.requests_per_minute is None:
            values.problems.add(
                values.origin(f"limits.{scope}.burst"), "requires requests_per_second or requests_per_minute"
            )
    values.tables["limits"]["budget"] = KeyBudgets(**values.tables["limits.budget"])
    return LimitsConfig(**values.tables["limits"])


def _check_files(values: _Values, upstream: UpstreamConfig) -> None:
    top = values.tables[""]
    if upstream.ca_file is not None and (fault := _ca_file_fault(values.directory / upstream.ca_file)) is not None:
        values.problems.add(values.origin("upstream.ca_file"), f"{fault}: name a file of CA certificates (PEM)")
    if top.get("access_log", "off") not in ("off", "stdout", "stderr"):
        top["access_log"] = str(values.directory / top["access_log"])
    if "key_file" in top:
        top["key_file"] = str(values.directory / top["key_file"])


def _ca_file_fault(path: Path) -> str | None:
    """Returns the reason why the file cannot be used as a list of trusted certificates."""
    # The import takes 10 ms, and most configurations do not name a file.
    import ssl

    if path.is_dir():
        return "is a directory"
    if not path.is_file():
        return "file not found"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        return "contains no certificate, or a damaged one"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    # A list of revoked certificates can be loaded too.
    return None if context.cert_store_stats()["x509"] else "contains no certificate"


def _check_addresses(
    values: _Values, server: ServerConfig, host_fault: Callable[[str], str | None] | None
) -> tuple[Listen, ...]:
    """Returns the addresses to listen on."""
    if not server.listen and server.fd is None:
        _check_host(values, server.host, host_fault)
    if not all(_is_network(network) for network in server.trusted_proxies):
        values.problems.add(
            values.origin("server.trusted_proxies"), "each must be an address or a network such as 10.0.0.0/8"
        )
    addresses = []
    for entry in server.listen:
        try:
            addresses.append(read_listen(entry))
        except ValueError as error:
            values.problems.add(values.origin("server.listen"), f"{entry}: {error}")
    if len(addresses) != len(server.listen):
        return ()
    found = listen_addresses(server)
    _check_uses(values, server, found)
    return found


def _check_host(values: _Values, host: str, host_fault: Callable[[str], str | None] | None) -> None:
    if ":" in host and not _is_ipv6(host):
        values.problems.add(
            values.origin("server.host"),
            "must be one address or name, without a scheme, brackets or a port, such as 127.0.0.1 or ::1",
        )
    elif "host" in values.tables["server"] and host_fault and (fault := host_fault(host)):
        values.problems.add(values.origin("server.host"), fault)


def _check_uses(values: _Values, server: ServerConfig, addresses: tuple[Listen, ...]) -> None:
    """Checks that the options for the uses of ``addresses`` are set."""
    listen = values.origin("server.listen") if server.listen else ""
    if server.listen and server.fd is not None:
        values.problems.add(values.origin("server.fd"), "is not used with server.listen: add fd:N to it")
    if server.listen and all(address.admin for address in addresses):
        values.problems.add(listen, "all addresses have the word admin: add one for clients")
    if any(address.proxy and not address.path for address in addresses) and not server.trusted_proxies:
        values.problems.add(listen, "proxy requires server.trusted_proxies: name the addresses of the proxies")
    uses_tls = any(address.tls for address in addresses)
    if uses_tls and not server.tls_cert_files:
        values.problems.add(listen, "tls requires server.tls_cert_files: name a certificate chain (PEM)")
    if not uses_tls and server.tls_cert_files:
        values.problems.add(values.origin("server.tls_cert_files"), "no address in server.listen has the word tls")
    if server.tls_key_files and len(server.tls_key_files) != len(server.tls_cert_files):
        values.problems.add(
            values.origin("server.tls_key_files"),
            f"must have as many files as server.tls_cert_files ({len(server.tls_cert_files)})",
        )
    elif uses_tls and server.tls_cert_files and (fault := tls_fault(server)) is not None:
        values.problems.add(values.origin("server.tls_cert_files"), fault)


def _is_ipv6(text: str) -> bool:
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


def _check_redis(values: _Values) -> None:
    url = values.tables["limits"].get("redis_url")
    if url is not None and (fault := redis_url.fault_of(url.reveal())) is not None:
        values.problems.add(values.origin("limits.redis_url"), fault)
    if url is None and values.tables["cache"].get("redis"):
        values.problems.add(values.origin("cache.redis"), "requires Redis: set REDIS_URL, or limits.redis_url")


def _check_stored_responses(values: _Values, workers: int) -> None:
    store = values.tables["responses"].get("store")
    if store == "memory" and workers > 1:
        values.problems.add(
            values.origin("responses.store"),
            f"memory requires one worker, and there are {workers} ({values.origin('server.workers')}): a response "
            "would be found by the worker that stored it only. Use redis, or one worker",
        )
    if store == "redis" and "redis_url" not in values.tables["limits"]:
        values.problems.add(
            values.origin("responses.store"), "redis requires Redis: set REDIS_URL, or limits.redis_url"
        )


def _check_worker_memory(values: _Values, most: int) -> None:
    if 0 < most < _LEAST_WORKER_BYTES:
        values.problems.add(
            values.origin("server.worker_max_memory_bytes"),
            f"must be 0 or at least {_LEAST_WORKER_BYTES}: a worker that has just started uses 45 MB, and would be "
            "replaced again and again. Raise it, or set it to 0 for no limit",
        )


def _check_keys(values: _Values, exposed: Listen | None) -> None:
    """Checks DEFAULT_KEY, API_KEYS and ADMIN_KEY; a published key must not protect an address that others can reach."""
    top = values.tables[""]
    clients: tuple[Secret, ...] = (*_single(top, "default_key"), *top.get("api_keys", ()))
    for name, more in (("default_key", "separate several keys with | in API_KEYS"), ("admin_key", "remove the |")):
        if any("|" in key.reveal() for key in _single(top, name)):
            values.problems.add(values.origin(name), f"must be one key; {more}")
    for name in ("default_key", "api_keys", "admin_key"):
        for key in top.get(name, ()) if name == "api_keys" else _single(top, name):
            _check_key(key.reveal(), values.origin(name), values, exposed)
    if {*_single(top, "admin_key")} & {*clients}:
        values.problems.add(
            values.origin("admin_key"),
            "must not be a client key: every client could read metrics and profiles",
        )


def _single(top: Mapping[str, Any], name: str) -> tuple[Secret, ...]:
    return (top[name],) if name in top else ()


def _check_key(key: str, where: str, values: _Values, exposed: Listen | None) -> None:
    for fault in filter(None, map(secret_fault, key.split("|"))):
        values.problems.add(where, fault)
    if any(part.strip().lower() in _PUBLISHED or is_placeholder(part.strip()) for part in key.split("|")):
        if exposed is None:
            warning = f"{where}: this key is published in examples; replace it before others can connect"
            if warning not in values.warnings:
                values.warnings.append(warning)
        else:
            values.problems.add(
                where,
                f"this key is published in examples, and {exposed.host or exposed} is not loopback: choose another",
            )


def _read_keys(values: _Values, exposed: Listen | None) -> tuple[ClientKey, ...]:
    """Returns the keys of the key file. Without any client key no address may be reachable for other hosts."""
    top = values.tables[""]
    if "key_file" in top:
        path = top["key_file"]
        keys = read_key_file(Path(path), values.problems, values.warnings, where=values.origin("key_file"))
        for key in keys:
            values.sources.used(f"keys.{key.name}", Setting(None, key.name, path))
        return keys
    origins = values.sources.origins()
    if "default_key" not in origins and not top.get("api_keys") and exposed is not None:
        options = ("server.listen", "server.fd", "server.host")
        where = next(origins[option] for option in options if option in origins)
        values.problems.add(
            "DEFAULT_KEY (not set)",
            f"required to listen on {exposed.host or exposed} ({where}): without a key anyone could spend your "
            "tokens. Set DEFAULT_KEY, create a key with `ztoapi keys create NAME --key-file FILE` and set "
            "ZTOAPI_KEY_FILE, or listen on 127.0.0.1",
        )
    return ()
