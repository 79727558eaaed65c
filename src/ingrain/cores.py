"""Reads the number of usable cores and the name of the processor."""

from __future__ import annotations

import math
import os
import platform
import re
from pathlib import Path

from ingrain.cgroups import CGROUPS, PROC, groups, read


def usable_cores(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Return the number of cores that this process may use; in a container that can be fewer than the machine has.

    A quota of CPU time, such as a CPU limit in Kubernetes, counts as so many cores, rounded up: threads beyond it would
    only wait for the next period.

    Args:
        proc: Mount point of procfs.
        cgroups: Mount point of the cgroups.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for group in groups("cpu", proc, cgroups) if (quota := _quota(group)) is not None]
    return min([cores, *(max(1, math.ceil(quota)) for quota in quotas)])


def _quota(group: Path) -> float | None:
    """Return the cores whose time a cgroup may use, None if it has no limit."""
    words = read(group / "cpu.max").split() or [
        read(group / "cpu.cfs_quota_us").strip(),
        read(group / "cpu.cfs_period_us").strip(),
    ]
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return None
    return int(words[0]) / int(words[1])


def processor_name() -> str:
    """Return the model name of the processor, or the architecture if the name is unknown. Reads a file."""
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text("utf-8", "replace"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.machine()
