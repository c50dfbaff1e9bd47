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
from typing import Any

WARM_UP_STEPS = 300
"""Enough for the interpreter to specialise (at most 64 calls in 3.13) and for caches to fill."""
STEPS = 100
"""Number of steps to average over, so that occasional work has its share."""

_STARTUP = frozenset(sys.modules)

Step = Callable[[], object]
Totals = Callable[[], Mapping[str, int]]
Setup = Callable[[], Step | tuple[Step, Totals]]
Result = dict[str, Any]


def load(path: Path) -> Mapping[str, Setup]:
    """Returns ``SCENARIOS`` of the file."""
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


def count_opcodes(step: Step, times: int, tree: str) -> tuple[int, int]:
    """Returns the numbers of Python instructions executed and of frames entered in the files of ``tree``, for ``times``
    steps. Work in C is not included. A frame is entered by a call, and by each resumption of a generator or coroutine.
    """
    opcodes = calls = 0
    if sys.version_info >= (3, 12):
        monitoring, tool, events = sys.monitoring, sys.monitoring.PROFILER_ID, sys.monitoring.events

        def on_instruction(_code: object, _offset: int) -> None:
            nonlocal opcodes
            opcodes += 1

        def on_entry(code: CodeType, _offset: int) -> None:
            nonlocal calls
            calls += code.co_filename.startswith(tree)

        monitoring.use_tool_id(tool, "gate")
        monitoring.register_callback(tool, events.INSTRUCTION, on_instruction)
        monitoring.register_callback(tool, events.PY_START, on_entry)
        monitoring.register_callback(tool, events.PY_RESUME, on_entry)
        monitoring.set_events(tool, events.INSTRUCTION | events.PY_START | events.PY_RESUME)
        repeat(step, times)
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
    else:

        def on_event(frame: FrameType, event: str, _: object) -> Callable[..., Any]:
            nonlocal opcodes, calls
            if event == "call":
                frame.f_trace_opcodes = True
                frame.f_trace_lines = False
                calls += frame.f_code.co_filename.startswith(tree)
            elif event == "opcode":
                opcodes += 1
            return on_event

        sys.settrace(on_event)
        repeat(step, times)
        sys.settrace(None)
    return opcodes, calls


def opcodes(setup: Setup, directory: Path) -> Result:
    step, _ = prepare(setup)
    tree = f"{directory}{os.sep}"
    none = count_opcodes(step, 0, tree)
    many = count_opcodes(step, STEPS, tree)
    names = ("opcodes", "calls")
    return {"counts": {name: (many[i] - none[i]) / STEPS for i, name in enumerate(names)}}


def blocks(setup: Setup) -> Result:
    """Returns memory blocks taken and kept, and the scenario's own counts; ``files`` maps modules to their files."""
    library = ctypes.CDLL(None)
    counters: dict[str, Callable[[], int]] = {"kept": sys.getallocatedblocks}
    if hasattr(library, "gate_blocks_taken"):
        counters = {"blocks": library.gate_blocks_taken, "kept": library.gate_blocks_live}
        library.gate_blocks_taken.restype = library.gate_blocks_live.restype = ctypes.c_longlong
    step, totals = prepare(setup)
    result: Result = {name: growth(counter, step) - growth(counter, int) for name, counter in counters.items()}
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
    """Counts two forked processes. Both start as equal copies of this process, which does almost nothing in between."""
    processes = [forked(run, setup, times) for times in (0, STEPS)]
    for _, result in processes:
        if result:
            return result
    none, many = (_summary(directory / f"cachegrind.{pid}") for pid, _ in processes)
    return {"counts": {"instructions": (many - none) / STEPS}}


def run(setup: Setup, times: int) -> Result:
    step, _ = prepare(setup)
    repeat(step, times)
    return {}


def _summary(path: Path) -> int:
    line = next(line for line in path.read_text().splitlines() if line.startswith("summary:"))
    return int(line.split()[1])


def main() -> None:
    mode, file, output, *names = sys.argv[1:]
    gc.disable()
    try:
        scenarios = load(Path(file))
        unknown = [name for name in names if name not in scenarios]
        if unknown:
            raise LookupError(f"unknown scenario: {', '.join(unknown)}; scenarios: {', '.join(scenarios)}")
        chosen = {name: scenarios[name] for name in names or scenarios}
    except Exception as error:  # noqa: BLE001 - the file is the user's; its error is reported
        report: Result = {"error": f"{type(error).__name__}: {error}"}
    else:
        results: dict[str, Result] = {}
        for name, setup in chosen.items():
            if mode == "instructions":
                results[name] = instructions(setup, Path(output).parent)
            else:
                first, second = forked(opcodes, setup, Path(output).parent)[1], forked(blocks, setup)[1]
                counts = first.get("counts", {}) | second.get("counts", {})
                results[name] = first | second | {"counts": counts}
        report = {"scenarios": results}
    Path(output).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
