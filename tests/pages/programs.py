"""Runs the Python programs that the pages offer."""

import contextlib
import gc
import io
import warnings

__all__ = ["output_of"]


def output_of(program: str) -> str:
    """Returns what a program prints, which runs in this process: to import the SDKs takes longer than all requests.

    The programs are short, so they leave their clients to the garbage collector.
    """
    with contextlib.redirect_stdout(io.StringIO()) as output, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        exec(compile(program, "program", "exec"), {"__name__": "__main__"})  # the page's own program
        gc.collect()
    return output.getvalue()
