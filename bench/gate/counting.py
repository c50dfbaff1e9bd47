"""Counts one unit of work of each scenario of a file.

The gate runs this file in separate interpreters, with the measured packages first on the path. It imports nothing from
the gate. Each scenario is set up, warmed up and counted in its own forked process, so that scenarios cannot affect each
other and fail separately. The counts of a run without steps are subtracted from those of a run with many.

``counting.py counts FILE RESULT [NAME ...]`` counts opcodes, calls, memory blocks and the scenario's own counts. The
folder of ``RESULT`` is the tree of the measured packages; calls are counted in its files.
``counting.py instructions FILE RESULT [NAME ...]`` runs under cachegrind, which writes a file ``cachegrind.PID`` beside
``RESULT`` for each forked process. Without names all scenarios are counted.
"""

import ctypes
import gc
import importlib.util
import itertools
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

WARM_UP_STEPS = 300
"""Enough for the interpreter to specialise (at most 64 calls in 3.13) and for caches to fill."""
STEPS = 100
"""Number of steps to average over, so that occasional work has its share."""

_SMALL_SHARE = 0.001
_STARTUP = frozenset(sys.modules)

T = TypeVar("T")


class SelectionError(Exception):
    """The names on the command line match nothing, or there is nothing to measure. The message lists what exists."""


Step = Callable[[], object]
Totals = Callable[[], Mapping[str, int]]
Setup = Callable[[], Step | tuple[Step, Totals]]
Result = dict[str, Any]
Node = list[Any]
"""A function in a call stack: place, instructions without those of its calls, entries, and children by code."""


def compile_in(directory: Path) -> None:
    """Leaves no ``__pycache__`` in the project. Modules that are imported earlier need not be compiled again."""
    sys.pycache_prefix = str(directory / "compiled")


