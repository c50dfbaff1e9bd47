"""``python -m bench.gate_proof``: proves the regression gate on packages of others.

The packages are those of this environment. Each becomes a project of its own with a scenario, and the gate runs in it
as users run it, while other processes use the processors. Runs without a change count false alarms. Runs with a change
add work of 2% to one function, in turn to each that the scenario enters; the gate must fail and name the function.
"""

import argparse
import ast
import contextlib
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.gate.measure import Tools, measure
from bench.gate.subject import Subject
from bench.gate.trees import copy

__all__ = ["SCENARIOS", "main"]

_ROOT: Final = Path(__file__).resolve().parents[1]
_GROWTH: Final = 0.0205
"""Opcodes are whole numbers, and the limit of the gate is above 2%."""
_ADDED: Final = "_proof = None"
"""A statement of two opcodes that allocates nothing."""
_OPCODES: Final = 2
_BUSY: Final = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
"""A program that ends with its parent."""
_NAMED: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
SCENARIOS: Final = {
    "h11": """\
import h11

def exchange():
    head = [("Host", "example.org"), ("Accept", "*/*")]

    def step():
        client, server = h11.Connection(h11.CLIENT), h11.Connection(h11.SERVER)
        server.receive_data(client.send(h11.Request(method="GET", target="/", headers=head)))
        server.receive_data(client.send(h11.EndOfMessage()))
        server.next_event(), server.next_event()
        client.receive_data(server.send(h11.Response(status_code=200, headers=[("Content-Length", "2")])))
        client.receive_data(server.send(h11.Data(data=b"ok")))
        client.receive_data(server.send(h11.EndOfMessage()))
        return client.next_event(), client.next_event(), client.next_event()

    return step

SCENARIOS = {"exchange": exchange}
""",
    "httpx": """\
import httpx

def request():
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={"path": request.url.path}))
    client = httpx.Client(transport=transport, base_url="http://example.org")
    return lambda: client.post("/v1/chat", json={"model": "m"}, params={"a": 1}).json()

SCENARIOS = {"request": request}
""",
    "idna": """\
import idna

def names():
    return lambda: [idna.decode(idna.encode(name)) for name in ("пример.рф", "bücher.example", "例え.jp")]

SCENARIOS = {"names": names}
""",
}


class Tally(NamedTuple):
    """Runs and alarms without a change; changes, those that were caught, and those whose function was named."""

    runs: int = 0
    alarms: int = 0
    changes: int = 0
    caught: int = 0
    named: int = 0


class Project:
    """A copy of a package in a repository of its own."""

    def __init__(self, root: Path, package: str, *, instructions: bool) -> None:
        root.mkdir()
        self._root = root
        self._package = package
        self._arguments = [] if instructions else ["--no-instructions"]
        self._copy()
        (root / "scenarios.py").write_text(SCENARIOS[package], "utf-8")
        settings = f'[tool.bench-gate]\nscenarios = "scenarios.py"\npackages = ["{package}"]\n'
        (root / "pyproject.toml").write_text(settings, "utf-8")
        author = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "base"]):
            subprocess.run(["git", *author, *arguments], cwd=root, check=True)

    def _copy(self) -> None:
        spec = importlib.util.find_spec(self._package)
        assert spec is not None and spec.origin is not None
        target = self._root / self._package
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(Path(spec.origin).parent, target, ignore=shutil.ignore_patterns("__pycache__"))

    def gate(self) -> dict[str, Any]:
        """Runs the gate against the commit, and returns its report."""
        report = self._root.with_suffix(".json")
        command = [sys.executable, "-m", "bench.gate", "--base", "HEAD", "--json", str(report), *self._arguments]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        result = subprocess.run(command, cwd=self._root, env=environment, capture_output=True, text=True, check=False)
        if result.returncode not in (0, 1):
            raise RuntimeError(f"the gate could not run: {result.stderr}")
        outcome: dict[str, Any] = json.loads(report.read_text("utf-8"))
        return outcome

    def changes(self) -> list[tuple[str, int]]:
        """Returns the functions that a change can make 2% of the step more expensive, each with the number of
        statements that do so."""
        subject = Subject.read(self._root, None, None, None, ())
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            tree = copy(self._root, subject.packages, directory / "head")
            (profile,) = measure(tree, subject, Tools.find(directory, instructions=False)).profiles.values()
        costs = profile.opcodes()
        needed = sum(opcodes for opcodes, _ in costs.values()) * _GROWTH / _OPCODES
        counts = {place: math.ceil(needed / calls) for place, (_, calls) in costs.items() if 1 <= calls <= needed}
        return [(place, count) for place, count in counts.items() if self._line(place) is not None]

    def _line(self, place: str) -> tuple[Path, int, int] | None:
        """Returns the file of a function, and line and column of the first statement after its docstring; None for a
        function that cannot be changed so."""
        file, _, name = place.partition(":")
        path = self._root / file
        if place.startswith("<") or "<" in name or not path.is_file():
            return None
        body: list[ast.stmt] = ast.parse(path.read_text("utf-8")).body
        node: ast.stmt | None = None
        for part in name.split("."):
            # A property has several functions of one name, of which the report names none.
            found = [one for one in body if isinstance(one, _NAMED) and one.name == part and not _is_overload(one)]
            if len(found) != 1:
                return None
            node = found[0]
            body = node.body
        assert node is not None
        if any(isinstance(one, ast.Yield | ast.YieldFrom) for one in ast.walk(node)):
            # Each continuation counts as a call, and runs the first statement no more.
            return None
        documented = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
        first = body[1 if documented and len(body) > 1 else 0]
        return (path, first.lineno, first.col_offset) if first.lineno > node.lineno else None

    @contextlib.contextmanager
    def changed(self, place: str, statements: int) -> Iterator[None]:
        """Adds statements to a function."""
        found = self._line(place)
        assert found is not None
        path, line, column = found
        text = path.read_text("utf-8")
        lines = text.splitlines(keepends=True)
        lines.insert(line - 1, f"{' ' * column}{_ADDED}\n" * statements)
        path.write_text("".join(lines), "utf-8")
        try:
            yield
        finally:
            path.write_text(text, "utf-8")


