"""Compares gateways: ``python -m bench.peers --workloads unary,burst,paced --rounds 5 --output results``.

Every target is measured in turn against the same mock, round after round; what counts is CPU per unit of work, as a
ratio to nginx in the same round. A round in which the mock was busier than its core allows is thrown away and said.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.peers.load import CONNECTIONS, UNITS, WORKLOADS
from bench.peers.measure import Process, free_port
from bench.peers.targets import ROOT, TARGETS, Start, Target

__all__ = ["main"]

MOCK_BUSY = 0.95
"""Share of a core above which the mock is the bottleneck."""
Result = dict[str, Any]


def main() -> int:
    """Measure, print the table, write the files; returns the exit code."""
    args = _parser().parse_args()
    if args.install:
        for target in TARGETS:
            print(f"{target.name}: {target.install}")
        return 0
    wanted = args.targets.split(",") if args.targets else [target.name for target in TARGETS]
    targets = [target for target in TARGETS if target.name in wanted]
    for target in targets:
        if target.find() is None:
            print(f"{target.name} is skipped: it is not installed ({target.install})", file=sys.stderr)
    targets = [target for target in targets if target.find() is not None]
    rounds: list[Result] = []
    for number in range(args.rounds):
        for workload in args.workloads.split(","):
            for target in targets:
                result = {"round": number, "workload": workload, "target": target.name}
                result |= measure(target, workload, args.seconds)
                rounds.append(result)
                print(json.dumps(result), file=sys.stderr, flush=True)
    report = {"machine": _machine(), "versions": {t.name: t.version_text() for t in targets}, "rounds": rounds}
    print(table(rounds, [target.name for target in targets]))
    if args.output:
        Path(args.output).with_suffix(".json").write_text(json.dumps(report, indent=1))
        Path(args.output).with_suffix(".md").write_text(table(rounds, [target.name for target in targets]))
    return 0


def measure(target: Target, workload: str, seconds: float) -> Result:
    """One target under one workload, with a mock of its own."""
    mock_port, port = free_port(), free_port()
    directory = tempfile.TemporaryDirectory()
    mock = Start([sys.executable, "-m", "bench.peers.mock", str(mock_port)], {"PYTHONPATH": str(ROOT)})
    with (
        Process(mock, mock_port) as upstream,
        Process(target.start(port, mock_port, Path(directory.name)), port, directory) as gateway,
    ):
        _load(workload, port, 0.5)
        idle = gateway.resident_bytes()
        cpu, mock_cpu, start = gateway.cpu_seconds(), upstream.cpu_seconds(), time.monotonic()
        load = _load(workload, port, seconds)
        elapsed = time.monotonic() - start
        used = gateway.cpu_seconds() - cpu
        units = load["units"] or 1
        return {
            "cpu_us": round(used / units * 1e6, 2),
            "gateway_busy": round(used / elapsed, 2),
            "mock_busy": round((upstream.cpu_seconds() - mock_cpu) / elapsed, 2),
            "resident_mb": round(gateway.resident_bytes() / 1e6, 1),
            "resident_after_warm_up_mb": round(idle / 1e6, 1),
            **load,
        }


def _load(workload: str, port: int, seconds: float) -> Result:
    output = subprocess.run(
        [sys.executable, "-m", "bench.peers.load", workload, str(port), str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    result: Result = json.loads(output)
    return result


def table(rounds: list[Result], names: list[str]) -> str:
    """A markdown table of medians for each workload."""
    lines: list[str] = []
    for workload in dict.fromkeys(result["workload"] for result in rounds):
        unit = UNITS.get(workload, "request")
        lines += [
            f"\n**{workload}**, {CONNECTIONS[workload]} connections",
            "",
            f"| target | CPU us per {unit} | x nginx | p50 ms | p99 ms | first token p99 ms | RSS MB | errors |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        floor = _median(rounds, workload, "nginx")
        for name in names:
            mine = [one for one in rounds if one["workload"] == workload and one["target"] == name]
            good = [one for one in mine if one["mock_busy"] < MOCK_BUSY]
            if not good:
                lines.append(f"| {name} | not told: the mock was the bottleneck | | | | | | |")
                continue
            cpu = statistics.median(one["cpu_us"] for one in good)
            cells = [_percentile(good, "latency_ms", "p50"), _percentile(good, "latency_ms", "p99")]
            cells += [
                _percentile(good, "ttft_ms", "p99"),
                f"{statistics.median(one['resident_mb'] for one in good):.0f}",
            ]
            errors = sum(sum(one["errors"].values()) for one in mine)
            ratio = f"{cpu / floor:.2f}" if floor else ""
            lines.append(f"| {name} | {cpu:.1f} | {ratio} | {' | '.join(cells)} | {errors} |")
    return "\n".join(lines) + "\n"


def _median(rounds: list[Result], workload: str, name: str) -> float:
    values = [one["cpu_us"] for one in rounds if one["workload"] == workload and one["target"] == name]
    return statistics.median(values) if values else 0.0


def _percentile(results: list[Result], what: str, which: str) -> str:
    values = [one[what][which] for one in results if one[what]]
    return f"{statistics.median(values):.2f}" if values else ""


def _machine() -> dict[str, str]:
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return {"cpu": cpu, "system": platform.platform(), "python": platform.python_version()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--workloads", default="unary,burst,paced", help=f"of {', '.join(WORKLOADS)}")
    parser.add_argument("--targets", default="", help="names, separated by commas; all that are installed by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--output", default="", help="writes OUTPUT.json and OUTPUT.md")
    parser.add_argument("--install", action="store_true", help="print how each target is installed")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
