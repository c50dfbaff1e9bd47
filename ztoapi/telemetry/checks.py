"""Health checks of the gateway's components, for ``/health``."""

from collections.abc import Callable
from typing import Literal

import msgspec

__all__ = ["Check", "Checks", "passed_or_warn"]


class Check(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One component, with the names of draft-inadarei-api-health-check. Every client can read it, so it contains no
    credential names and no addresses."""

    status: Literal["pass", "warn", "fail"]
    """``warn``: requests are served, but an operator should look. ``fail``: the component serves no request."""
    observed_value: int | None = None
    observed_unit: str | None = None
    output: str | None = None
    """A description of the problem."""


Checks = dict[str, Callable[[], Check]]
"""By ``component:measurement``."""


def passed_or_warn(passed: bool, output: str) -> Check:
    """Returns a check of a component that requests can do without: it never fails."""
    return Check("pass") if passed else Check("warn", output=output)
