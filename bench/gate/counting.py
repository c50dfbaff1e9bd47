"""Counts one unit of work of each scenario of a file.

The gate runs this file in separate interpreters, with the measured packages first on the path. It imports nothing from
the gate. Each scenario is set up, warmed up and counted in its own forked process, so that scenarios cannot affect each
other and fail separately. The counts of a run without steps are subtracted from those of a run with many.

``counting.py counts FILE RESULT PROGRESS [NAME ...]`` counts opcodes, calls, memory blocks and the scenario's own
counts. The folder of ``RESULT`` is the tree of the measured packages; calls are counted in its files.
``counting.py instructions FILE RESULT PROGRESS [NAME ...]`` runs under cachegrind, which writes a file
``cachegrind.PID`` beside ``RESULT`` for each forked process. ``counting.py names FILE RESULT PROGRESS`` lists the
scenarios with the names of their own counts. ``PROGRESS`` is a file descriptor. Without names all scenarios are
counted.
"""

import ctypes
import gc
import importlib.util
import itertools
import json
import os
import sys
import sysconfig
import traceback
from array import array
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from importlib.abc import PathEntryFinder

    import pytest

WARM_UP_STEPS = 300
"""Enough for the interpreter to specialise (at most 64 calls in 3.13) and for caches to fill."""
STEPS = 100
"""Number of steps to average over, so that occasional work has its share."""

COUNTS = ("instructions", "opcodes", "calls", "blocks", "kept")
"""The counts of each scenario, as far as the machine can count them."""

_SMALL_SHARE = 0.001
_FIXTURES = ("benchmark", "codspeed_benchmark")
"""Fixtures of pytest-benchmark and pytest-codspeed, and marks of the latter."""
_PLUGINS_OFF = ("benchmark", "codspeed", "cacheprovider", "xdist", "randomly", "timeout", "warnings")
"""Plugins that measure by themselves, reorder or distribute tests, or fail one that takes long or warns."""
_NOT_STRICT = ("strict=false", "strict_config=false")
"""Pytest does not know the settings of the plugins that are off."""
_STARTUP = frozenset(sys.modules)
_FUNCTIONS = 65536
"""Size of the tables of malloc_count.c."""

T = TypeVar("T")


class SelectionError(Exception):
    """A name on the command line or in the budgets matches nothing, or there is nothing to measure."""


Step = Callable[[], object]
Totals = Callable[[], Mapping[str, int]]
Setup = Callable[[], Step | tuple[Step, Totals]]
Result = dict[str, Any]
Node = list[Any]
"""A function in a call stack: place, instructions without those of its calls, entries, and children by code."""


class Installed(SourceFileLoader):
    """Loads modules that are not the project's from their usual ``__pycache__``: compiling those of a large library
    takes seconds."""

    def get_code(self, fullname: str) -> CodeType | None:
        prefix, sys.pycache_prefix = sys.pycache_prefix, None
        try:
            return super().get_code(fullname)
        finally:
            sys.pycache_prefix = prefix


def compile_in(directory: Path) -> None:
    """Leaves no ``__pycache__`` in the project. Modules that are imported earlier need not be compiled again."""
    sys.pycache_prefix = str(directory / "compiled")
    installed = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    find = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (Installed, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )

    def hook(path: str) -> "PathEntryFinder":
        if not f"{path}{os.sep}".startswith(installed):
            raise ImportError(path)
        return find(path)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.clear()


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


