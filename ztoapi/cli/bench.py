"""``ztoapi bench``: measures the latency that a running gateway adds to its upstream; see ``docs/bench-command.md``."""

import argparse
import asyncio
import errno
import json
import os
import shutil
import ssl
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import msgspec

from ztoapi.cli.options import load_config, own_origin
from ztoapi.config.host import is_loopback
from ztoapi.config.model import Config
from ztoapi.dialects.registry import DIALECTS
from ztoapi.errors import UsageError
from ztoapi.measure.report import SavedReport, difference, report_text
from ztoapi.measure.run import DIRECT, GATEWAY, Measurement, MeasurementPlan, RefusedError, UnreachableError
from ztoapi.measure.timed_request import Arm
from ztoapi.structures.deadlines import Deadlines
from ztoapi.upstream.client import NativeClient

__all__ = ["run"]

_KEY: Final = "BENCH_KEY"
_UPSTREAM_KEY: Final = "BENCH_UPSTREAM_KEY"
"""Keys come from the environment, because every user of the machine can read command lines."""
_BAR: Final = 30
_MAX_COLUMNS: Final = 100
_TIMEOUT_SECONDS: Final = 10.0
_REMEDIES: Final = {
    GATEWAY: "start it with `ztoapi serve` or `ztoapi demo`, or name another gateway with --url",
    DIRECT: "check the configured upstream, or name another one with --upstream",
}


def run(args: argparse.Namespace) -> int:
    """Measures and prints; returns 0 if every request succeeded, else 1, 130 after Ctrl-C. Raises ConfigError."""
    earlier = None if args.compare is None else _read(args.compare)
    config = load_config(args).config
    plan = _plan(args, config)
    show = sys.stderr.isatty()
    print(
        f"{plan.total + 2} requests of at most {plan.max_tokens} tokens, half of them directly to {plan.arms[0].url}",
        file=sys.stderr,
    )
    if not args.yes and any(not is_loopback(urlsplit(arm.url).hostname or "") for arm in plan.arms):
        _confirm(plan)
    measurement = Measurement(plan, _draw if show else _Lines())
    interrupted = False
    try:
        asyncio.run(_measure(measurement, config))
    except UnreachableError as error:
        print(f"ztoapi bench: {error} ({error.arm.url}); {_REMEDIES[error.arm.name]}", file=sys.stderr)
        return 1
    except RefusedError as error:
        print(f"FAILED {error.arm.name} ({error.arm.url}), at the first request: {error}. Nothing was measured")
        return 1
    except KeyboardInterrupt:
        interrupted = True
    if show:
        print(file=sys.stderr)
    _print(measurement, args, earlier)
    if interrupted:
        return 130
    return 1 if any(measurement.faults.values()) else 0


