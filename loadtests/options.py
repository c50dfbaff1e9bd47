"""Additional options of locust's command line, listed at the end of ``locust -f loadtests/steady.py --help``."""

import argparse
from collections.abc import Callable
from typing import Final, cast

import gevent  # type: ignore[import-untyped]  # it has no types
import msgspec
from locust import events
from locust.env import Environment

from loadtests.apis import APIS
from loadtests.events import listen

__all__ = ["Options", "options_of"]

_STOP_TIMEOUT_SECONDS: Final = 10
"""Time for open streams to finish. Cutting them off would exclude the long ones from the report."""


class Options(msgspec.Struct, frozen=True):
    model: str
    keys: tuple[str, ...]
    real: bool
    simulator: str | None
    thresholds: str | None
    api: str
    report: str | None


def options_of(environment: Environment) -> Options:
    """Returns the options of this run."""
    parsed = cast("argparse.Namespace", environment.parsed_options)
    return Options(
        model=parsed.model,
        keys=tuple(parsed.key.split(",")),
        real=parsed.real,
        simulator=parsed.simulator,
        thresholds=parsed.thresholds,
        api=parsed.api,
        report=parsed.report,
    )


def _add_options(parser: argparse.ArgumentParser, **_: object) -> None:
    add = cast("Callable[..., object]", parser.add_argument)  # locust's, which takes is_secret
    add("--model", default="glm-5.3", env_var="ZTOAPI_LOAD_MODEL", help="model to request (glm-5.3)")
    add(
        "--key",
        default="any",
        env_var="ZTOAPI_LOAD_KEY",
        is_secret=True,
        help="client key, or several separated by commas, which the users take in turn",
    )
    add(
        "--real",
        action="store_true",
        env_var="ZTOAPI_LOAD_REAL",
        help="for a real upstream instead of the simulator: plain model names, no check of the number of deltas",
    )
    add(
        "--simulator",
        default=None,
        env_var="ZTOAPI_LOAD_SIMULATOR",
        metavar="URL",
        help="origin of the simulator, whose statistics verify the upstream requests of the gateway",
    )
    add(
        "--thresholds",
        default=None,
        env_var="ZTOAPI_LOAD_THRESHOLDS",
        metavar="FILE",
        help="TOML file of limits; breaking one makes the run exit with 3",
    )
    add(
        "--api",
        default="chat",
        choices=tuple(APIS),
        env_var="ZTOAPI_LOAD_API",
        help="client API of the requests (chat); agents use chat",
    )
    add(
        "--report",
        default=None,
        env_var="ZTOAPI_LOAD_REPORT",
        metavar="FILE",
        help="HTML file for charts of the times to the first token and between tokens over the run",
    )
    parser.set_defaults(stop_timeout=f"{_STOP_TIMEOUT_SECONDS}s")


listen(events.init_command_line_parser, _add_options)


def _update_loop_time(**_: object) -> None:
    """Updates the time of gevent's loop, from which ``--run-time`` counts. It stands still during the imports, and they
    take seconds on a busy machine."""
    gevent.get_hub().loop.update_now()


listen(events.init, _update_loop_time)