def load(path: Path, directory: Path) -> Mapping[str, Setup]:
    """Returns ``SCENARIOS`` of the file."""
    compile_in(directory)
    spec = importlib.util.spec_from_file_location("scenarios", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    scenarios: Mapping[str, Setup] = module.SCENARIOS
    return scenarios


def prepare(setup: Setup) -> tuple[Step, Totals]:
    made = setup()
    step, totals = made if isinstance(made, tuple) else (made, dict)
    repeat(step, WARM_UP_STEPS)
    return step, totals


def repeat(step: Step, times: int) -> None:
    # A loop counter would count as a memory block above 256.
    for _ in itertools.repeat(None, times):
        step()


def forked(task: Callable[..., Result], *arguments: object) -> tuple[int, Result]:
    """Calls ``task`` in a forked process. Returns its process id, and its result or ``{"error": ...}``."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result = task(*arguments)
        except BaseException as error:  # noqa: BLE001 - a scenario may fail in any way; which one is reported
            result = {"error": f"{type(error).__name__}: {error}"}
        with os.fdopen(writing, "w") as pipe:
            json.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return pid, json.loads(text) if text else {"error": "its process died"}


class Frames:
    """Counts Python instructions by call stack. A node is ``[place, instructions, entries, children]``."""

    def __init__(self, tree: str) -> None:
        self.tree = tree
        self.root: Node = ["", 0, 0, {}]
        self._stack = [self.root]

    def enter(self, code: CodeType) -> None:
        """Begins a frame: a call, or the resumption of a generator or coroutine."""
        children = self._stack[-1][3]
        node = children.get(code)
        if node is None:
            node = children[code] = [self._place(code), 0, 0, {}]
        node[2] += 1
        self._stack.append(node)

    def leave(self) -> None:
        """Ends a frame. The frames that were open at the start are not on the stack."""
        if len(self._stack) > 1:
            self._stack.pop()

    def tick(self) -> None:
        self._stack[-1][1] += 1

    def _place(self, code: CodeType) -> str:
        """Returns file and function. Files of the measured packages have their path in the tree, others two names."""
        path, name = code.co_filename, getattr(code, "co_qualname", code.co_name)
        if path.startswith(self.tree):
            return f"{path.removeprefix(self.tree)}:{name}"
        return f"<{'/'.join(path.rsplit(os.sep, 2)[-2:])}>:{name}"


def count_opcodes(step: Step, times: int, tree: str) -> Frames:
    """Counts the Python instructions that ``times`` steps execute; work in C is not included."""
    frames = Frames(tree)
    if sys.version_info >= (3, 12):
        monitoring, tool, events = sys.monitoring, sys.monitoring.PROFILER_ID, sys.monitoring.events

        def on_entry(code: CodeType, *_: object) -> None:
            frames.enter(code)

        def on_end(*_: object) -> None:
            frames.leave()

        def on_instruction(*_: object) -> None:
            frames.tick()

        callbacks: dict[int, Callable[..., object]] = {
            events.INSTRUCTION: on_instruction,
            **dict.fromkeys((events.PY_START, events.PY_RESUME, events.PY_THROW), on_entry),
            **dict.fromkeys((events.PY_RETURN, events.PY_YIELD, events.PY_UNWIND), on_end),
        }
        monitoring.use_tool_id(tool, "gate")
        for event, callback in callbacks.items():
            monitoring.register_callback(tool, event, callback)
        monitoring.set_events(tool, sum(callbacks))
        repeat(step, times)
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
    else:

        def on_event(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
            if event == "call":
                frame.f_trace_opcodes = True
                frame.f_trace_lines = False
                frames.enter(frame.f_code)
            elif event == "opcode":
                frames.tick()
            elif event == "return":
                frames.leave()
            return on_event

        sys.settrace(on_event)
        repeat(step, times)
        sys.settrace(None)
    return frames


def opcodes(setup: Setup, directory: Path) -> Result:
    """Returns opcodes and calls per step, and the ``stacks`` that they belong to."""
    step, _ = prepare(setup)
    tree = f"{directory}{os.sep}"
    none = _nodes(count_opcodes(step, 0, tree).root)
    frames = count_opcodes(step, STEPS, tree)
    many = _nodes(frames.root)
    executed = sum(node[1] for node in many) - sum(node[1] for node in none)
    calls = sum(node[2] for node in many if not node[0].startswith("<"))
    counts = {"opcodes": executed / STEPS, "calls": calls / STEPS}
    return {"counts": counts, "stacks": _per_step(_step_node(frames.root))}


def _nodes(node: Node) -> list[Node]:
    """Returns the node and all below."""
    return [node, *(below for child in node[3].values() for below in _nodes(child))]


def _step_node(root: Node) -> Node:
    """Returns the node of this file's loop, whose children are the steps; the root if steps are no Python functions."""
    return next((node for node in root[3].values() if node[0].endswith(":repeat")), root)


def _per_step(node: Node) -> list[Any]:
    place, executed, entries, children = node
    return [place, executed / STEPS, entries / STEPS, [_per_step(child) for child in children.values()]]


def blocks(setup: Setup) -> Result:
    """Returns memory blocks taken and kept, and the scenario's own counts; ``files`` maps modules to their files."""
    library = ctypes.CDLL(None)
    counters: dict[str, Callable[[], int]] = {"kept": sys.getallocatedblocks}
    if hasattr(library, "gate_blocks_taken"):
        counters = {"blocks": library.gate_blocks_taken, "kept": library.gate_blocks_live}
        library.gate_blocks_taken.restype = library.gate_blocks_live.restype = ctypes.c_longlong
    step, totals = prepare(setup)
    # Multiples of 1 / STEPS; the difference of two is not exactly one.
    result: Result = {
        name: round(growth(counter, step) - growth(counter, int), 6) for name, counter in counters.items()
    }
    start = totals()
    repeat(step, STEPS)
    end = totals()
    result |= {name: (end[name] - start[name]) / STEPS for name in start}
    # After the set-up, which may import modules too.
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items() if name not in _STARTUP}
    return {"counts": result, "files": files}


def growth(counter: Callable[[], int], step: Step) -> float:
    """Returns the growth of ``counter`` per step, including the cost of reading it. The steps before the first reading
    restore the interpreter's free lists, from which the caller may have taken objects; work that is done in batches
    restores them only at the end of a batch."""
    repeat(step, STEPS)
    readings = [0] * (STEPS + 2)
    for number in range(STEPS + 2):
        readings[number] = counter()
        step()
    return (readings[-1] - readings[1]) / STEPS


def instructions(setup: Setup, directory: Path) -> Result:
    """Counts two forked processes. Both start as equal copies of this process, which has warmed up and does almost
    nothing in between: a warm-up of its own for each took almost twice the time of the whole gate."""
    step, _ = prepare(setup)
    processes = [forked(run, step, times) for times in (0, STEPS)]
    for _, result in processes:
        if result:
            return result
    none, many = (_functions(directory / f"cachegrind.{pid}") for pid, _ in processes)
    growth = {name: (count - none.get(name, 0)) / STEPS for name, count in many.items()}
    total = (sum(many.values()) - sum(none.values())) / STEPS
    # Of thousands of functions of the interpreter a change concerns those with a share of the work.
    most = {name: count for name, count in growth.items() if count > _SMALL_SHARE * total}
    return {"counts": {"instructions": total}, "functions": most}


