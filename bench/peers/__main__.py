"""Compares gateways: ``python -m bench.peers --rounds 5 --output results``. ``docs/comparison.md`` is the manual.

Every target is measured in turn against the same mock, for several rounds. The results are the CPU per unit of work, as
a ratio to nginx in the same round, and the latency added to direct calls of the mock in the same round.
"""

import argparse
import json
import os
import platform
import resource
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from bench.peers.chart import chart
from bench.peers.load import OPEN, UNITS, WORKLOADS
from bench.peers.measure import Process, free_port
from bench.peers.report import Result, markdown, ratio
from bench.peers.targets import DIRECT, ROOT, TARGETS, Place, Start, Target, ztoapi_of

__all__ = ["main"]

_TOOLS = Path.home() / ".cache" / "ztoapi-peers"
_WARM_UP_SECONDS = 0.5
_SETTLE_SECONDS = 2.0
"""Time with 1,000 open streams: long enough for each to receive more deltas."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the tables and writes the files. Returns the exit code."""
    args = _parser().parse_args(arguments)
    if args.command == "install":
        return _install(args.name, args.tools)
    # All programs of a run inherit it: 10,000 streams take 20,000 descriptors of a gateway.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as directory:
        targets = (*TARGETS, *([_base(args.base, Path(directory))] if args.base else []))
        return _compare(args, targets)


def _compare(args: argparse.Namespace, targets: Sequence[Target]) -> int:
    names = args.targets.split(",") if args.targets else [target.name for target in targets]
    names += [target.name for target in targets[len(TARGETS) :]]
    unknown = set(names) - {target.name for target in targets}
    if unknown:
        print(
            f"unknown target {', '.join(sorted(unknown))}; targets: {', '.join(t.name for t in TARGETS)}",
            file=sys.stderr,
        )
        return 2
    installed: dict[str, tuple[Target, str]] = {}
    for target in targets:
        if target.name in names:
            program = target.find(args.tools)
            if program is None:
                print(
                    f"skipping {target.name}, which is not installed: python -m bench.peers install {target.name}",
                    file=sys.stderr,
                )
            else:
                installed[target.name] = (target, program)
    versions = {name: target.version_text(args.tools) for name, (target, _) in installed.items()}
    rounds = _measure_all(installed, args.workloads.split(","), args.rounds, args.seconds, args.workers)
    notes = _notes(versions, args.rounds, args.seconds, args.workers)
    text = markdown(rounds, list(installed), [f"{note}  " for note in notes])
    print(text)
    if args.output:
        output = Path(args.output)
        report = {"notes": notes, "versions": versions, "rounds": rounds}
        output.with_suffix(".json").write_text(json.dumps(report, indent=1))
        output.with_suffix(".md").write_text(text)
        output.with_suffix(".svg").write_text(_chart(rounds, list(installed), notes))
    return 0


def _measure_all(
    installed: dict[str, tuple[Target, str]], workloads: list[str], count: int, seconds: float, workers: int
) -> list[Result]:
    rounds: list[Result] = []

    def note(number: int, workload: str, name: str, result: Result) -> None:
        rounds.append({"round": number, "workload": workload, "target": name, **result})
        print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)

    for number in range(count):
        for workload in workloads:
            if workload == "memory":
                for name, (target, program) in installed.items():
                    note(number, workload, name, measure_memory(target, program, workers))
                continue
            if workload.startswith("single"):
                note(number, workload, DIRECT, measure(None, "", workload, seconds, workers))
            for name, (target, program) in installed.items():
                note(number, workload, name, measure(target, program, workload, seconds, workers))
    return rounds


def measure(target: Target | None, program: str, workload: str, seconds: float, workers: int) -> Result:
    """Measures one target (None: the mock itself) under one workload, with its own mock."""
    mock_port, port = free_port(), free_port()
    with _mock(mock_port) as upstream:
        if target is None:
            _load(workload, mock_port, _WARM_UP_SECONDS, {})
            return _timed(upstream, upstream, lambda: _load(workload, mock_port, seconds, {}))
        with _gateway(target, program, port, mock_port, workers) as gateway:
            headers = _headers(target, mock_port)
            if workload not in OPEN:
                _load(workload, port, _WARM_UP_SECONDS, headers)
                return _timed(gateway, upstream, lambda: _load(workload, port, seconds, headers))
            with _Streams(workload, port, headers) as streams:
                streams.opened()
                time.sleep(_SETTLE_SECONDS)
                streams.results()
                return _timed(gateway, upstream, lambda: streams.results(after=seconds))


def _timed(gateway: Process, upstream: Process, load: Callable[[], Result]) -> Result:
    cpu, mock_cpu, start = gateway.cpu_seconds(), upstream.cpu_seconds(), time.monotonic()
    result = load()
    elapsed = time.monotonic() - start
    used = gateway.cpu_seconds() - cpu
    return {
        "cpu_us": round(used / (result["units"] or 1) * 1e6, 2),
        "gateway_busy": round(used / elapsed, 2),
        "mock_busy": round((upstream.cpu_seconds() - mock_cpu) / elapsed, 2),
        **result,
    }


