"""``ztoapi serve``: the gateway."""

import argparse
import asyncio
import contextlib
import hashlib
import logging
import os
import signal
import sqlite3
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ztoapi import __version__
from ztoapi.app import Application, has_keys_with_budgets, limits_words, make_shared_limits
from ztoapi.cli.logs import access_log, level_of, message_form, set_form, set_up_logging
from ztoapi.cli.options import host_fault, listening_faults, load_config
from ztoapi.cli.status import StatusFile, state_directory
from ztoapi.config.certificates import ServerTLS, server_tls
from ztoapi.config.host import open_files, raise_open_files
from ztoapi.config.keys import KeyRing
from ztoapi.config.listen import Listen, listen_addresses
from ztoapi.config.load import Loaded
from ztoapi.config.model import OTHER_FILES, Config, KeyBudgets, ServerConfig
from ztoapi.errors import ConfigError
from ztoapi.limits.budgets import BudgetMemory
from ztoapi.limits.shared_limits import KeptLimits, LimitsMemory, SharedLimits
from ztoapi.relay.resets import CredentialResets
from ztoapi.server.context import ServerContext
from ztoapi.server.sockets import KeptSocket, Listeners
from ztoapi.server.upgrade import inherit
from ztoapi.server.workers import Duty, Plan, Reloaded
from ztoapi.server.workers import run as run_workers
from ztoapi.telemetry.board import KeptBoard, MetricsBoard
from ztoapi.telemetry.history import History
from ztoapi.telemetry.layout import Cell
from ztoapi.telemetry.live import reclaim
from ztoapi.telemetry.log_file import LogFile
from ztoapi.telemetry.terminal_text import counted
from ztoapi.wire.address import authority

if TYPE_CHECKING:
    from ztoapi.telemetry.tracing import SpanTracer

__all__ = ["available", "run", "shortage_of_files"]

_log = logging.getLogger(__name__)
_MORE_WORKERS = 4
"""Workers beyond the configured ones: those that SIGTTIN adds, and those of a later configuration."""
_FIRST_SYSTEMD_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""
_SHARED_OTLP = "OTEL_EXPORTER_OTLP_ENDPOINT (environment)"
"""The source of a collector that other programs on the host use too."""
_FEW_REQUESTS = 100
"""Requests in flight of a worker that a small team of agents reaches."""
_AUTO = "auto"
"""The value of history_file for the default directory."""
_AUTO_FILES = "history-*.db"
"""The files of all ports."""


def run(args: argparse.Namespace) -> int:
    """Serves until stopped; returns the exit code. Raises ConfigError, and OSError if it cannot listen."""
    inherited = inherit(os.environ)
    service = Gateway(args, None if inherited is None else msgspec.msgpack.decode(inherited.service, type=Kept))
    try:
        return run_workers(service, started=service.announce, inherited=inherited)
    finally:
        service.close()


def shortage_of_files(config: Config, limit: int) -> str | None:
    """Returns a warning if a worker may need more open files than ``limit``, or can serve few requests with them."""
    server = config.server
    if not server.max_in_flight and (fitting := server.in_flight_limit(limit)) < _FEW_REQUESTS:
        return (
            f"the limit of {limit} open files allows a worker {fitting} requests in flight: raise the hard limit "
            "(ulimit -Hn, LimitNOFILE= in systemd)"
        )
    needed = 2 * server.max_in_flight + server.max_queued + config.upstream.max_idle_connections + OTHER_FILES
    if limit >= needed or not server.max_in_flight:
        return None
    return (
        f"a worker may need {needed} open files (two per request of server.max_in_flight = {server.max_in_flight}, "
        f"its queue and idle upstream connections), but the limit is {limit}: raise the hard limit (ulimit -Hn, "
        "LimitNOFILE= in systemd) or lower server.max_in_flight"
    )