def run(step: Step, times: int) -> Result:
    repeat(step, times)
    return {}


def _functions(path: Path) -> dict[str, int]:
    """Returns the instructions of each C function in a file of cachegrind."""
    counts: dict[str, int] = {}
    name = ""
    for line in path.read_text("utf-8", "replace").splitlines():
        if line.startswith("fn="):
            name = line[3:]
        elif line[:1].isdigit():
            counts[name] = counts.get(name, 0) + int(line.split()[1])
    return counts


def count(mode: str, setup: Setup, directory: Path) -> Result:
    """Returns the counts of one scenario."""
    if mode == "instructions":
        return forked(instructions, setup, directory)[1]
    first, second = forked(opcodes, setup, directory)[1], forked(blocks, setup)[1]
    return first | second | {"counts": first.get("counts", {}) | second.get("counts", {})}


class Benchmark:
    """The fixture ``benchmark`` of pytest-benchmark and pytest-codspeed: counts the function that it is called with."""

    def __init__(self, measured: Callable[[Setup], None]) -> None:
        self._measured = measured
        self.extra_info: dict[str, Any] = {}
        self.group: str | None = None

    def __call__(self, function: Callable[..., T], *args: object, **kwargs: object) -> T:
        self._measured(lambda: lambda: function(*args, **kwargs))
        return function(*args, **kwargs)

    def pedantic(
        self,
        target: Callable[..., T],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
        setup: Callable[[], tuple[tuple[object, ...], Mapping[str, object]] | None] | None = None,
        **_: object,
    ) -> T:
        """Counts ``target``; with a ``setup``, both, because each step needs one."""

        def step() -> T:
            made = setup() if setup is not None else None
            chosen, named = made if made is not None else (args, kwargs or {})
            return target(*chosen, **named)

        self._measured(lambda: step)
        return step()


def count_tests(path: Path, mode: str, directory: Path, names: list[str]) -> dict[str, Result]:
    """Counts the tests below ``path`` that use the fixture ``benchmark``. Names choose them as pytest's ``-k`` does."""
    import pytest

    compile_in(directory)
    results: dict[str, Result] = {}
    existing: list[str] = []

    def name_of(item: pytest.Item) -> str:
        return item.nodeid.rpartition("/")[2]

    class Plugin:
        @pytest.hookimpl(tryfirst=True)  # before -k deselects
        def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
            existing.extend(name_of(item) for item in items if "benchmark" in getattr(item, "fixturenames", ()))

        @pytest.fixture
        def benchmark(self, request: pytest.FixtureRequest) -> Benchmark:
            name = name_of(request.node)

            def measured(setup: Setup) -> None:
                results[name] = count(mode, setup, directory)

            return Benchmark(measured)

    without = [
        word
        for name in ("benchmark", "codspeed", "cacheprovider", "xdist", "randomly")
        for word in ("-p", f"no:{name}")
    ]
    chosen = ["-k", " or ".join(names)] if names else []
    arguments = ["-q", "--no-header", "-o", "addopts=--import-mode=importlib", "-o", "pythonpath=", *without, *chosen]
    status = pytest.main([str(path), *arguments], plugins=[Plugin()])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"the tests below {path.name} fail: run pytest {path}")
    if not results:
        if names and existing:
            raise SelectionError(f"no benchmark matches {' or '.join(names)}; benchmarks: {', '.join(existing)}")
        raise SelectionError("no test uses the fixture benchmark")
    return results


def described(error: Exception) -> str:
    return str(error) if isinstance(error, SelectionError) else f"cannot be used: {type(error).__name__}: {error}"


def main() -> None:
    mode, file, output, *names = sys.argv[1:]
    gc.disable()
    directory = Path(output).parent
    if Path(file).is_dir() or Path(file).name.startswith("test_"):
        try:
            report: Result = {"scenarios": count_tests(Path(file), mode, directory, names)}
        except Exception as error:  # noqa: BLE001 - the tests are the user's; their error is reported
            report = {"error": described(error)}
        Path(output).write_text(json.dumps(report))
        return
    try:
        scenarios = load(Path(file), directory)
        unknown = [name for name in names if name not in scenarios]
        if unknown:
            raise SelectionError(f"unknown scenario: {', '.join(unknown)}; scenarios: {', '.join(scenarios)}")
        chosen = {name: scenarios[name] for name in names or scenarios}
    except Exception as error:  # noqa: BLE001 - the file is the user's; its error is reported
        report = {"error": described(error)}
    else:
        report = {"scenarios": {name: count(mode, setup, directory) for name, setup in chosen.items()}}
    Path(output).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