def measure_memory(target: Target, program: str, workers: int) -> Result:
    """Measures the memory of the process tree after the first request, and with 1,000 open streams."""
    mock_port, port = free_port(), free_port()
    with _mock(mock_port), _gateway(target, program, port, mock_port, workers) as gateway:
        headers = _headers(target, mock_port)
        _load("single", port, 0.0, headers)
        idle = gateway.memory_bytes()
        with _Streams("open1000", port, headers) as streams:
            opened = streams.opened()
            time.sleep(_SETTLE_SECONDS)
            loaded = gateway.memory_bytes()
    return {"idle_mb": round(idle / 1e6, 1), "streams_mb": round(loaded / 1e6, 1) if opened else None}


class _Streams:
    """The load generator with open streams, which are closed at the end of the ``with`` statement."""

    def __init__(self, workload: str, port: int, headers: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.peers.load", workload, str(port), "0", json.dumps(headers)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def opened(self) -> bool:
        """Waits until each stream has received a token. Returns False if the load generator has failed."""
        return self._line() == "\n"

    def results(self, after: float = 0.0) -> Result:
        """Returns the results since the last call, ``after`` so many seconds."""
        time.sleep(after)
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        result: Result = json.loads(self._line())
        self._line()
        return result

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


def _mock(port: int) -> Process:
    return Process(Start([sys.executable, "-m", "bench.peers.mock", str(port)], {"PYTHONPATH": str(ROOT)}), port)


def _gateway(target: Target, program: str, port: int, mock_port: int, workers: int) -> Process:
    directory = tempfile.TemporaryDirectory()
    return Process(target.start(Place(port, mock_port, Path(directory.name), program, workers)), port, directory)


def _base(revision: str, directory: Path) -> Target:
    """Returns the target that is ztoapi as of a revision of this repository."""
    archive = subprocess.run(["git", "archive", revision, "ztoapi"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", directory], input=archive, check=True)
    return ztoapi_of(f"ztoapi {revision}", directory)


def _headers(target: Target, mock_port: int) -> dict[str, str]:
    return {name: value.format(upstream=mock_port) for name, value in target.headers.items()}


def _load(workload: str, port: int, seconds: float, headers: dict[str, str]) -> Result:
    output = subprocess.run(
        [sys.executable, "-m", "bench.peers.load", workload, str(port), str(seconds), json.dumps(headers)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    result: Result = json.loads(output)
    return result


def _install(name: str, tools: Path) -> int:
    target = next((target for target in TARGETS if target.name == name), None)
    if target is None:
        print(f"unknown target {name}; targets: {', '.join(target.name for target in TARGETS)}", file=sys.stderr)
        return 2
    for command in target.install:
        line = shlex.split(command.format(tools=shlex.quote(str(tools / name))))
        print(shlex.join(line), file=sys.stderr)
        code = subprocess.run(line, check=False).returncode
        if code:
            return code
    print(target.version_text(tools))
    return 0


def _chart(rounds: list[Result], names: list[str], notes: list[str]) -> str:
    panels: dict[str, dict[str, float]] = {}
    for workload in ("unary", "rate", "burst", "paced", "prompt", "churn"):
        bars = {name: value for name in names if (value := ratio(rounds, workload, name)) is not None}
        if bars:
            panels[f"{workload}: a {UNITS.get(workload, 'request')}"] = bars
    return chart(panels, "ztoapi", [line for note in notes for line in textwrap.wrap(note, 130)])


def _notes(versions: dict[str, str], rounds: int, seconds: float, workers: int) -> list[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    # Debian's build is optimized without this option; its date tells it from others.
    build = sys.version.partition(" [")[0] + (", --enable-optimizations" if optimized else "")
    count = "one worker" if workers == 1 else f"{workers} workers"
    return [
        f"{cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {build}, "
        f"{time.strftime('%F')}; {count}, {rounds} rounds of {seconds:g} s.",
        "; ".join(f"{name}: {version}" for name, version in versions.items()) + ".",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    every = ",".join((*WORKLOADS, "memory"))
    parser.add_argument("--workloads", default=every, help=f"of {every}")
    parser.add_argument("--targets", default="", help="names, separated by commas (default: all that are installed)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument(
        "--workers", type=int, default=1, help="worker processes or threads of each target (%(default)s)"
    )
    parser.add_argument("--base", default="", metavar="REVISION", help="also measures ztoapi as of this git revision")
    parser.add_argument("--output", default="", help="writes OUTPUT.json, OUTPUT.md and OUTPUT.svg")
    parser.add_argument("--tools", type=Path, default=_TOOLS, help="directory of installed targets (%(default)s)")
    commands = parser.add_subparsers(dest="command")
    install = commands.add_parser("install", help="install one target")
    install.add_argument("name")
    return parser


def _end(number: int, _: FrameType | None) -> None:
    """Ends the run by an exception, so that each ``with`` statement ends the programs that it has started."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    raise SystemExit(main())