class Kept(msgspec.Struct, frozen=True):
    """The state that a gateway passes on to the next version of the program.

    ``listeners`` are descriptors, by worker and address; ``status`` is the number of the last report.
    """

    addresses: tuple[Listen, ...]
    listeners: list[list[KeptSocket]]
    board: KeptBoard
    limits: KeptLimits
    history: tuple[str, str] | None
    status: int


class Gateway:
    """The gateway as the supervisor sees it, with the parts that its workers share.

    A reload replaces the parts that the new configuration changes.

    ``kept`` is the state of the program that this one replaces. Raises ConfigError, and OSError if it cannot listen.
    """

    def __init__(self, args: argparse.Namespace, kept: Kept | None = None) -> None:
        self._args = args
        loaded = available(load_config(args, host_fault=host_fault))
        config = loaded.config
        form, descriptor = message_form(config)
        self._messages = set_up_logging(level_of(config), form, descriptor)
        self._warn(config)
        self._listeners = (
            [] if kept is None else [Listeners.adopt(kept.addresses, kept.listeners, backlog=config.server.backlog)]
        )
        sink = _make_sink(loaded)
        self._listen(loaded)
        self.slots = 2 * (config.server.workers + _MORE_WORKERS)
        """Twice, because a worker and its successor may be alive together."""
        if kept is not None:
            self.slots = max(self.slots, kept.board.slots)
        self._board = MetricsBoard(self.slots, "ztoapi-metrics", None if kept is None else kept.board)
        self._board.started = self._board.started or ServerContext.wall_clock()
        certificates = _digest(config)
        tls = _make_tls(config)
        words = limits_words(config, self.slots)
        memory = LimitsMemory(self.slots, words, "ztoapi-limits", _same_slots(kept, self.slots))
        limits = make_shared_limits(config, self.slots, memory)
        self._resets = CredentialResets()
        history = _make_history(loaded, self._board, None if kept is None else kept.history)
        StatusFile.remove_stale()
        self._status = StatusFile(self._listeners[-1].port or config.server.port, 0 if kept is None else kept.status)
        budgets = _make_budgets(loaded, self.slots, history)
        self._state = self._before = _State(loaded, KeyRing(config), sink, limits, history, certificates, tls, budgets)
        self._mixed = False
        """Whether workers of several configurations run, because a reload has failed."""

    def close(self) -> None:
        """Removes the files of sockets and of the status. Called in the supervisor, at its end."""
        for path in self._paths():
            _remove(path)
        self._status.remove()

    def _paths(self) -> set[str]:
        return {path for listeners in self._listeners for path in listeners.paths}

    def announce(self) -> None:
        """Logs the addresses; the console shows them in a block."""
        config = self._state.loaded.config
        if message_form(config)[0] != "console":
            _log.info("%s", _banner(config, self._state.keys, self._listeners[-1]))
        elif _log.isEnabledFor(logging.INFO):
            self._messages.write(_block(config, self._state.keys, self._listeners[-1]))

    def _warn(self, config: Config) -> None:
        for warning in config.warnings:
            _log.warning("%s", warning)
        shortage = shortage_of_files(config, raise_open_files())
        if shortage is not None:
            _log.warning("%s", shortage)

    def _listen(self, loaded: Loaded) -> None:
        """Makes the last listeners those of the configuration."""
        server = loaded.config.server
        addresses = _addresses(server, os.environ)
        if not self._listeners or self._listeners[-1].addresses != addresses:
            sources = loaded.sources
            where = sources.get("server.listen") or sources.get("server.fd")
            host_option = where or sources.get("server.host", "HOST (default)")
            port_option = where or sources.get("server.port", "PORT (default)")
            with listening_faults(host_option, port_option, "--listen" if where else "--port N or PORT=N"):
                backlog, previous = server.backlog, self._listeners
                self._listeners.append(Listeners(addresses, server.workers, backlog=backlog, previous=previous))
        self._listeners[-1].grow(server.workers, backlog=server.backlog)

    def plan(self) -> Plan:
        server = self._state.loaded.config.server
        make = partial(self._make_application, self._state)
        return Plan(
            [Duty(sockets, make) for sockets in self._listeners[-1].sockets[: server.workers]],
            server.drain_seconds,
            server.shutdown_delay_seconds,
            server.worker_max_age_seconds,
            server.worker_max_memory_bytes,
        )

    def _make_application(self, state: "_State", loop: asyncio.AbstractEventLoop, slot: int) -> Application:
        """Returns the gateway of the worker in ``slot``. Called in the worker."""
        config = state.loaded.config
        log = None if state.sink is None else access_log(config, state.sink, self._messages)
        tracer = None
        if config.otlp_endpoint is not None:
            tracer = _tracer_class()(config.otlp_endpoint, config.platforms, ServerContext.wall_clock)
        return Application(
            config,
            loop,
            state.keys,
            state.limits.limiter(slot),
            self._board,
            slot,
            state.history,
            log,
            tracer,
            self._messages,
            state.tls,
            self._resets,
            state.budgets,
            state.loaded.sources,
        )

    def grow(self) -> Duty:
        listeners = self._listeners[-1]
        listeners.grow(len(listeners.sockets) + 1, backlog=self._state.loaded.config.server.backlog)
        return Duty(listeners.sockets[-1], partial(self._make_application, self._state))

    def keep_only(self, duties: list[Duty]) -> None:
        kept = [duty.sockets for duty in duties]
        before = self._paths()
        for listeners in self._listeners:
            listeners.keep_only(kept)
        # The last ones are kept for the files of their Unix sockets.
        self._listeners = [listeners for listeners in self._listeners if listeners.sockets] or self._listeners[-1:]
        if os.getpid() == self._board.supervisor:
            for path in before - self._paths():
                _remove(path)

    def reload(self) -> Reloaded:
        try:
            return self._reload(available(load_config(self._args, host_fault=host_fault)))
        except ConfigError as error:
            problems = list(error.problems)
        except OSError as error:
            problems = [": ".join(filter(None, (error.filename, error.strerror or str(error))))]
        except (MemoryError, ValueError) as error:
            # Of the limits.
            problems = [f"limits: {error}"]
        self._state.keys.reported = problems
        for problem in problems:
            _log.error("%s", problem)
        _log.error("invalid configuration; keeping the current keys and options")
        return Reloaded(self._forwarded_reopening(), outcome="; ".join(("invalid configuration", *problems)), ok=False)

    def _reload(self, loaded: Loaded) -> Reloaded:
        """Takes over a valid configuration."""
        state = self._state
        old, new = state.loaded.config, loaded.config
        certificates = _digest(new)
        same = certificates == state.certificates and not self._mixed
        if same and new == old:
            forwarded = self._forwarded_reopening()
            done = "nothing to do, because" if forwarded is None else "the access log is opened anew;"
            _log.info("SIGHUP: %s the configuration has not changed", done)
            return Reloaded(forwarded, outcome="the configuration has not changed")
        if same and msgspec.structs.replace(new, keys=old.keys) == old:
            self._state = state._replace(loaded=loaded)
            self.reload_in_place()
            return Reloaded(signal.SIGHUP, outcome=f"reload: {counted(len(new.keys), 'client key')} loaded")
        if 2 * new.server.workers > self.slots:
            problem = f"{new.server.workers} workers are more than {self.slots // 2}: this needs a restart"
            raise ConfigError((f"{loaded.sources.get('server.workers', 'server.workers')}: {problem}",))
        sink = state.sink if new.access_log == old.access_log else _make_sink(loaded)
        limits = make_shared_limits(new, self.slots, state.limits.memory)
        history = state.history
        if new.history_file != old.history_file:
            history = _make_history(loaded, self._board, None)
        budgets = state.budgets
        if budgets is None or history is not state.history:
            budgets = _make_budgets(loaded, self.slots, history)
        tls = _make_tls(new)
        self._listen(loaded)
        self._warn(new)
        self.reload_in_place()
        self._before = state
        self._state = _State(loaded, KeyRing(new), sink, limits, history, certificates, tls, budgets)
        self._mixed = False
        logging.getLogger().setLevel(level_of(new))
        set_form(self._messages, message_form(new)[0])
        self._status.move(self._listeners[-1].port or new.server.port)
        return Reloaded(signal.SIGHUP, roll=True)

    def watch(self) -> bool:
        return self._state.keys.watch()

    def roll_failed(self) -> None:
        self._state = self._before
        self._mixed = True
        self._state.keys.reload()
        logging.getLogger().setLevel(level_of(self._state.loaded.config))

    def _reopen(self) -> bool:
        """Opens the access log anew if it is a file. Returns whether it has been opened."""
        return self._state.sink is not None and self._state.sink.reopen()

    def _forwarded_reopening(self) -> signal.Signals | None:
        """Opens the access log anew. Returns the signal for the workers to do the same; None if it is not a file."""
        return signal.SIGUSR1 if self._reopen() else None

    def reload_in_place(self) -> None:
        self._reopen()
        self._state.keys.reload()

    def reopen(self) -> bool:
        if self._state.sink is None or self._state.sink.path is None:
            _log.info("SIGUSR1: nothing to do, because the access log is not a file")
        return self._reopen()

    def ended(self, slot: int, *, crashed: bool) -> None:
        reclaim(self._board, slot, ServerContext.wall_clock(), crashed=crashed)
        self._state.limits.reclaim(slot)
        if self._state.budgets is not None:
            self._state.budgets.reclaim(slot)

    def beat(self, slot: int) -> float:
        return self._board.slot(slot).floats[Cell.BEAT]

    def report(self, outcome: str, *, ok: bool = True) -> None:
        self._status.write(outcome, ok=ok)

    def kept(self) -> bytes:
        listeners, memory, history = self._listeners[-1], self._state.limits.memory, self._state.history
        assert memory is not None, "workers share their limits"
        self._status.forget_earlier()
        return msgspec.msgpack.encode(
            Kept(
                listeners.addresses,
                listeners.pass_on(),
                self._board.pass_on(),
                memory.pass_on(),
                None if history is None else (str(history.path), history.gateway),
                self._status.number,
            )
        )


