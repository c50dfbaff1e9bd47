"""``ztoapi serve``: the gateway."""

import argparse
import asyncio
import logging
import os
import sqlite3
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ztoapi import __version__
from ztoapi.app import Application, make_shared_limits
from ztoapi.cli.options import host_fault, listen, load_config
from ztoapi.config.host import raise_open_files
from ztoapi.config.keys import KeyRing
from ztoapi.config.load import Loaded
from ztoapi.config.model import Config
from ztoapi.errors import ConfigError
from ztoapi.limits.shared_limits import SharedLimits
from ztoapi.server.context import ServerContext
from ztoapi.server.signals import Reload
from ztoapi.server.workers import Duty
from ztoapi.server.workers import run as run_workers
from ztoapi.telemetry.access_log import AccessLog
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.history import History
from ztoapi.telemetry.layout import Cell
from ztoapi.telemetry.live import reclaim
from ztoapi.telemetry.log_file import LogFile
from ztoapi.telemetry.messages import MessageLog
from ztoapi.wire.address import authority

if TYPE_CHECKING:
    from ztoapi.telemetry.tracing import SpanTracer

__all__ = ["bury", "make_gateway", "run", "set_up_logging"]

_log = logging.getLogger(__name__)
_OTHER_FILES = 100
"""Listening sockets, descriptors of the event loop, log files and idle client connections, with a reserve."""
_AUTO = "auto"
"""The value of history_file for the default directory."""


def run(args: argparse.Namespace) -> int:
    """Serves until stopped; returns the exit code. Raises ConfigError, and OSError if it cannot listen."""
    loaded = load_config(args, host_fault=host_fault)
    config = loaded.config
    messages = set_up_logging(debug=config.debug)
    for warning in config.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    server = config.server
    shortage = _shortage_of_files(config, raise_open_files())
    if shortage is not None:
        print(f"warning: {shortage}", file=sys.stderr)
    sink = _make_sink(loaded)
    if config.otlp_endpoint is not None:
        # Reports a missing package once, before the workers start.
        _tracer_class()
    sockets = listen(
        server.host,
        server.port,
        server.workers,
        backlog=server.backlog,
        host_option=loaded.sources.get("server.host", "HOST (default)"),
        port_option=loaded.sources.get("server.port", "PORT (default)"),
        remedy="--port N or PORT=N",
    )
    keys = KeyRing(config)
    limits = make_shared_limits(config, len(sockets))
    telemetry = MetricsBoard(len(sockets))
    history = _make_history(loaded, telemetry)
    return run_workers(
        [
            Duty(
                listeners,
                partial(make_gateway, config, keys, limits, telemetry, history, sink, messages, slot),
                partial(bury, telemetry, slot),
                partial(_beat, telemetry, slot),
            )
            for slot, listeners in enumerate(sockets)
        ],
        drain_seconds=server.drain_seconds,
        started=lambda: messages.write(_banner(config, keys, sockets[0][0].getsockname()[1])),
        reload=_reload(config, keys, sink),
        reopen=None if sink is None or sink.path is None else sink.reopen,
    )


def _shortage_of_files(config: Config, limit: int) -> str | None:
    """Returns a warning if a worker may need more open files than ``limit``."""
    server = config.server
    needed = 2 * server.max_in_flight + server.max_queued + config.upstream.max_idle_connections + _OTHER_FILES
    if limit >= needed:
        return None
    return (
        f"a worker may need {needed} open files (two per request of server.max_in_flight = {server.max_in_flight}, "
        f"its queue and idle upstream connections), but the limit is {limit}: raise the hard limit (ulimit -Hn, "
        "LimitNOFILE= in systemd) or lower server.max_in_flight"
    )


def make_gateway(
    config: Config,
    keys: KeyRing,
    limits: SharedLimits,
    telemetry: MetricsBoard,
    history: History | None,
    sink: LogFile | None,
    messages: MessageLog,
    slot: int,
    loop: asyncio.AbstractEventLoop,
) -> Application:
    """Returns the gateway of worker ``slot``. The other arguments are shared by all workers."""
    log = None
    if sink is not None:
        form = config.access_log_format
        text = form == "text" or (form == "auto" and sink.terminal)
        log = AccessLog(sink, ServerContext.wall_clock, text=text)
    tracer = None
    if config.otlp_endpoint is not None:
        tracer = _tracer_class()(config.otlp_endpoint, config.platforms, ServerContext.wall_clock)
    return Application(config, loop, keys, limits.limiter(slot), telemetry, slot, history, log, tracer, messages)


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


def _reload(config: Config, keys: KeyRing, sink: LogFile | None) -> Reload | None:
    """Returns the function that runs on SIGHUP; None if nothing can be reloaded."""
    steps: list[Reload] = []
    if config.key_file is not None:
        steps.append(keys.reload)
    if sink is not None and sink.path is not None:
        steps.append(sink.reopen)

    def reload() -> bool:
        # A failed step does not prevent the others.
        done = [step() for step in steps]
        return any(done)

    return reload if steps else None


def _make_history(loaded: Loaded, telemetry: MetricsBoard) -> History | None:
    """Opens the history. Raises ConfigError if a configured file is unusable; the default one only causes a warning."""
    config = loaded.config
    path = _history_file(config, os.environ)
    if path is None:
        return None
    history = History(path, telemetry, ServerContext.wall_clock)
    try:
        history.create()
    except (OSError, sqlite3.Error, ValueError) as error:
        option = loaded.sources.get("history_file", "history_file (default)")
        problem = f"{option}: {path} cannot be used ({error}): name another file, or none"
        if config.history_file != _AUTO:
            raise ConfigError((problem,)) from error
        print(f"warning: {problem}; continuing without a history", file=sys.stderr)
        return None
    return history


def _history_file(config: Config, environ: Mapping[str, str]) -> Path | None:
    if config.history_file != _AUTO:
        return None if config.history_file == "none" else Path(config.history_file)
    if not config.server.port:
        # A random port has no history that a later run could continue.
        return None
    if state := environ.get("STATE_DIRECTORY"):
        directory = Path(state.partition(":")[0])
    elif state := environ.get("XDG_STATE_HOME"):
        directory = Path(state) / "ztoapi"
    elif home := environ.get("HOME"):
        directory = Path(home) / ".local" / "state" / "ztoapi"
    else:
        return None
    return directory / f"history-{config.server.port}.db"


def bury(telemetry: MetricsBoard, slot: int) -> None:
    """Releases what the dead worker ``slot`` held in shared memory."""
    reclaim(telemetry, slot, ServerContext.wall_clock())


def _beat(telemetry: MetricsBoard, slot: int) -> float:
    return telemetry.slot(slot).floats[Cell.BEAT]


def set_up_logging(*, debug: bool) -> MessageLog:
    """Sends log messages to standard error. Requests are logged separately, in the access log."""
    messages = MessageLog()
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[messages],
    )
    # httpx logs the URL of every request at INFO.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return messages


def _banner(config: Config, keys: KeyRing, port: int) -> str:
    server = config.server
    upstreams = ", ".join(f"{platform.id} ({platform.base_url})" for platform in config.platforms)
    origin = f"http://{authority(server.host, port)}"
    dashboard = f"; dashboard {origin}/dashboard" if config.dashboard_enabled else ""
    access = "API key required" if keys.required else "no API key required (loopback only)"
    return f"ztoapi {__version__} on {origin}/v1, {server.workers} worker(s), {access}; upstream {upstreams}{dashboard}"