def _is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


@contextlib.contextmanager
def _load(processes: int) -> Iterator[None]:
    """Keeps processors busy, as on a shared machine."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def prove(root: Path, package: str, runs: int, *, instructions: bool) -> Tally:
    """Runs the gate ``runs`` times without a change, and as often with one."""
    project = Project(root / package, package, instructions=instructions)
    tally = Tally()
    for number in range(runs):
        outcome = project.gate()
        tally = tally._replace(runs=number + 1, alarms=tally.alarms + (not outcome["passed"]))
        if not outcome["passed"]:
            print(f"{package}: alarm without a change: {outcome['failures']}", flush=True)
    changes = itertools.islice(itertools.cycle(project.changes()), runs)
    for number, (place, statements) in enumerate(changes):
        with project.changed(place, statements):
            outcome = project.gate()
        (counts,) = outcome["scenarios"].values()
        named = any(line.startswith(f"{place}:") for lines in outcome["growth"].values() for line in lines)
        if outcome["passed"] or not named:
            growth = counts["opcodes"]["change"]
            print(
                f"{package}: {place}, {growth:+.2%}: {'not caught' if outcome['passed'] else 'not named'}", flush=True
            )
        tally = tally._replace(
            changes=number + 1, caught=tally.caught + (not outcome["passed"]), named=tally.named + named
        )
    return tally


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a row for each package; returns 1 for a false alarm, or a change that was missed."""
    parser = argparse.ArgumentParser(prog="bench.gate_proof", description=__doc__)
    parser.add_argument("packages", nargs="*", default=list(SCENARIOS), metavar="PACKAGE", help="h11, httpx, idna")
    parser.add_argument("--runs", type=int, default=100, metavar="N", help="runs of each kind (default 100)")
    parser.add_argument("--load", type=int, default=os.cpu_count() or 1, metavar="N", help="busy processes meanwhile")
    parser.add_argument("--instructions", action="store_true", help="count them too, with valgrind")
    args = parser.parse_args(arguments)
    whole = True
    print("| package | runs without a change | alarms | changes of +2% | caught | function named |")
    print("|---|--:|--:|--:|--:|--:|", flush=True)
    with tempfile.TemporaryDirectory(prefix="gate-proof-") as name, _load(args.load):
        for package in args.packages:
            tally = prove(Path(name), package, args.runs, instructions=args.instructions)
            version = importlib.metadata.version(package)
            print(f"| {package} {version} | {' | '.join(map(str, tally))} |", flush=True)
            whole = whole and not tally.alarms and tally.changes == tally.caught == tally.named
    return 0 if whole else 1


if __name__ == "__main__":
    raise SystemExit(main())