class _State(NamedTuple):
    """The parts of a gateway that a reload replaces."""

    loaded: Loaded
    keys: KeyRing
    sink: LogFile | None
    limits: SharedLimits
    history: History | None
    certificates: bytes
    """A digest of the files."""
    tls: ServerTLS | None
    budgets: BudgetMemory | None


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _make_tls(config: Config) -> ServerTLS | None:
    """Returns the TLS context of all workers: made once, so that a worker that starts later does not depend on the
    files, and so that a session of one worker can be resumed with another one."""
    return server_tls(config.server) if config.server.tls_cert_files else None


def _digest(config: Config) -> bytes:
    """Returns a digest of the certificate files, which may change while their names stay. Raises OSError."""
    server = config.server
    names = [*server.tls_cert_files, *server.tls_key_files, server.tls_client_ca_file, config.upstream.ca_file]
    digest = hashlib.sha256()
    for name in names:
        if name is not None:
            digest.update(Path(name).read_bytes())
    return digest.digest()


def _addresses(server: ServerConfig, environ: Mapping[str, str]) -> tuple[Listen, ...]:
    """Returns the addresses to listen on. Without ``listen`` and ``fd``, sockets of systemd's (sd_listen_fds(3)) come
    before ``host`` and ``port``."""
    count = environ.get("LISTEN_FDS", "")
    if server.listen or server.fd is not None or environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        return listen_addresses(server)
    tls = bool(server.tls_cert_files)
    return tuple(Listen(descriptor=_FIRST_SYSTEMD_DESCRIPTOR + number, tls=tls) for number in range(int(count)))


