"""``ztoapi load``: runs a load test of locust; see ``docs/load-tests.md``."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

from ztoapi.config.spelling import did_you_mean
from ztoapi.errors import UsageError

__all__ = ["SCENARIOS", "run"]

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_LOCUST: Final = "import sys, locust.main; sys.argv[0] = 'ztoapi load'; locust.main.main()"
"""Runs locust, which would call itself __main__.py in errors with ``-m``."""
SCENARIOS: Final = {
    "steady": "a constant rate of requests",
    "ramp": "a rate that rises from 1 a second",
    "spike": "ten times the rate for a fifth of the time",
    "soak": "all kinds of clients, for a long time",
    "mixed": "short, medium and long prompts and responses (--simulated)",
    "slow_readers": "clients that read slowly, and others (--simulated)",
    "disconnect_storm": "clients that disconnect in the middle of a response, and others",
    "tenants": "several keys (--key a,b), which wait when they are limited",
    "agent": "coding agents: long prompts, tools, several turns",
    "overload": "a crowd that expects 503",
    "all": "all users; choose some on locust's web page, with --web",
}


def run(args: argparse.Namespace) -> int:
    """Replaces the process by locust. Without a scenario, prints the list, or the folder, and returns 0.

    Raises ConfigError.
    """
    folder = _folder()
    if args.path:
        print(folder)
        return 0
    if args.name is None:
        width = max(map(len, SCENARIOS))
        for name, text in SCENARIOS.items():
            print(f"{name:<{width}}  {text}")
        return 0
    if args.name not in SCENARIOS:
        hint = did_you_mean(args.name, SCENARIOS)
        if args.name.endswith(".py"):
            hint = f"; `locust -f {args.name}` runs a file of your own"
        raise UsageError((f"unknown scenario {args.name}{hint}; `ztoapi load` lists them",))
    if importlib.util.find_spec("locust") is None:
        raise UsageError(("locust is not installed; run `pip install 'ztoapi[load]'`",))
    command = [sys.executable, "-c", _LOCUST, "-f", str(folder / f"{args.name}.py"), *_arguments(args)]
    if args.key is not None:
        # Every user of the machine can read the command line, which exists as long as the run.
        os.environ["ZTOAPI_LOAD_KEY"] = args.key
    if (fault := _lost_effect(args)) is not None:
        print(f"warning: {args.name}: {fault}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os.execv(sys.executable, command)


def _lost_effect(args: argparse.Namespace) -> str | None:
    """Returns why the scenario would be an ordinary load with these arguments, and the remedy."""
    if args.name == "slow_readers" and not args.simulated:
        return "ordinary responses fit into the buffers; add --simulated if a simulator is the upstream"
    if args.name == "tenants" and "," not in os.environ.get("ZTOAPI_LOAD_KEY", ""):
        return "each key is a tenant; pass several, as in --key green,amber,red"
    return None


def _folder() -> Path:
    """Returns the folder of the scenarios: ``ztoapi/load`` in the wheel, ``loadtests`` in the repository."""
    installed = _PACKAGE / "load"
    return installed if installed.exists() else _PACKAGE.parent / "loadtests"


def _arguments(args: argparse.Namespace) -> list[str]:
    """Returns locust's arguments. Those after ``--`` come last, because locust uses the last of several values."""
    # Locust would listen on all addresses; its page has no password and starts runs against any URL.
    web = ["--class-picker", "--web-host", "127.0.0.1"] if args.web else ["--headless", "--only-summary"]
    run = ["-H", args.url, "-u", str(args.users), "-r", str(args.users), "-t", args.time, "--model", args.model]
    options = [f"--{name}={value}" for name in ("api", "report") if (value := getattr(args, name)) is not None]
    return [*web, *run, *options, *([] if args.simulated else ["--real"]), *args.arguments]