def prepare(setup: Setup, steps: int = WARM_UP_STEPS) -> tuple[Step, Totals]:
    made = setup()
    step, totals = made if isinstance(made, tuple) else (made, dict)
    repeat(step, steps)
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
            result = failure(error)
        with os.fdopen(writing, "w") as pipe:
            json.dump(result, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return pid, json.loads(text) if text else {"error": "its process died"}


def failure(error: BaseException) -> Result:
    """Returns the error, and its traceback from the first frame that is not of this file."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    text = "".join(traceback.format_exception(type(error), error, frames)) if frames is not None else ""
    return {"error": f"{type(error).__name__}: {error}", "traceback": text}


def instead(name: str, existing: Iterable[str], kind: str) -> str:
    """Returns the existing name that is most similar to an unknown one, or all, as the end of a sentence."""
    import difflib  # only for errors

    names = {part: one for one in existing for part in (one.rpartition("::")[2], one)}
    near = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {names[near[0]]}?" if near else f"; {kind}: {', '.join(dict.fromkeys(names.values()))}"


class Progress:
    """Writes the scenario that is counted to ``output``, a copy of the gate's standard error: a line for each, of which
    a terminal shows the last."""

    def __init__(self, output: int, task: str) -> None:
        self._output = output
        self._task = task
        self._begin, self._end = ("\r\x1b[K", "") if os.isatty(output) else ("", "\n")
        self._expected = self._begun = 0

    def expect(self, scenarios: int) -> None:
        self._expected = scenarios

    def begin(self, scenario: str) -> None:
        self._begun += 1
        line = f"{self._task}: {scenario} ({self._begun} of {self._expected})"
        os.write(self._output, f"{self._begin}{line}{self._end}".encode())


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
            node = children[code] = [place_of(code, self.tree), 0, 0, {}]
        node[2] += 1
        self._stack.append(node)

    def leave(self) -> None:
        """Ends a frame. The frames that were open at the start are not on the stack."""
        if len(self._stack) > 1:
            self._stack.pop()

    def tick(self) -> None:
        self._stack[-1][1] += 1


def place_of(code: CodeType, tree: str) -> str:
    """Returns file and function. Files of the measured packages have their path in the tree, others two names."""
    path = code.co_filename
    if path.startswith(tree):
        return f"{path.removeprefix(tree)}:{code.co_qualname}"
    return f"<{'/'.join(path.rsplit(os.sep, 2)[-2:])}>:{code.co_qualname}"


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
    _, *cost = _per_step(_step_node(frames.root))
    return {"counts": counts, "stacks": ["", *cost]}


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


def memory(setup: Setup, directory: Path) -> Result:
    """Returns the memory blocks that each Python function takes in a step; nothing without the malloc counter."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "gate_frame"):
        return {}
    step, _ = prepare(setup)
    return {"memory": blocks_by_place(library, step, f"{directory}{os.sep}")}


def blocks_by_place(library: ctypes.CDLL, step: Step, tree: str) -> dict[str, float]:
    """Runs steps whose frames pass through ``gate_frame`` of malloc_count.c. Returns the blocks of one step."""
    python = ctypes.pythonapi
    python.PyInterpreterState_Get.restype = ctypes.c_void_p
    interpreter = ctypes.c_void_p(python.PyInterpreterState_Get())
    replace = python._PyInterpreterState_SetEvalFrameFunc
    counting, ordinary = (
        ctypes.cast(run_frame, ctypes.c_void_p) for run_frame in (library.gate_frame, python._PyEval_EvalFrameDefault)
    )
    replace(interpreter, counting)
    repeat(step, STEPS)
    replace(interpreter, ordinary)
    codes = (ctypes.c_void_p * _FUNCTIONS).in_dll(library, "gate_function_codes")
    taken = (ctypes.c_longlong * _FUNCTIONS).in_dll(library, "gate_function_blocks")
    places: dict[str, float] = {}
    for at, code in enumerate(codes):
        if code is not None:
            # Not by code object: those that are equal but not the same are one key of a dict.
            place = place_of(ctypes.cast(code, ctypes.py_object).value, tree)
            places[place] = places.get(place, 0) + taken[at] / STEPS
    return places


def growth(counter: Callable[[], int], step: Step) -> float:
    """Returns the growth of ``counter`` per step, including the cost of reading it. The steps before the first reading
    restore the interpreter's free lists, from which the caller may have taken objects; work that is done in batches
    restores them only at the end of a batch."""
    repeat(step, STEPS)
    # A list would keep integers, which come from a free list since 3.14: the step would have to take others.
    readings = array("q", bytes(8 * (STEPS + 2)))
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
    third = forked(memory, setup, directory)[1]
    return first | second | third | {"counts": first.get("counts", {}) | second.get("counts", {})}


class Benchmark:
    """The fixture ``benchmark`` of pytest-benchmark and pytest-codspeed: counts the function that it is called with.

    The attributes are those of pytest-benchmark with ``--benchmark-disable``: there are no times."""

    stats = None
    disabled, enabled = True, False

    def __init__(self, item: "pytest.Function", measured: Callable[[Setup], None]) -> None:
        self._measured = measured
        self.name, self.fullname = item.name, item.nodeid
        called = getattr(item, "callspec", None)
        self.param: str | None = called.id if called else None
        self.params: dict[str, object] | None = called.params if called else None
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
        teardown: Callable[..., object] | None = None,
        **_: object,
    ) -> T:
        """Counts ``target`` with its ``setup`` and ``teardown``, because each step needs them."""

        def step() -> T:
            made = setup() if setup is not None else None
            chosen, named = made if made is not None else (args, kwargs or {})
            result = target(*chosen, **named)
            if teardown is not None:
                teardown(*chosen, **named)
            return result

        self._measured(lambda: step)
        return step()