def _same_slots(kept: Kept | None, slots: int) -> KeptLimits | None:
    """Returns the limits of the previous program if they have room for as many workers."""
    return kept.limits if kept is not None and kept.limits.slots == slots else None


def available(loaded: Loaded) -> Loaded:
    """Returns the configuration without the traces of a collector that only the process environment names, which is set
    for other programs too, if the optional package is not installed. Called once, before the workers start. Raises
    ConfigError if the gateway's own configuration requires the package."""
    if loaded.config.otlp_endpoint is None:
        return loaded
    try:
        _tracer_class()
    except ConfigError as error:
        source = loaded.sources["otlp_endpoint"]
        if source != _SHARED_OTLP:
            raise
        warnings = (*loaded.config.warnings, f"{source}: no traces: {error.problems[0].partition(': ')[2]}")
        config = msgspec.structs.replace(loaded.config, otlp_endpoint=None, warnings=warnings)
        return loaded._replace(config=config)
    return loaded


def _tracer_class() -> "type[SpanTracer]":
    """Imports the tracer, because OpenTelemetry is optional. Raises ConfigError if it is not installed."""
    try:
        from ztoapi.telemetry.tracing import SpanTracer
    except ImportError as error:
        problem = f"otlp_endpoint: OpenTelemetry is not installed ({error}): pip install 'ztoapi[otel]'"
        raise ConfigError((problem,)) from error
    return SpanTracer


