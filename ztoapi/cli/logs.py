"""The logs of a server: their destination and their format, for requests and for messages alike."""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Final, Literal

from ztoapi.config.model import Config
from ztoapi.server.context import ServerContext
from ztoapi.telemetry.access_log import AccessLog
from ztoapi.telemetry.console import ConsoleFormatter, ConsoleLines
from ztoapi.telemetry.log_file import LogFile
from ztoapi.telemetry.messages import JsonFormatter, MessageLog
from ztoapi.telemetry.terminal_text import has_colour

__all__ = ["Form", "access_log", "level_of", "message_form", "set_form", "set_up_logging"]

Form = Literal["json", "text", "console"]

_STREAMS: Final = {"stdout": 1, "stderr": 2}
_NO_TERMINAL_COLUMNS: Final = 140
_COLUMNS: Final = 80
"""For terminals that report 0."""


def set_up_logging(level: int, form: Form, descriptor: int = 2) -> MessageLog:
    """Sends log messages to ``descriptor``. Requests are logged separately, in the access log."""
    messages = MessageLog(descriptor)
    logging.basicConfig(level=level, handlers=[messages])
    set_form(messages, form)
    # httpx logs the URL of every request at INFO.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return messages


def set_form(messages: MessageLog, form: Form) -> None:
    """Changes the format of the messages."""
    if form == "json":
        messages.setFormatter(JsonFormatter())
    elif form == "console":
        messages.setFormatter(ConsoleFormatter(colour=has_colour(messages.descriptor, os.environ)))
    else:
        messages.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))


def level_of(config: Config) -> int:
    """Returns the level from which messages are logged."""
    return logging.DEBUG if config.debug else logging.getLevelNamesMapping()[config.log_level.upper()]


def message_form(config: Config) -> tuple[Form, int]:
    """Returns the format of messages and their descriptor: that of the access log if both are for a terminal."""
    form, stream = config.access_log_format, _STREAMS.get(config.access_log, 2)
    if form == "console" or (form == "auto" and os.isatty(stream)):
        return "console", stream
    if form == "auto":
        return "console" if os.isatty(2) else "json", 2
    return form, 2


def access_log(
    config: Config, sink: LogFile, messages: MessageLog, environ: Mapping[str, str] = os.environ
) -> AccessLog:
    """Returns the access log of a worker. On the console the messages of the worker are lines of it, so that both have
    one order."""
    form = config.access_log_format
    if form == "auto":
        form = "console" if sink.terminal else "json"
    if form != "console":
        return AccessLog(sink, ServerContext.wall_clock, text=form == "text")
    quiet = level_of(config) > logging.INFO
    console = ConsoleLines(_width(sink.descriptor), colour=has_colour(sink.descriptor, environ), quiet=quiet)
    log = AccessLog(sink, ServerContext.wall_clock, console=console)
    if messages.descriptor == sink.descriptor:
        messages.divert(log.add_message)
    return log


def _width(descriptor: int) -> Callable[[], int]:
    def columns() -> int:
        try:
            return os.get_terminal_size(descriptor).columns or _COLUMNS
        except OSError:
            return _NO_TERMINAL_COLUMNS

    return columns
