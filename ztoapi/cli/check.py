"""``ztoapi check``: validates the configuration, and prints the values that are set, with their sources.

It imports the gateway, which takes most of its time: an upgrade relies on it to find a version that is not complete
(:mod:`ztoapi.server.upgrade`).
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence

from ztoapi.cli.live import LiveCheck, Step
from ztoapi.cli.options import host_fault, load_config
from ztoapi.cli.serve import available, shortage_of_files
from ztoapi.config.host import raise_open_files
from ztoapi.config.load import Loaded
from ztoapi.config.model import Config
from ztoapi.config.report import every_value, masked, summary
from ztoapi.server.context import ServerContext

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Prints the verdict, the warnings and the configuration, or tests the upstreams. Returns 0, or 1 if a test has
    failed. Raises ConfigError with all problems."""
    loaded = available(load_config(args))
    warnings = [*loaded.config.warnings, *_host_warning(loaded)]
    if not args.live and (shortage := shortage_of_files(loaded.config, raise_open_files())) is not None:
        warnings.append(shortage)
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
    print("\n".join(every_value(loaded) if args.all else ("", *summary(loaded, raise_open_files()))))
    return 0


def _print_json(loaded: Loaded, warnings: Sequence[str], *, live: bool) -> int:
    config, sources = masked(loaded)
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


def _host_warning(loaded: Loaded) -> Iterator[str]:
    """Yields a warning if this host does not have the address to listen on: the gateway may run on another one."""
    server = loaded.config.server
    if not server.listen and server.fd is None and (fault := host_fault(server.host)) is not None:
        yield f"{loaded.sources.get('server.host', 'server.host')}: {server.host}: {fault}"
