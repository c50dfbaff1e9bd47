"""Facts about the host."""

import contextlib
import ipaddress
import os
import resource
from pathlib import Path
from typing import Final

__all__ = ["is_loopback", "raise_open_files", "usable_cores"]

_MANY_FILES: Final = 1048576
"""Where there is no limit: as many as Linux allows a process by default."""


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: its affinity, and the CPU quotas of its control groups, rounded down: a worker
    without a core of its own would only add switches. ``root`` is where ``proc`` and ``sys`` are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [cores, *(quota for group in _control_groups(root) if (quota := _quota(group)) is not None)]
    return max(1, int(min(quotas)))


def raise_open_files() -> int:
    """Raise the limit on open files (RLIMIT_NOFILE) of this process and its later children to the most; the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY_FILES if hard == resource.RLIM_INFINITY else hard
    # macOS refuses what its kern.maxfilesperproc does not allow, whatever the hard limit says.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def is_loopback(host: str) -> bool:
    """Whether only this host can connect to a listener on ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _control_groups(root: Path) -> list[Path]:
    """Directories that may hold a CPU quota for this process: its group's and those above, cgroup v2 and v1.
    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files"""
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
    """Cores that a control group allows, or None."""
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
    # "max" in v2 is no number; v1 writes -1.
    return cores if cores > 0 else None