def _confirm(plan: MeasurementPlan) -> None:
    """Asks before requests go to another host, where they may cost tokens. Raises ConfigError without consent."""
    tokens = (plan.total + 2) * plan.max_tokens
    if not sys.stdin.isatty():
        raise UsageError((f"--yes: required, because the requests may cost up to {tokens} tokens of responses",))
    print(f"They may cost up to {tokens} tokens of responses. Continue? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError(("nothing was sent; --yes leaves the question out",))


def _print(measurement: Measurement, args: argparse.Namespace, earlier: SavedReport | None) -> None:
    report = measurement.report()
    if args.save is not None:
        args.save.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    if args.json:
        print(json.dumps(report, indent=2))
        return
    width = min(shutil.get_terminal_size().columns, _MAX_COLUMNS)
    print(report_text(measurement, width))
    if earlier is not None:
        now = msgspec.convert(report, SavedReport)
        print("\n".join(("", f"compared with {args.compare}", *difference(earlier, now))))


def _read(path: Path) -> SavedReport:
    """Reads a report of ``--save``. Raises ConfigError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=SavedReport)
    except FileNotFoundError:
        raise UsageError((f"--compare: {path}: file not found: write it with --save",)) from None
    except msgspec.DecodeError as error:
        raise UsageError((f"--compare: {path} is not a report of --save: {error}",)) from error


async def _measure(measurement: Measurement, config: Config) -> None:
    tls = _tls(config)
    loop = asyncio.get_running_loop()
    client = NativeClient(loop, config.upstream, Deadlines(loop.call_soon), tls=lambda: tls)
    try:
        await measurement.run(client)
    finally:
        await client.close()


def _plan(args: argparse.Namespace, config: Config) -> MeasurementPlan:
    url = args.url or f"{own_origin(config)}/v1"
    key = os.environ.get(_KEY) or next((k.reveal() for k in (config.default_key, *config.api_keys) if k), None)
    upstream = args.upstream
    upstream_key = os.environ.get(_UPSTREAM_KEY)
    model = args.model or config.model_name
    if upstream is None:
        upstream = _demo_upstream(url, config)
    if upstream is None:
        platform = next((platform for platform in config.platforms if platform.id == config.default_platform), None)
        if platform is None:
            raise UsageError(("--upstream: required, because no upstream is configured: set its base URL",))
        if not DIALECTS[platform.dialect].openai_format:
            raise UsageError(
                (f"--upstream: {platform.id} does not use OpenAI's format and cannot be measured: set another URL",)
            )
        upstream = platform.chat_url
        tokens = (item.token.reveal() for item in platform.credentials if item.token is not None)
        upstream_key = upstream_key or next(tokens, None)
        if upstream_key is None and not DIALECTS[platform.dialect].token_optional:
            variable = f"{platform.id.upper()}_TOKEN"
            raise UsageError(
                (f"{variable} (not set): required to measure {upstream}: set it, or name an upstream with --upstream",)
            )
    try:
        gateway = Arm(GATEWAY, _chat(url), key)
    except ValueError as error:
        raise UsageError((f"--url: {error}",)) from error
    try:
        direct = Arm(DIRECT, _chat(upstream), upstream_key)
    except ValueError as error:
        raise UsageError((f"--upstream: {error}",)) from error
    return MeasurementPlan(direct, gateway, model, args.requests, args.concurrency, args.max_tokens)


def _demo_upstream(url: str, config: Config) -> str | None:
    """Returns the simulator's base URL if the gateway belongs to ``ztoapi demo``. Raises ConfigError for an invalid
    URL, OSError if no gateway listens."""
    index = url.removesuffix("/chat/completions").rstrip("/").removesuffix("/v1") + "/"
    try:
        # Without the proxies of the environment, like the measurement.
        with httpx.Client(trust_env=False, verify=_tls(config), timeout=_TIMEOUT_SECONDS) as client:
            demo = client.get(index).json().get("demo_upstream")
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise UsageError((f"--url: {url!r} is not an http or https URL, such as http://127.0.0.1:9090",)) from error
    except httpx.TransportError as error:
        raise OSError(
            errno.ECONNREFUSED, f"no response from the gateway {url}: {error}; {_REMEDIES[GATEWAY]}"
        ) from error
    except (ValueError, AttributeError):
        # Not JSON, or not an object: the index of another server.
        return None
    return demo if isinstance(demo, str) else None


def _tls(config: Config) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=config.upstream.ca_file)


def _chat(url: str) -> str:
    return url if url.endswith("/chat/completions") else url.rstrip("/") + "/chat/completions"


def _draw(part: str, done: int, total: int) -> None:
    full = _BAR * done // total
    bar = f"[{'#' * full}{'.' * (_BAR - full)}] {done}/{total} {part}"
    print(f"\r{bar}\x1b[K", end="", file=sys.stderr, flush=True)


class _Lines:
    """Shows the progress without a terminal: a line for each part."""

    def __init__(self) -> None:
        self._part = ""

    def __call__(self, part: str, done: int, total: int) -> None:
        if part != self._part:
            self._part = part
            print(f"{done}/{total} {part}", file=sys.stderr, flush=True)