def is_benchmark(item: "pytest.Function") -> bool:
    """Whether a test uses the fixture, or has the mark with which pytest-codspeed measures the whole test."""
    fixtures = getattr(item, "fixturenames", ())  # items of other plugins have none
    return any(name in fixtures or item.get_closest_marker(name) is not None for name in _FIXTURES)


class Tests:
    """Counts the tests below ``path`` that are benchmarks. A plugin of pytest: its hooks begin with ``pytest_``."""

    def __init__(self, path: Path, mode: str, directory: Path, names: list[str], progress: Progress) -> None:
        self.path, self.mode, self.directory, self.names, self.progress = path, mode, directory, names, progress
        self.results: dict[str, Result] = {}
        self.refusal: SelectionError | None = None
        """The reason why nothing is counted."""
        self.existing: dict[str, pytest.Function] = {}
        """All benchmarks, by name."""

    def name_of(self, item: "pytest.Function") -> str:
        """Returns the file of a test, relative to the folder of the scenarios, and the test in it."""
        folder = self.path if self.path.is_dir() else self.path.parent
        file = item.path.relative_to(folder) if item.path.is_relative_to(folder) else item.path
        return f"{file.as_posix()}::{item.nodeid.partition('::')[2]}"

    def pytest_load_initial_conftests(self) -> None:
        # The settings of the project may have put its own folders first.
        tree = str(self.directory)
        sys.path[:] = [tree, *(one for one in sys.path if one != tree)]

    def pytest_configure(self, config: "pytest.Config") -> None:
        for mark in (*_FIXTURES, "timeout"):
            config.addinivalue_line("markers", f"{mark}: of a plugin that the gate does without")

    def pytest_collection_modifyitems(self, items: "list[pytest.Function]") -> None:
        self.existing = {self.name_of(item): item for item in items if is_benchmark(item)}
        chosen = select(list(self.existing), self.names)
        if not self.results:  # else a file could not be imported, and its tests are not known
            try:
                self._check_names()
            except SelectionError as error:
                self.refusal, chosen = error, []
        if self.mode == "names":
            self.results |= {name: {"names": []} for name in chosen}
            chosen = []
        items[:] = [self.existing[name] for name in chosen]
        self.progress.expect(len(items))

    def _check_names(self) -> None:
        if not self.existing:
            raise SelectionError(f"{self.path.name}: no test uses the fixture benchmark")
        for name in self.names:
            if not select(list(self.existing), [name]):
                other = instead(name, self.existing, "benchmarks")
                raise SelectionError(f"{self.path.name}: no benchmark matches {name}{other}")

    def pytest_runtest_setup(self, item: "pytest.Function") -> None:
        self.progress.begin(self.name_of(item))

    def pytest_runtest_call(self, item: "pytest.Function") -> None:
        if not any(name in item.fixturenames for name in _FIXTURES):
            self.measure(item, lambda: item.runtest)

    def measure(self, item: "pytest.Function", setup: Setup) -> None:
        self.results[self.name_of(item)] = count(self.mode, setup, self.directory)

    def pytest_runtest_logreport(self, report: "pytest.TestReport | pytest.CollectReport") -> None:
        if report.failed:
            self._fail(next(name for name, item in self.existing.items() if item.nodeid == report.nodeid), report)

    def pytest_collectreport(self, report: "pytest.TestReport | pytest.CollectReport") -> None:
        if report.failed:
            self._fail(report.nodeid, report)

    def _fail(self, name: str, report: "pytest.TestReport | pytest.CollectReport") -> None:
        text = report.longreprtext
        raised = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
        self.results[name] = {"error": (raised or text.splitlines() or ["no reason"])[0], "traceback": text}


