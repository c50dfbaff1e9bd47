"""Forks a process for each command of ``ztoapi`` that a test starts (:mod:`tests.processes.program`).

A process that is forked here has imported the gateway, which is most of the work of a start. Everything else is its
own: descriptors, environment, arguments, limits, session, ``sitecustomize`` and the end of its interpreter.
"""

import array
import fcntl
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import termios
import time
from typing import Any

_MAX_REQUEST_BYTES = 1 << 20
_DESCRIPTORS = 4
"""Of a request: the three standard streams, and the socket that gets the process id and the exit code."""


def next_command(control: socket.socket) -> dict[str, Any]:
    """Returns the next request, in a process for it alone. The server itself ends with its last client."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    waiting: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 65536)
            report_ended(waiting)
        if control.fileno() not in ready:
            continue
        data, descriptors, _, _ = socket.recv_fds(control, _MAX_REQUEST_BYTES, _DESCRIPTORS)
        if not data:
            sys.exit()
        *streams, status = descriptors
        pid = os.fork()
        if not pid:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            control.detach()
            for number, descriptor in enumerate(streams):
                os.dup2(descriptor, number)
            os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
            request: dict[str, Any] = json.loads(data)
            return request
        waiting[pid] = status
        os.write(status, array.array("i", [pid]).tobytes())
        for descriptor in streams:
            os.close(descriptor)


def report_ended(waiting: dict[int, int]) -> None:
    """Sends the exit codes of the processes that have ended."""
    for pid in list(waiting):
        ended, wait_status = os.waitpid(pid, os.WNOHANG)
        if ended:
            status = waiting.pop(pid)
            try:
                os.write(status, array.array("i", [os.waitstatus_to_exitcode(wait_status)]).tobytes())
            except BrokenPipeError:
                pass
            os.close(status)


def become(request: dict[str, Any]) -> None:
    """Gives this process the properties that ``request`` names, as if an interpreter had started with them."""
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    if request["session"]:
        os.setsid()
        if os.isatty(0):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if request["open_files"] is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, request["open_files"])
    for number, (name, stream) in enumerate((("stdin", sys.stdin), ("stdout", sys.stdout), ("stderr", sys.stderr))):
        opened = open(
            number, "w" if number else "r", encoding=stream.encoding, errors=stream.errors, closefd=False,
            buffering=1 if number == 2 else -1,
        )  # fmt: skip
        setattr(sys, name, opened)
        setattr(sys, f"__{name}__", opened)
    program = importlib.import_module("ztoapi.__main__").__file__
    sys.argv = [str(program), *request["arguments"]]
    sys.orig_argv = [sys.executable, "-m", "ztoapi", *request["arguments"]]
    added = [path for path in os.environ["PYTHONPATH"].split(":") if path not in sys.path]
    if added:
        sys.path[:0] = added
        importlib.reload(sys.modules["sitecustomize"])


if __name__ == "__main__":
    from ztoapi.cli.main import main

    for module in ("demo", "serve", "simulate"):
        importlib.import_module(f"ztoapi.cli.{module}")
    # Under nohup the test ignores the signal, and so would the program.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    become(next_command(socket.socket(fileno=int(sys.argv[1]))))
    raise SystemExit(main())
