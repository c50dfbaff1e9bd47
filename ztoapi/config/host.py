"""Properties of the host: usable cores, open files, loopback addresses."""

import contextlib
import ipaddress
import os
import resource
from pathlib import Path
from typing import Final

__all__ = ["is_loopback", "open_files", "raise_open_files", "usable_cores"]

_MANY_FILES: Final = 1048576
"""Requested if the hard limit is infinite: the default maximum of Linux for a process (fs.nr_open)."""


def usable_cores(root: Path = Path("/")) -> int:
    """Returns the number of cores that this process may use, from its CPU affinity and its control groups' quotas.

    Quotas are rounded down: a worker without a core of its own only adds context switches. ``root`` holds ``proc`` and
    ``sys``.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [cores, *(quota for group in _control_groups(root) if (quota := _quota(group)) is not None)]
    return max(1, int(min(quotas)))


def open_files() -> int:
    """Returns the limit on open files (RLIMIT_NOFILE) of this process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def raise_open_files() -> int:
    """Raises the soft limit on open files (RLIMIT_NOFILE) of this process to the hard limit; returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _MANY_FILES if hard == resource.RLIM_INFINITY else hard
    # macOS rejects more than kern.maxfilesperproc, even below the hard limit.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        return limit
    return soft


def is_loopback(host: str) -> bool:
    """Returns whether only this host can connect to a listener on ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _control_groups(root: Path) -> list[Path]:
    """Returns the directories that may hold a CPU quota for this process: of its group and its ancestors, cgroup v2 and
    v1.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    """
    mount = root / "sys/fs/cgroup"
    groups = [mount, mount / "cpu"]
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return groups
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = mount / "cpu" if controllers else mount
        own = top / path.lstrip("/")
        groups += [group for group in (own, *own.parents) if group.is_relative_to(top)]
    return groups


def _quota(group: Path) -> float | None:
    """Returns the number of cores that a control group allows; None if it has no quota."""
    try:
        quota, period = (group / "cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text("ascii")
            period = (group / "cpu.cfs_period_us").read_text("ascii")
        except (OSError, ValueError):
            return None
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    # v2 writes "max" without a quota, which int() rejects; v1 writes -1.
    return cores if cores > 0 else None
