"""Counts the cost of each scenario, compares it with a base and with budgets, and exits with 1 on a regression.

``docs/regression-gate.md`` is the manual."""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .errors import CannotLoadError, GateError
from .growth import flame_graph, grown
from .history import Row, append, chart, conditions, read
from .measure import INTERPRETER, Counts, Key, Measurement, Tools, measure, own_counts
from .report import Outcome, read_baseline, save_baseline
from .subject import Subject
from .trees import (
    COMMIT_CHARACTERS,
    SHALLOW,
    automatic_base,
    changed_since,
    copy,
    described,
    is_same,
    resolve,
    why_no_base,
    worktree,
)
from .verdicts import Budgets, Verdict, judge, parse_limit

__all__ = ["main"]

_COMMAND = str(__package__).replace("_", "-")
"""``bench.gate`` in this repository. Other projects install the package ``bench_gate`` with the command bench-gate."""
_REGRESSION, _REFUSAL, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 success, 1 a regression or a broken budget, 2 the gate could not run."""
    args = _parser().parse_args(arguments)
    try:
        _check_files(args)
        outcome, row = _compare(args)
        if args.history:
            append(args.history, row)
        if args.chart:
            args.chart.write_text(chart(read(args.history)), "utf-8")
        print(outcome.markdown(), end="")
        if args.markdown:
            args.markdown.write_text(outcome.markdown(), "utf-8")
        if args.json:
            args.json.write_text(json.dumps(outcome.json(), indent=1) + "\n", "utf-8")
    except (GateError, OSError, subprocess.SubprocessError) as error:
        # These are no results of the measured code; an uncaught exception would exit with 1, like a regression.
        _end_progress(f"{_COMMAND}: {error}\n")
        return _REFUSAL
    except KeyboardInterrupt:
        _end_progress(f"{_COMMAND}: interrupted\n")
        return _INTERRUPTED
    return _REGRESSION if outcome.failures else 0


def _end_progress(message: str = "") -> None:
    """Writes ``message`` in place of the last line of the progress, which a terminal shows."""
    sys.stderr.write(f"\r\x1b[K{message}" if sys.stderr.isatty() else message)


def _check_files(args: argparse.Namespace) -> None:
    """Raises GateError if an output file cannot be written, before a minute of counting."""
    for option in ("save", "json", "markdown", "flame-graph", "history", "chart"):
        file: Path | None = getattr(args, option.replace("-", "_"))
        if file is not None and (file.is_dir() or not file.parent.is_dir()):
            raise GateError(f"--{option}: {file} cannot be written; use an existing folder")
    if args.flame_graph and args.flame_graph.suffix not in (".svg", ".html"):
        raise GateError(f"--flame-graph: {args.flame_graph}: the name must end in .svg or .html")
    if args.chart and not args.history:
        raise GateError("--chart: draws the file of --history: name it")
    if args.history and args.history.exists():
        read(args.history)


def _compare(args: argparse.Namespace) -> tuple[Outcome, Row]:
    """Returns the result and its row in the history."""
    limit = parse_limit(args.limit)
    subject = Subject.read(Path.cwd(), args.scenarios, args.package, args.budgets, args.names)
    base_commit, no_base = (None, "") if args.baseline else _base(subject, args.base)
    budgets = Budgets.read(subject.budgets, INTERPRETER) if subject.budgets else Budgets()
    changed = changed_since(subject.root, base_commit) if base_commit else []
    with tempfile.TemporaryDirectory(prefix="gate-") as name:
        directory = Path(name)
        tools = Tools.find(directory, instructions=not args.no_instructions)
        head_tree = copy(subject.root, subject.packages, directory / "head")
        if budgets.counts and (names := own_counts(head_tree, subject)):
            budgets.check(names)
        with ThreadPoolExecutor() as both:
            base_run = (
                both.submit(_measure_base, subject, base_commit, directory, tools, changed) if base_commit else None
            )
            head = measure(head_tree, subject, tools, changed)
            base = base_run.result() if base_run else None
    _end_progress()
    if head.errors:
        reasons = (f"{name} fails: {reason}\n{head.tracebacks[name]}" for name, reason in head.errors.items())
        raise GateError("\n".join(reasons).rstrip())
    key = Key.of(tools, head.files, subject.packages)
    if args.save:
        save_baseline(args.save, key, head.counts)
    former: Counts | None = None
    against: str | None = None
    if args.baseline:
        stored = read_baseline(args.baseline, key)
        former = {name: counts for name, counts in stored.items() if not subject.names or name in head.counts}
        against = str(args.baseline)
    elif base is not None and base_commit is not None:
        former, against = base.counts, base_commit[:COMMIT_CHARACTERS]
    cells = judge(head.counts, former, budgets.of(list(head.counts) if subject.names else ()), limit)
    grew: dict[str, list[str]] = {}
    failed = list(dict.fromkeys(cell.scenario for cell in cells if cell.verdict.fails))
    if base is not None:
        compared = [name for name in failed if name in base.profiles]
        grew = {name: lines for name in compared if (lines := grown(base.profiles[name], head.profiles[name]))}
    notes = list(tools.notes)
    if base_commit is not None and is_same(subject.root, base_commit, subject.packages):
        odd = dict.fromkeys(cell.scenario for cell in cells if cell.verdict in (Verdict.REGRESSED, Verdict.IMPROVED))
        notes += [f"{name} is not deterministic: the packages are the same in base" for name in odd]
    if args.flame_graph and head.profiles:
        _draw(args.flame_graph, failed, base, head)
    commit, date = described(subject.root, subject.packages)
    outcome = Outcome(key, against, cells, notes, base.errors if base else {}, grew, no_base, commit)
    return outcome, Row(commit, date, not outcome.failures, conditions(key), head.counts)


def _draw(path: Path, failed: Sequence[str], base: Measurement | None, head: Measurement) -> None:
    """Writes the flame graphs of the scenarios that fail, or of all: an SVG of the first one, or a page of them."""
    names = [name for name in head.profiles if name in failed] or list(head.profiles)
    former = base.profiles if base else {}
    graphs = [flame_graph(name, former.get(name), head.profiles[name]) for name in names]
    page = f"<!doctype html><meta charset=utf-8><title>Regression gate</title>{''.join(graphs)}"
    path.write_text(graphs[0] if path.suffix == ".svg" else page, "utf-8")


def _base(subject: Subject, reference: str) -> tuple[str | None, str]:
    """Returns the commit of base, or the reason why there is none. Raises GateError."""
    if reference == "none":
        return None, "--base none"
    if reference == "auto":
        commit = automatic_base(subject.root, subject.packages)
        reason = "" if commit else why_no_base(subject.root)
        if reason == SHALLOW and subject.budgets is None:
            # In CI the gate would pass on each commit without a comparison.
            raise GateError(
                f"nothing to compare with: {SHALLOW}, and there is no file of budgets. Fetch the history "
                "(fetch-depth: 0 for actions/checkout, git fetch --unshallow), or use --base none to count only"
            )
        return commit, reason
    commit = resolve(subject.root, reference)
    if commit is None:
        raise GateError(f"no commit {reference!r} here: fetch it first (a CI checkout may be shallow)")
    return commit, ""


def _measure_base(subject: Subject, commit: str, directory: Path, tools: Tools, changed: Sequence[str]) -> Measurement:
    """Base's packages under head's scenarios: the same work on both sides."""
    with worktree(subject.root, commit, directory / "worktree") as root:
        tree = copy(root, subject.packages, directory / "base")
    try:
        return measure(tree, subject, tools, changed)
    except CannotLoadError as error:
        return Measurement({}, {"every scenario": str(error).partition("\n")[0]}, {})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_COMMAND, description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="SCENARIO", help="count only these scenarios")
    parser.add_argument(
        "--scenarios", metavar="FILE", help="file of the scenarios, or file or folder of benchmarks of pytest"
    )
    parser.add_argument(
        "--package", action="append", metavar="PATH", help="measured package, e.g. src/name; repeatable"
    )
    parser.add_argument("--budgets", metavar="FILE", help="file of the budgets (TOML)")
    base = parser.add_mutually_exclusive_group()
    base.add_argument(
        "--base", default="auto", metavar="REF", help="the commit to compare with; auto (default) or none"
    )
    base.add_argument("--baseline", type=Path, metavar="FILE", help="compare with counts stored by --save")
    parser.add_argument("--save", type=Path, metavar="FILE", help="store head's counts as a baseline")
    parser.add_argument("--limit", default="2%", help="maximum growth of a count (default 2%%)")
    parser.add_argument(
        "--no-instructions", action="store_true", help="without valgrind; takes seconds instead of minutes"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the table, e.g. for a pull-request comment"
    )
    parser.add_argument("--history", type=Path, metavar="FILE", help="append the counts as a row")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the rows of --history as SVG")
    parser.add_argument(
        "--flame-graph",
        type=Path,
        metavar="FILE",
        help="draw the opcodes and their difference from base: .svg or .html",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
