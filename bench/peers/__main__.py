"""Compares gateways: ``python -m bench.peers --rounds 5 --output results``. ``docs/comparison.md`` is the manual.

Every target is measured in turn against the same mock, for several rounds. The results are the CPU per unit of work, as
a ratio to nginx in the same round, and the latency added to direct calls of the mock in the same round.
"""

import argparse
import json
import platform
import shlex
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

from bench.peers.chart import chart
from bench.peers.load import UNITS, WORKLOADS
from bench.peers.measure import Process, free_port
from bench.peers.report import Result, markdown, ratio
from bench.peers.targets import DIRECT, ROOT, TARGETS, Place, Start, Target

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
    names = args.targets.split(",") if args.targets else [target.name for target in TARGETS]
    unknown = set(names) - {target.name for target in TARGETS}
    if unknown:
        print(
            f"unknown target {', '.join(sorted(unknown))}; targets: {', '.join(t.name for t in TARGETS)}",
            file=sys.stderr,
        )
        return 2
    installed: dict[str, tuple[Target, str]] = {}
    for target in TARGETS:
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
    rounds = _measure_all(installed, args.workloads.split(","), args.rounds, args.seconds)
    notes = _notes(versions, args.rounds, args.seconds)
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
    installed: dict[str, tuple[Target, str]], workloads: list[str], count: int, seconds: float
) -> list[Result]:
    rounds: list[Result] = []

    def note(number: int, workload: str, name: str, result: Result) -> None:
        rounds.append({"round": number, "workload": workload, "target": name, **result})
        print(json.dumps(rounds[-1]), file=sys.stderr, flush=True)

    for number in range(count):
        for workload in workloads:
            if workload == "memory":
                for name, (target, program) in installed.items():
                    note(number, workload, name, measure_memory(target, program))
                continue
            if workload.startswith("single"):
                note(number, workload, DIRECT, measure(None, "", workload, seconds))
            for name, (target, program) in installed.items():
                note(number, workload, name, measure(target, program, workload, seconds))
    return rounds


def measure(target: Target | None, program: str, workload: str, seconds: float) -> Result:
    """Measures one target (None: the mock itself) under one workload, with its own mock."""
    mock_port, port = free_port(), free_port()
    with _mock(mock_port) as upstream:
        if target is None:
            _load(workload, mock_port, _WARM_UP_SECONDS, {})
            return _timed(upstream, upstream, workload, mock_port, seconds, {})
        with _gateway(target, program, port, mock_port) as gateway:
            headers = _headers(target, mock_port)
            _load(workload, port, _WARM_UP_SECONDS, headers)
            return _timed(gateway, upstream, workload, port, seconds, headers)


def _timed(
    gateway: Process, upstream: Process, workload: str, port: int, seconds: float, headers: dict[str, str]
) -> Result:
    cpu, mock_cpu, start = gateway.cpu_seconds(), upstream.cpu_seconds(), time.monotonic()
    load = _load(workload, port, seconds, headers)
    elapsed = time.monotonic() - start
    used = gateway.cpu_seconds() - cpu
    return {
        "cpu_us": round(used / (load["units"] or 1) * 1e6, 2),
        "gateway_busy": round(used / elapsed, 2),
        "mock_busy": round((upstream.cpu_seconds() - mock_cpu) / elapsed, 2),
        **load,
    }


def measure_memory(target: Target, program: str) -> Result:
    """Measures the resident memory of the process tree after the first request, and with 1,000 open streams."""
    mock_port, port = free_port(), free_port()
    with _mock(mock_port), _gateway(target, program, port, mock_port) as gateway:
        headers = _headers(target, mock_port)
        _load("single", port, 0.0, headers)
        idle = gateway.resident_bytes()
        command = [sys.executable, "-m", "bench.peers.load", "open", str(port), "0", json.dumps(headers)]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as load:
            assert load.stdout is not None
            opened = load.stdout.readline() == "open\n"
            time.sleep(_SETTLE_SECONDS)
            streams = gateway.resident_bytes()
            load.kill()
    return {"idle_mb": round(idle / 1e6, 1), "streams_mb": round(streams / 1e6, 1) if opened else None}


def _mock(port: int) -> Process:
    return Process(Start([sys.executable, "-m", "bench.peers.mock", str(port)], {"PYTHONPATH": str(ROOT)}), port)


def _gateway(target: Target, program: str, port: int, mock_port: int) -> Process:
    directory = tempfile.TemporaryDirectory()
    return Process(target.start(Place(port, mock_port, Path(directory.name), program)), port, directory)


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
    for workload in ("unary", "burst", "paced", "prompt"):
        bars = {name: value for name in names if (value := ratio(rounds, workload, name)) is not None}
        if bars:
            panels[f"{workload}: a {UNITS.get(workload, 'request')}"] = bars
    return chart(panels, "ztoapi", [line for note in notes for line in textwrap.wrap(note, 130)])


def _notes(versions: dict[str, str], rounds: int, seconds: float) -> list[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    return [
        f"{cpu}, {platform.system()} {platform.release()}, Python {platform.python_version()}, {time.strftime('%F')}; "
        f"{rounds} rounds of {seconds:g} s.",
        "; ".join(f"{name}: {version}" for name, version in versions.items()) + ".",
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    every = ",".join((*WORKLOADS, "memory"))
    parser.add_argument("--workloads", default=every, help=f"of {every}")
    parser.add_argument("--targets", default="", help="names, separated by commas (default: all that are installed)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--output", default="", help="writes OUTPUT.json, OUTPUT.md and OUTPUT.svg")
    parser.add_argument("--tools", type=Path, default=_TOOLS, help="directory of installed targets (%(default)s)")
    commands = parser.add_subparsers(dest="command")
    install = commands.add_parser("install", help="install one target")
    install.add_argument("name")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