def _make_sink(loaded: Loaded) -> LogFile | None:
    """Opens the file of the access log; None if it is off. Raises ConfigError."""
    config = loaded.config
    if config.access_log == "off":
        return None
    try:
        sink = LogFile(config.access_log)
    except OSError as error:
        remedy = "name a file in a directory that the gateway may write, stdout, stderr or off"
        problem = f"{config.access_log} cannot be written ({error.strerror}): {remedy}"
        raise ConfigError((f"{loaded.sources.get('access_log', 'access_log (default)')}: {problem}",)) from error
    if sink.path is None and sink.null:
        _log.warning("there is no access log: %s is closed, or /dev/null", config.access_log)
        return None
    return sink


def _make_history(loaded: Loaded, telemetry: MetricsBoard, kept: tuple[str, str] | None) -> History | None:
    """Opens the history. ``kept`` is the path and the id of the previous program's, whose counts continue.

    Raises ConfigError if a configured file is unusable; the default one only causes a warning.
    """
    config = loaded.config
    path = _history_file(config, os.environ)
    if path is None:
        return None
    gateway = kept[1] if kept is not None and kept[0] == str(path) and telemetry.continues else None
    new = not path.exists()
    history = History(path, telemetry, ServerContext.wall_clock, gateway)
    try:
        history.create()
    except (OSError, sqlite3.Error, ValueError) as error:
        option = loaded.sources.get("history_file", "history_file (default)")
        problem = f"{option}: {path} cannot be used ({error}): name another file, or none"
        if config.history_file != _AUTO:
            raise ConfigError((problem,)) from error
        _log.warning("%s; continuing without a history", problem)
        return None
    if new and config.history_file == _AUTO and (others := sorted(set(path.parent.glob(_AUTO_FILES)) - {path})):
        text = "usage and budgets start anew in %s; set history_file to continue those of another port: %s"
        _log.warning(text, path, ", ".join(map(str, others)))
    return history


def _make_budgets(loaded: Loaded, slots: int, history: History | None) -> BudgetMemory | None:
    """Opens the counters of budgets, in a file beside the history. Raises ConfigError if the file beside a configured
    history is unusable; beside the default one this only causes a warning."""
    config = loaded.config
    if not has_keys_with_budgets(config):
        return None
    if history is not None:
        path = history.path.with_suffix(".budgets")
        try:
            return BudgetMemory(slots, path)
        except (OSError, ValueError) as error:
            option = loaded.sources.get("history_file", "history_file (default)")
            problem = f"{option}: {path} cannot be used ({error}): remove it, or name another history"
            if config.history_file != _AUTO:
                raise ConfigError((problem,)) from error
            _log.warning("%s", problem)
    if any(key.budgets != KeyBudgets() for key in config.keys) or config.limits.budget != KeyBudgets():
        _log.warning("without a history file budgets start anew when the gateway is restarted")
    return BudgetMemory(slots)