def select(existing: list[str], names: list[str]) -> list[str]:
    """Returns the tests with one of ``names``; a name that no test has chooses those that contain it."""
    exact = set(names) & set(existing)
    parts = [name.lower() for name in names if name not in exact]
    return [one for one in existing if not names or one in exact or any(part in one.lower() for part in parts)]


def count_tests(path: Path, mode: str, directory: Path, names: list[str], progress: Progress) -> dict[str, Result]:
    """Counts the benchmarks of pytest below ``path``."""
    import pytest

    compile_in(directory)
    tests = Tests(path, mode, directory, names, progress)

    class Fixtures:
        @pytest.fixture
        def benchmark(self, request: pytest.FixtureRequest) -> Benchmark:
            return Benchmark(request.node, lambda setup: tests.measure(request.node, setup))

        @pytest.fixture
        def codspeed_benchmark(self, benchmark: Benchmark) -> Benchmark:
            return benchmark

    without = [word for name in _PLUGINS_OFF for word in ("-p", f"no:{name}")]
    # The folders of tests come last on the path: in front they could hide the measured packages.
    changed = ("addopts=--import-mode=append", "required_plugins=", *_NOT_STRICT)
    settings = [word for setting in changed for word in ("-o", setting)]
    arguments = ["-q", "--no-header", "--continue-on-collection-errors", *settings, *without]
    status = pytest.main([str(path), *arguments], plugins=[Fixtures(), tests])
    if status in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR):
        raise RuntimeError("pytest cannot run them")
    if tests.refusal is not None:
        raise tests.refusal
    if not tests.results:
        raise SelectionError(f"{path.name}: no benchmark ran: all were skipped, or do not call the fixture")
    return tests.results


def count_scenarios(path: Path, mode: str, directory: Path, names: list[str], progress: Progress) -> dict[str, Result]:
    """Counts the scenarios of a file."""
    scenarios = load(path, directory)
    for name in names:
        if name not in scenarios:
            raise SelectionError(f"{path.name}: unknown scenario {name}{instead(name, scenarios, 'scenarios')}")
    chosen = {name: scenarios[name] for name in names or scenarios}
    if mode == "names":
        return {name: forked(own_counts, setup)[1] for name, setup in chosen.items()}
    progress.expect(len(chosen))
    results = {}
    for name, setup in chosen.items():
        progress.begin(name)
        results[name] = count(mode, setup, directory)
    return results


def own_counts(setup: Setup) -> Result:
    """Returns the names of a scenario's own counts."""
    _, totals = prepare(setup, 0)
    return {"names": list(totals())}


def main() -> None:
    mode, file, output, progress, *names = sys.argv[1:]
    gc.disable()
    path, directory = Path(file), Path(output).parent
    is_tests = path.is_dir() or path.name.startswith("test_")
    counted = count_tests if is_tests else count_scenarios
    try:
        report: Result = {
            "scenarios": counted(path, mode, directory, names, Progress(int(progress), f"{directory.name}, {mode}"))
        }
    except SelectionError as error:
        report = {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - the file is the user's; its error is reported
        report = failure(error)
        report["error"] = f"{path.name}: cannot be used: {report['error']}"
    Path(output).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
