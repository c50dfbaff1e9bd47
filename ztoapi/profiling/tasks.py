"""Lists the asyncio tasks of a worker, each with its chain of awaits."""

import asyncio
import types

import msgspec

__all__ = ["TaskView", "read_tasks"]


class TaskCall(msgspec.Struct, frozen=True):
    """A coroutine that is suspended, or runs, at ``line``."""

    function: str
    file: str
    line: int | None


class TaskView(msgspec.Struct, frozen=True):
    """``calls`` are outermost first; ``awaits`` is the type of the object that the innermost awaits."""

    name: str
    calls: list[TaskCall]
    awaits: str | None


def read_tasks(loop: asyncio.AbstractEventLoop) -> list[TaskView]:
    """Returns every task that has not ended, sorted by name."""
    views = [_view(task) for task in asyncio.all_tasks(loop)]
    return sorted(views, key=lambda view: (len(view.name), view.name))


def _view(task: "asyncio.Task[object]") -> TaskView:
    calls: list[TaskCall] = []
    awaited: object = task.get_coro()
    while True:
        if isinstance(awaited, types.CoroutineType):
            frame, code, inner = awaited.cr_frame, awaited.cr_code, awaited.cr_await
        elif isinstance(awaited, types.GeneratorType):
            frame, code, inner = awaited.gi_frame, awaited.gi_code, awaited.gi_yieldfrom
        else:
            break
        calls.append(TaskCall(code.co_qualname, code.co_filename, None if frame is None else frame.f_lineno))
        awaited = inner
    return TaskView(task.get_name(), calls, None if awaited is None else type(awaited).__qualname__)