def _history_file(config: Config, environ: Mapping[str, str]) -> Path | None:
    if config.history_file != _AUTO:
        return None if config.history_file == "none" else Path(config.history_file)
    ports = [address.port for address in listen_addresses(config.server) if address.host]
    port = ports[0] if ports else config.server.port
    # A random port has no history that a later run could continue.
    directory = state_directory(environ) if port else None
    return None if directory is None else directory / f"history-{port}.db"


def _banner(config: Config, keys: KeyRing, listeners: Listeners) -> str:
    upstreams = ", ".join(f"{platform.id} ({platform.base_url})" for platform in config.platforms)
    origins = [origin for address, origin in _origins(listeners) if not address.admin]
    operators = [origin for address, origin in _origins(listeners) if address.admin] or origins
    pages = f"; dashboard {operators[0]}/dashboard" if config.dashboard_enabled else ""
    if config.dashboard_enabled and origins and not origins[0].startswith("unix:"):
        pages += f"; chat {origins[0]}/chat"
    access = "API key required" if keys.required else "no API key required (loopback only)"
    urls = ", ".join(origin if origin.startswith("unix:") else f"{origin}/v1" for origin in origins)
    limit = config.server.in_flight_limit(open_files())
    workers = f"{counted(config.server.workers, 'worker')} with up to {limit} requests in flight"
    return f"ztoapi {__version__} on {urls}, {workers}, {access}; upstream {upstreams}{pages}"


def _block(config: Config, keys: KeyRing, listeners: Listeners) -> str:
    """Returns the block that the console shows at the start."""
    clients = [origin for address, origin in _origins(listeners) if not address.admin]
    operators = [origin for address, origin in _origins(listeners) if address.admin] or clients
    urls = {platform.id: platform.base_url for platform in config.platforms}
    main = config.routes[0]
    models = f"{main.public} > {main.platform} ({urls[main.platform]})"
    counts = ", ".join(f"{len(platform.credentials)} of {platform.id}" for platform in config.platforms)
    count = sum(not key.revoked for key in config.keys) + len(config.api_keys) + (config.default_key is not None)
    rows = [("base URL", f"{origin}/v1") for origin in clients if not origin.startswith("unix:")]
    rows += [("socket", origin) for origin in clients if origin.startswith("unix:")]
    if config.dashboard_enabled:
        rows.append(("dashboard", f"{operators[0]}/dashboard"))
        rows += [("chat", f"{origin}/chat") for origin in clients[:1] if not origin.startswith("unix:")]
    rows.append(("models", f"{models}, and {len(config.routes) - 1} more" if len(config.routes) > 1 else models))
    rows.append(("credentials", counts))
    rows.append(("keys", str(count) if keys.required else "none required, because only this host can connect"))
    warnings = len(config.warnings) + (shortage_of_files(config, open_files()) is not None)
    rows.append(("warnings", f"{warnings}, see above" if warnings else "none"))
    lines = "\n".join(f"  {name:<13}{value}" for name, value in rows)
    title = f"ztoapi {__version__}, process {os.getpid()}, {counted(config.server.workers, 'worker')}"
    return f"\n{title}\n\n{lines}\n\nPress Ctrl-C to stop. Requests:\n"


def _origins(listeners: Listeners) -> list[tuple[Listen, str]]:
    """Returns each address with its origin."""
    return [
        (address, f"{'https' if address.tls else 'http'}://{authority(address.host, port)}" if port else str(address))
        for address, port in listeners.ports()
    ]
