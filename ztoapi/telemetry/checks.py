"""How the parts of a gateway stand, as ``/health`` tells it."""

from collections.abc import Callable
from typing import Literal

import msgspec

__all__ = ["Check", "Checks", "passed_or_warn"]


class Check(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One part, by the names of draft-inadarei-api-health-check. Whoever can connect sees it: it holds no name of a
    credential and no address."""

    status: Literal["pass", "warn", "fail"]
    """``warn``: requests are served, and somebody should look. ``fail``: the part serves none."""
    observed_value: int | None = None
    observed_unit: str | None = None
    output: str | None = None
    """What is wrong."""


Checks = dict[str, Callable[[], Check]]
"""By ``component:measurement``."""


def passed_or_warn(passed: bool, output: str) -> Check:
    """Of a part without which requests are served."""
    return Check("pass") if passed else Check("warn", output=output)
