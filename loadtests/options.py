"""What the load tests add to locust's command line. ``locust -f loadtests/steady.py --help`` lists it at the end."""

import argparse
from collections.abc import Callable
from typing import Final, cast

import msgspec
from locust import events
from locust.env import Environment

from loadtests.events import listen

__all__ = ["Options", "options_of"]

_STOP_TIMEOUT_SECONDS: Final = 10
"""Streams that are open at the end may finish: whoever cuts them off counts too few of the long ones."""


class Options(msgspec.Struct, frozen=True):
    model: str
    keys: tuple[str, ...]
    real: bool
    simulator: str | None
    thresholds: str | None


def options_of(environment: Environment) -> Options:
    """The options of this run."""
    parsed = cast("argparse.Namespace", environment.parsed_options)
    return Options(
        model=parsed.model,
        keys=tuple(parsed.key.split(",")),
        real=parsed.real,
        simulator=parsed.simulator,
        thresholds=parsed.thresholds,
    )


def _add_options(parser: argparse.ArgumentParser, **_: object) -> None:
    add = cast("Callable[..., object]", parser.add_argument)  # locust's, which takes is_secret
    add("--model", default="glm-4.6", env_var="ZTOAPI_LOAD_MODEL", help="model to ask for (glm-4.6)")
    add(
        "--key",
        default="any",
        env_var="ZTOAPI_LOAD_KEY",
        is_secret=True,
        help="client key; several, separated by commas, are taken in turn by the users",
    )
    add(
        "--real",
        action="store_true",
        env_var="ZTOAPI_LOAD_REAL",
        help="a real upstream answers, not the simulator: plain model names, no check of the number of deltas",
    )
    add(
        "--simulator",
        default=None,
        env_var="ZTOAPI_LOAD_SIMULATOR",
        metavar="URL",
        help="origin of the simulator, to verify by its statistics what the gateway did upstream",
    )
    add(
        "--thresholds",
        default=None,
        env_var="ZTOAPI_LOAD_THRESHOLDS",
        metavar="FILE",
        help="TOML file of limits; a run that breaks one exits with 3",
    )
    parser.set_defaults(stop_timeout=f"{_STOP_TIMEOUT_SECONDS}s")


listen(events.init_command_line_parser, _add_options)
