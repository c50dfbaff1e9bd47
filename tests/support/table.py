"""Tables of cases that are one test each."""

import functools
import inspect
from collections.abc import Callable, Iterable

import pytest

__all__ = ["table"]

_ROW_CHARACTERS = 500
_FAILURES = (Exception, pytest.fail.Exception, BaseExceptionGroup)
"""A group is the failure of a table within a table."""

Test = Callable[..., None]


def table(
    names: str | tuple[str, ...],
    rows: Iterable[object],
    *,
    ids: Iterable[object] | Callable[..., object] | None = None,
) -> Callable[[Test], Test]:
    """Returns a decorator like ``pytest.mark.parametrize``, but the test is one item, which checks every row.

    An item costs five milliseconds of CPU time in pytest and xdist, more than most rows of a pure function. The test
    fails with the error of each row that fails, and its arguments. The rows share the fixtures of the test.
    """
    parameters = names if isinstance(names, tuple) else tuple(name.strip() for name in names.split(","))
    kept = list(rows)
    assert kept, "a table has rows"
    labels = list(ids) if ids is not None and not callable(ids) else [""] * len(kept)

    def decorate(test: Test) -> Test:
        @functools.wraps(test)
        def check_rows(**fixtures: object) -> None:
            failures: list[BaseException] = []
            for label, row in zip(labels, kept, strict=True):
                values = tuple(row) if len(parameters) > 1 and isinstance(row, Iterable) else (row,)
                arguments = dict(zip(parameters, values, strict=True))
                try:
                    test(**fixtures, **arguments)
                except _FAILURES as error:
                    error.add_note(f"in the row {label} {arguments!r:.{_ROW_CHARACTERS}}")
                    failures.append(error)
            if failures:
                raise BaseExceptionGroup(f"{len(failures)} of {len(kept)} rows", failures)

        signature = inspect.signature(test)
        others = [parameter for name, parameter in signature.parameters.items() if name not in parameters]
        check_rows.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
        return check_rows

    return decorate
